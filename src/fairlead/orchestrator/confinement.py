"""What a server may touch, from what its spec says and names: the paths of its sandbox."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.kit.home import expanded
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ResolvedServer, SandboxMode, ServerSpec
from fairlead.model.launch import Sandbox

KEYS: Final = (
    ".aws", ".azure", ".claude", ".claude.json", ".codex", ".config/gcloud", ".config/gh", ".docker",
    ".git-credentials", ".gnupg", ".kube", ".local/share/keyrings", ".mozilla", ".netrc", ".npmrc",
    ".password-store", ".pypirc", ".ssh",
)  # fmt: skip
"""Where keys usually are in a home folder. HOME is another one for servers, so they do not look there."""
_ALL_HOMES: Final = (Path("/home"), Path("/root"))


@dataclass(frozen=True, slots=True)
class Reach:
    """What one server needs beside what its spec names.

    `home` is its own folder, `program` what it consists of if it came as a package, `hidden` what no server
    sees but for what is in `workspace`.
    """

    home: Path
    program: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    workspace: Path | None = None


def sandbox_of(spec: ServerSpec, resolved: ResolvedServer, reach: Reach) -> Sandbox | None:
    """Looks at which named paths are folders. Raises ProblemError where a path is not absolute."""
    security = spec.security
    if security.sandbox is SandboxMode.OFF:
        return None
    denied = _paths(resolved.denied_paths)
    named = [path for path in _named(resolved) if not _is_closed(path, reach, denied)]
    folders = [path for path in named if path.is_dir()]
    offered = folders if resolved.allowed_paths is None else _paths(resolved.allowed_paths)
    writable = () if security.read_only else tuple(offered)
    own = _own_homes()
    return Sandbox(
        required=security.sandbox is SandboxMode.REQUIRED,
        network=security.network == "host",
        writable=(reach.home, *writable),
        readable=(*reach.program, *named, *offered),
        veiled=(*_keys(own), *((*own, *_ALL_HOMES) if spec.package is not None else ())),
        hidden=(*reach.hidden, *denied),
    )


def _named(resolved: ResolvedServer) -> Iterator[Path]:
    """The paths that are an argument, its value (`--name=/path`), a variable or the working directory."""
    texts = [*resolved.args, *resolved.environment.values(), resolved.working_directory or ""]
    for text in texts:
        value = text.partition("=")[2] if text.startswith("-") else text
        if value.startswith("/"):
            with suppress(OSError, ValueError):  # too long, or no path at all
                if Path(value).exists():
                    yield Path(value)


def _is_closed(path: Path, reach: Reach, denied: Iterable[Path]) -> bool:
    """Whether a path is hidden, so that it takes more than to name it: `allowedPaths`."""
    real = path.resolve()
    if any(real.is_relative_to(each.resolve()) for each in denied):
        return True
    if reach.workspace is not None and real.is_relative_to(reach.workspace.resolve()):
        return False
    return any(real.is_relative_to(each.resolve()) for each in reach.hidden)


def _paths(texts: Iterable[str]) -> list[Path]:
    paths = [expanded(text) for text in texts if text]
    for path in paths:
        if not path.is_absolute():
            detail = f"{path} under `security` is not an absolute path: start it with / or ~/"
            raise ProblemError(
                Problem("not-launchable", "The server cannot be launched", detail, 503, Fault.UPSTREAM)
            )
    return paths


def _own_homes() -> list[Path]:
    """This user's: as its environment and as the system has it. A service's may be `/`, which is none."""
    homes = {Path(os.environ.get("HOME", "/"))}
    with suppress(KeyError):
        homes.add(Path(pwd.getpwuid(os.geteuid()).pw_dir))
    return sorted(home for home in homes if home.is_absolute() and home != Path("/"))


def _keys(homes: Iterable[Path]) -> Iterator[Path]:
    return (home / name for home in homes for name in KEYS)
