"""Installs the packages that servers come in, once, each into a folder of its own.

An installation is named after the package and the digest of its closure. It is made in `tmp/` and renamed
when whole, so whatever stands under its name is whole, and to find it takes a look into the lock files and
one at the folder: no network, no process. A lock file (flock) for each package keeps two processes from
doing the same; the tools that they start inherit it, so even what a killed process left running is waited
for, and then `tmp/` is cleared.

    <folder>/npm/<name>@<version>-<digest>/node_modules, installed.json
    <folder>/pypi/<name>@<version>-<digest>/env, installed.json
    <folder>/{cache,locks,tmp}/
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sysconfig
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from fairlead.model.errors import SpecError
from fairlead.model.package_ref import PackageRef, parse_package
from fairlead.packages.closure import Closure, digest
from fairlead.packages.commands import Commands
from fairlead.packages.files import alone
from fairlead.packages.lock import Closures, LockFiles
from fairlead.packages.node import NodeFinder
from fairlead.packages.npm import Npm
from fairlead.packages.problems import package_problem
from fairlead.packages.pypi import Pypi

OnProgress = Callable[[str, str], None]
_MARK: Final = "installed.json"
_C = TypeVar("_C", bound=Closure)
_Found = tuple[Path, dict[str, str]]  # the folder of an installation, and its commands


class Ecosystem(Protocol[_C]):
    """How packages of one kind are resolved, installed and run. `lock` is a descriptor for the tools."""

    runtime: str  # what an installation depends on, beside its closure and the machine

    async def resolve(self, reference: PackageRef, folder: Path, lock: int) -> _C:
        """The closure, worked out in the empty `folder`. Raises ProblemError."""
        ...

    async def install(self, reference: PackageRef, closure: _C, folder: Path, lock: int) -> dict[str, str]:
        """Install into the empty `folder`; give its commands, name to path in it. Raises ProblemError."""
        ...

    async def argv(self, folder: Path, command: str) -> tuple[str, ...]:
        """What runs the file `command` of the installation in `folder`. Raises ProblemError."""
        ...


class _Installed(msgspec.Struct):
    package: str
    commands: dict[str, str]  # name to path below the folder


@dataclass(frozen=True, slots=True)
class LockChanges:
    """What `lock_all` did, as references in text."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]


class Installer:
    """Implements `ports.PackageInstaller`.

    `on_progress` gets a package, as the fleet file has it, and one line on what happens with it.
    """

    def __init__(
        self,
        folder: Path,
        lock_files: LockFiles,
        *,
        on_progress: OnProgress = lambda package, text: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._folder = folder.resolve()  # npm compares paths; a link on the way makes them differ
        self._lock_files = lock_files
        self._on_progress = on_progress
        commands = Commands()
        cache = self._folder / "cache"
        nodes = NodeFinder(self._folder / "node.json", environ)
        self._ecosystems: dict[str, Ecosystem[Any]] = {
            "npm": Npm(nodes, commands, cache=cache / "npm", environ=environ),
            "pypi": Pypi(commands, cache=cache / "uv", environ=environ),
        }

    def __repr__(self) -> str:
        return f"Installer({str(self._folder)!r})"

    async def ensure(self, package: str, entry: str | None) -> tuple[str, ...]:
        """The argv that runs `package`, installed now if it is not yet. See `ports.PackageInstaller`."""
        reference = _reference(package)
        closure = self._lock_files.find(reference)
        found = None if closure is None else self._installed(reference, closure)
        if found is None:
            found = await self._install(package, reference)
        folder, commands = found
        return await self._ecosystems[reference.registry].argv(folder, _chosen(reference, commands, entry))

    async def lock_all(self, packages: Iterable[str], *, anew: bool = False) -> LockChanges:
        """Write the committed lock file: a closure for each of `packages`, and for nothing else.

        What is pinned stays as it is (the committed file's before this machine's); `anew` resolves all again.
        """
        before = self._lock_files.read_committed()
        known = {} if anew else {**self._lock_files.read_local(), **before}
        references = sorted({_reference(package) for package in packages}, key=str)
        missing = [reference for reference in references if reference not in known]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._resolve_alone(reference)) for reference in missing]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        resolved = {reference: task.result() for reference, task in zip(missing, tasks, strict=True)}
        after: Closures = {reference: (known | resolved)[reference] for reference in references}
        self._lock_files.commit(after)
        return _changes(before, after)

    async def _install(self, package: str, reference: PackageRef) -> _Found:
        async with self._alone(package, reference) as (scratch, lock):
            closure = self._lock_files.find(reference)
            if closure is None:
                closure = await self._resolve(package, reference, scratch, lock)
                await self._lock_files.remember(reference, closure)
                self._on_progress(package, "pinned on this machine; `fairlead lock` pins it for the team")
            elif (found := self._installed(reference, closure)) is not None:
                return found  # by whom we waited for
            began = time.monotonic()
            self._on_progress(package, f"installing {len(closure)} packages")
            folder = await scratch.emptied()
            commands = await self._ecosystems[reference.registry].install(reference, closure, folder, lock)
            (folder / _MARK).write_bytes(msgspec.json.encode(_Installed(str(reference), commands)))
            target = self._target(reference, closure)
            await scratch.move_to(target)
            self._on_progress(package, f"installed in {time.monotonic() - began:.1f} s")
            return target, commands

    async def _resolve_alone(self, reference: PackageRef) -> Closure:
        package = str(reference)
        async with self._alone(package, reference) as (scratch, lock):
            closure = await self._resolve(package, reference, scratch, lock)
            self._on_progress(package, f"resolved to {len(closure)} packages")
            return closure

    async def _resolve(self, package: str, reference: PackageRef, scratch: _Scratch, lock: int) -> Closure:
        self._on_progress(package, "resolving")
        folder = await scratch.emptied()
        closure: Closure = await self._ecosystems[reference.registry].resolve(reference, folder, lock)
        return closure

    @asynccontextmanager
    async def _alone(self, package: str, reference: PackageRef) -> AsyncIterator[tuple[_Scratch, int]]:
        """Nobody else works on this package. What the disk refuses becomes a ProblemError."""
        name = f"{reference.registry}-{_slug(reference)}"
        scratch = _Scratch(self._folder / "tmp" / name)

        def waiting() -> None:
            self._on_progress(package, "waiting for another process that installs it")

        try:
            async with alone(self._folder / "locks" / name, waiting) as lock:
                try:
                    yield scratch, lock
                finally:
                    await scratch.remove()
        except OSError as error:
            detail = f"{package}: {error}"
            raise package_problem("install-failed", "the package cannot be installed", detail) from error

    def _target(self, reference: PackageRef, closure: Closure) -> Path:
        platform_name = f"{sysconfig.get_config_var('MULTIARCH')} {platform.machine()}"
        runtime = self._ecosystems[reference.registry].runtime
        name = f"{_slug(reference)}-{digest(closure, f'{platform_name} {runtime}')}"
        return self._folder / reference.registry / name

    def _installed(self, reference: PackageRef, closure: Closure) -> _Found | None:
        target = self._target(reference, closure)
        try:
            commands = msgspec.json.decode((target / _MARK).read_bytes(), type=_Installed).commands
        except (OSError, msgspec.DecodeError):
            return None
        whole = all((target / path).is_file() for path in commands.values())
        return (target, commands) if whole else None


class _Scratch:
    """The folder in which one package is worked on. What an earlier, killed process left in it goes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def emptied(self) -> Path:
        await self.remove()
        self._folder.mkdir(parents=True)
        return self._folder

    async def remove(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def move_to(self, target: Path) -> None:
        await asyncio.to_thread(os.sync)  # so that a power cut cannot keep the name and lose the content
        target.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)  # there only when it is damaged
        self._folder.rename(target)


def _reference(package: str) -> PackageRef:
    try:
        return parse_package(package)
    except SpecError as error:
        raise package_problem("package-invalid", "no such package", f"{error}; {error.hint}") from error


def _slug(reference: PackageRef) -> str:
    return f"{reference.name}@{reference.version}".replace("/", "+")


def _chosen(reference: PackageRef, commands: Mapping[str, str], entry: str | None) -> str:
    """The path of the command that runs the server: the named, the only or the eponymous one."""
    if entry is not None and entry in commands:
        return commands[entry]
    if entry is None and len(commands) == 1:
        return next(iter(commands.values()))
    eponym = reference.name.rpartition("/")[2].replace("_", "-").lower()
    for name, path in commands.items():
        if entry is None and name.replace("_", "-").lower() == eponym:
            return path
    if not commands:
        detail = f"{reference} has no command at all, so nothing in it can be started"
    else:
        wanted = "no command of its own name" if entry is None else f"no command {entry!r}"
        detail = f"{reference} has {wanted}; choose with `entry`: {', '.join(sorted(commands))}"
    raise package_problem("no-entry", "the package has no such command", detail)


def _changes(before: Closures, after: Closures) -> LockChanges:
    both = before.keys() & after.keys()
    return LockChanges(
        added=_texts(after.keys() - before.keys()),
        changed=_texts(reference for reference in both if before[reference] != after[reference]),
        kept=_texts(reference for reference in both if before[reference] == after[reference]),
        removed=_texts(before.keys() - after.keys()),
    )


def _texts(references: Iterable[PackageRef]) -> tuple[str, ...]:
    return tuple(sorted(str(reference) for reference in references))
