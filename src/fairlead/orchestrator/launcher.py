"""From a server's spec to something a driver can launch: secrets resolved, package installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from fairlead.kit.home import expanded
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ResolvedServer, ServerSpec, resolve_server
from fairlead.model.launch import Launch, ProcessLaunch, RemoteLaunch
from fairlead.model.placeholders import MissingNames
from fairlead.orchestrator.confinement import Reach, sandbox_of
from fairlead.ports import Driver, PackageInstaller, SecretSource

_INSTALLATION: Final = 2  # parts below the folder of packages: registry and package
SAFE_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where servers may keep things: a home folder for each, and a log for each.

    `packages` is where they are installed, `hidden` what no server is to see, `workspace` what may be
    named to them all the same.
    """

    homes: Path
    logs: Path
    packages: Path | None = None
    hidden: tuple[Path, ...] = ()
    workspace: Path | None = None


@dataclass(frozen=True, slots=True)
class Drivers:
    process: Driver
    remote: Driver


class SpecLauncher:
    """Implements `pool.Launcher` with packages, secrets and drivers."""

    def __init__(
        self, packages: PackageInstaller, secrets: SecretSource, drivers: Drivers, folders: Folders
    ) -> None:
        self._packages = packages
        self._secrets = secrets
        self._drivers = drivers
        self._folders = folders

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        """See `pool.Launcher`."""
        resolved = resolve_server(spec, self._secrets.get)
        if isinstance(resolved, MissingNames):
            raise _problem("missing-secrets", f"needs {', '.join(resolved.names)}")
        if resolved.url is not None:
            return lambda instance_id: (self._remote(spec, resolved, instance_id), self._drivers.remote)
        if not (spec.package or spec.command):
            raise _problem(
                "not-launchable", "there is no Docker driver yet: give it a package, a command or a url"
            )
        argv = await self._argv(spec, resolved)
        return lambda instance_id: (self._process(spec, resolved, argv, instance_id), self._drivers.process)

    async def _argv(self, spec: ServerSpec, resolved: ResolvedServer) -> tuple[str, ...]:
        if spec.package is not None:
            return (*await self._packages.ensure(spec.package, spec.entry), *resolved.args)
        return (_which(spec, resolved), *resolved.args)

    def _process(
        self, spec: ServerSpec, resolved: ResolvedServer, argv: tuple[str, ...], instance_id: str
    ) -> ProcessLaunch:
        home = self._folders.homes / spec.id
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        installed = argv[: len(argv) - len(resolved.args)] if spec.package is not None else ()
        reach = Reach(
            home=home,
            program=tuple(map(self._installation, installed)),
            hidden=self._folders.hidden,
            workspace=self._folders.workspace,
        )
        return ProcessLaunch(
            instance_id=instance_id,
            argv=argv,
            environment=_environment(home, Path(argv[0])) | resolved.environment,
            working_directory=Path(resolved.working_directory) if resolved.working_directory else home,
            log_file=self._folders.logs / f"{spec.id}.log",
            memory_limit=spec.resources.memory,
            stop_grace=spec.timeouts.stop,
            process_limit=spec.resources.processes,
            sandbox=sandbox_of(spec, resolved, reach),
        )

    def _installation(self, part: str) -> Path:
        """The folder of the installation that a file belongs to, or the file itself."""
        path, packages = Path(part), self._folders.packages
        if packages is None or not path.is_relative_to(packages.resolve()):
            return path
        return Path(*path.parts[: len(packages.resolve().parts) + _INSTALLATION])

    def _remote(self, spec: ServerSpec, resolved: ResolvedServer, instance_id: str) -> RemoteLaunch:
        assert resolved.url is not None
        return RemoteLaunch(
            instance_id=instance_id,
            url=resolved.url,
            transport=cast("Literal['streamable-http', 'sse']", str(spec.transport)),
            headers=resolved.headers,
            stop_grace=spec.timeouts.stop,
        )


def _which(spec: ServerSpec, resolved: ResolvedServer) -> str:
    """The absolute path of a plain command, looked for where the user's shell would look."""
    path = resolved.environment.get("PATH", os.environ.get("PATH", SAFE_PATH))
    found = shutil.which(expanded(resolved.command or ""), path=path)
    if found is None:
        raise _problem(
            "command-not-found",
            f"the command {spec.command!r} was not found; install it, or name it with its whole path",
        )
    return str(Path(found).absolute())


def _environment(home: Path, program: Path) -> dict[str, str]:
    """All that a server gets unasked: where programs are (its own runtime first), a home, a language."""
    return {
        "PATH": f"{program.parent}:{SAFE_PATH}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108 - the system's own default
    }


def _problem(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code, "The server cannot be launched", detail, 503, Fault.UPSTREAM))
