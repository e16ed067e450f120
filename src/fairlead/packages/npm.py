"""npm packages: resolved and installed by npm itself, which runs none of their scripts.

Resolving lets npm write a package-lock.json for a folder that needs just this package, and keeps of it what
`npm ci` needs: no addresses (`resolved`), so each machine takes the content from its own registry, and the
hashes tell whether it is the same content. What other platforms need stays in, so that one lock file holds
for all. Installing writes that package-lock.json back and runs `npm ci`, which checks every hash.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import PackageRef
from fairlead.packages.closure import NpmClosure, NpmPackage, check_keys
from fairlead.packages.commands import Commands, Finished, environment_for
from fairlead.packages.node import NodeFinder
from fairlead.packages.problems import condensed, package_problem, unreachable

# What a user's own configuration must not change; where the registry is and how to log in, it may.
_OPTIONS: Final = (
    "--json", "--loglevel=error", "--logs-max=0", "--ignore-scripts", "--no-audit", "--no-fund",
    "--no-update-notifier", "--no-progress", "--no-bin-links", "--no-global", "--no-dry-run",
    "--package-lock", "--omit=dev", "--include=optional", "--install-strategy=hoisted",
    "--allow-git=none",
    "--no-legacy-peer-deps", "--no-strict-peer-deps", "--no-engine-strict",
    "--omit-lockfile-registry-resolved",
)  # fmt: skip
_OWN_VARIABLES: Final = re.compile(r"npm_config_.*|NODE_EXTRA_CA_CERTS|NODE_USE_SYSTEM_CA", re.IGNORECASE)
_SHORT_WAITS: Final = {
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "5000",
}
_NETWORK: Final = re.compile(
    r"E?(CONN|NOTFOUND|AI_AGAIN|TIMEDOUT|HOSTUNREACH|NETUNREACH|SOCKET|PROTO|PIPE|FETCH|NOTCACHED)|.*CERT|.*TIMEOUT"
    r"|ERR_(SSL|TLS|SOCKET)|E5\d\d|E429"
)
_KEPT: Final = frozenset(NpmPackage.__struct_encode_fields__)


class Npm:
    """An `Ecosystem` (see installer.py). `cache` is npm's own folder; `environ` holds the user's settings."""

    runtime = ""  # the installed files are the same for every Node

    def __init__(
        self, nodes: NodeFinder, commands: Commands, *, cache: Path, environ: Mapping[str, str]
    ) -> None:
        self._nodes = nodes
        self._commands = commands
        self._cache = cache
        self._environ = environ

    async def resolve(self, reference: PackageRef, folder: Path, lock: int) -> NpmClosure:
        _write_project(reference, folder)
        finished = await self._npm(("install", "--package-lock-only"), folder, lock)
        if finished.code:
            raise npm_problem(reference, finished)
        return closure_of(reference, (folder / "package-lock.json").read_bytes())

    async def install(
        self, reference: PackageRef, closure: NpmClosure, folder: Path, lock: int
    ) -> dict[str, str]:
        _write_project(reference, folder)
        (folder / "package-lock.json").write_bytes(package_lock(reference, closure))
        finished = await self._npm(("ci",), folder, lock)
        if finished.code:
            raise npm_problem(reference, finished, closure)
        return commands_of(reference, folder)

    async def argv(self, folder: Path, command: str) -> tuple[str, ...]:
        entry = folder / command
        if not is_javascript(entry):
            detail = (
                f"{entry} is no JavaScript file, and only those are run; give the server's `command` instead"
            )
            raise package_problem("no-entry", "the package's command cannot be run", detail)
        return (str((await self._nodes.find()).node), str(entry))

    async def _npm(self, command: tuple[str, ...], folder: Path, lock: int) -> Finished:
        node = await self._nodes.find()
        argv = (
            str(node.node),
            str(node.npm),
            *command,
            *_OPTIONS,
            f"--cache={self._cache}",
            f"--prefix={folder}",
        )
        environment = _SHORT_WAITS | environment_for(self._environ, _OWN_VARIABLES) | self._credentials()
        return await self._commands.run(argv, folder=folder, environment=environment, lock=lock)

    def _credentials(self) -> dict[str, str]:
        """The variables that the user's .npmrc names (`_authToken=${NPM_TOKEN}`)."""
        own = {name.lower(): value for name, value in self._environ.items()}
        home = self._environ.get("HOME", "")
        try:
            text = Path(own.get("npm_config_userconfig") or f"{home}/.npmrc").read_text(errors="replace")
        except OSError:
            return {}
        named = re.findall(r"\$\{(\w+)\??\}", text)
        return {name: self._environ[name] for name in named if name in self._environ}


def closure_of(reference: PackageRef, content: bytes) -> NpmClosure:
    """The closure in a package-lock.json. Raises ProblemError where something in it cannot be pinned."""
    closure: NpmClosure = {}
    for path, entry in json.loads(content)["packages"].items():
        if not path:  # the project that we made up
            continue
        if "resolved" in entry or entry.get("link"):
            why = f"{path} comes from {condensed(str(entry.get('resolved')))} and not from a registry"
            raise _unsupported(reference, why)
        try:
            closure[path] = msgspec.convert({k: v for k, v in entry.items() if k in _KEPT}, NpmPackage)
            check_keys("npm", {path: closure[path]})
        except (msgspec.ValidationError, ValueError) as error:
            raise _unsupported(reference, f"{path}: {error}") from error
    return closure


def package_lock(reference: PackageRef, closure: NpmClosure) -> bytes:
    """The package-lock.json that `npm ci` installs the closure from."""
    packages: dict[str, Any] = {"": _project(reference), **closure}
    content = {"name": "fairlead", "lockfileVersion": 3, "requires": True, "packages": packages}
    return msgspec.json.encode(content)


def commands_of(reference: PackageRef, folder: Path) -> dict[str, str]:
    """The commands of the installed package, name to path below `folder`, as far as they have a file."""
    home = folder / "node_modules" / reference.name
    try:
        declared = json.loads((home / "package.json").read_bytes())["bin"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if isinstance(declared, str):
        declared = {reference.name.rpartition("/")[2]: declared}
    if not isinstance(declared, dict):
        return {}
    inside = {str(name): Path(os.path.normpath(home / str(path))) for name, path in declared.items()}
    return {
        name: str(path.relative_to(folder))
        for name, path in inside.items()
        if path.is_relative_to(home) and path.is_file()
    }


def is_javascript(file: Path) -> bool:
    """By its ending, or by a first line that asks for node."""
    if file.suffix in {".js", ".mjs", ".cjs"}:
        return True
    with file.open("rb") as content:
        first = content.readline(256)
    return first.startswith(b"#!") and b"node" in first


def npm_problem(reference: PackageRef, finished: Finished, closure: NpmClosure | None = None) -> ProblemError:
    """What npm's answer means, and what to do about it."""
    try:
        error = json.loads(finished.output)["error"]
        explanation = str(error.get("detail")).partition("\n\n")[0]
        code, summary = str(error.get("code")), condensed(f"{error.get('summary')}\n{explanation}")
    except (ValueError, KeyError, TypeError, AttributeError):
        code, summary = (
            "",
            condensed(finished.errors or finished.output or f"npm exited with {finished.code}"),
        )
    if code == "E404":
        detail = f"{reference}: {summary}\nCheck the name; if it is private, registry and login in ~/.npmrc"
        return package_problem("package-not-found", "npm knows no such package", detail)
    if code == "ETARGET":
        detail = f"{reference}: {summary}\n`npm view {reference.name} versions` lists what there is"
        return package_problem("version-not-found", "npm knows no such version", detail)
    if code.startswith("EALLOW"):
        return _unsupported(reference, f"{summary}\nOnly what comes from a registry can be pinned")
    if code == "EINTEGRITY":
        return _integrity_problem(reference, summary, closure or {})
    if code in {"E401", "E403", "ENEEDAUTH"}:
        return unreachable(f"{reference}: {summary}\nThe registry refuses us: check the login in ~/.npmrc")
    if _NETWORK.match(code):
        return unreachable(
            f"{reference}: {summary}\nCheck the network and, in ~/.npmrc, registry and proxy; "
            "for certificates set NODE_EXTRA_CA_CERTS"
        )
    return package_problem("install-failed", "npm cannot install the package", f"{reference}: {summary}")


def _integrity_problem(reference: PackageRef, summary: str, closure: NpmClosure) -> ProblemError:
    of = [
        f"{path.removeprefix('node_modules/')}@{package.version}"
        for path, package in closure.items()
        if package.integrity and package.integrity in summary
    ]
    detail = (
        f"{reference}: what the registry has of {', '.join(of) or 'a package'} is not what is pinned. "
        f"Nothing was installed. {summary}\nIf you trust the registry, pin anew with `fairlead lock --anew`"
    )
    return package_problem("integrity-mismatch", "a package is not what was pinned", detail)


def _unsupported(reference: PackageRef, why: str) -> ProblemError:
    return package_problem("package-unsupported", "the package cannot be pinned", f"{reference}: {why}")


def _project(reference: PackageRef) -> dict[str, Any]:
    return {"name": "fairlead", "dependencies": {reference.name: reference.version}}


def _write_project(reference: PackageRef, folder: Path) -> None:
    (folder / "package.json").write_bytes(msgspec.json.encode({"private": True, **_project(reference)}))
