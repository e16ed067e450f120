"""Where applications come from: the repositories that `gitops.yml` names, and the checkout one stands in.

The file is followed while the service runs. One that is wrong, or cannot be read, leaves what is in force as
it is; `problem` says what is wrong with it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from fairlead.app.configuration_check import check_source
from fairlead.core.summary import Finding
from fairlead.git import checkout_source
from fairlead.git.checkout_source import CheckoutSource
from fairlead.git.repository import GitRepositoryManager
from fairlead.git.watching import changes
from fairlead.gitops.documents import is_error, read_gitops
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import GitOpsFile, PathRule, Source
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import GitSource
from fairlead.stores import files

LOG = structlog.get_logger("fairlead.gitops")
LARGEST: Final = 2**20  # bytes of gitops.yml
AGAIN: Final = 5.0  # s until what failed for a fault of ours is begun anew

Configured = Callable[[list[GitSource], GitOpsFile], Awaitable[None]]
"""Hears of each configuration that is put in force."""


class Sources:
    """All of them. `run` follows the file and the checkout, until it is cancelled."""

    def __init__(self, path: Path, manager: GitRepositoryManager, checkout: CheckoutSource) -> None:
        self._path = path
        self._manager = manager
        self._checkout = checkout
        self._file = GitOpsFile()
        self.problem: Finding | None = None
        self.on_configured: Configured = _nobody

    def __repr__(self) -> str:
        return f"Sources({self._path}, {sorted(self._file.sources)}, problem={self.problem})"

    @property
    def configuration(self) -> GitOpsFile:
        """What is in force, the checkout among its sources."""
        own = Source(url=str(self._path.parent), branch=self._checkout.branch or "HEAD")
        return self._file.model_copy(update={"sources": {checkout_source.NAME: own, **self._file.sources}})

    @property
    def severities(self) -> tuple[PathRule, ...]:
        """The rules for all applications."""
        return self._file.severities

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_for_ever(self._checkout.run, "the checkout"))
            tasks.create_task(_for_ever(self._follow, self._path.name))

    def wake(self, name: str) -> None:
        """Look at a source now."""
        if name == checkout_source.NAME:
            self._checkout.wake()
        else:
            self._manager.wake(name)

    async def _follow(self) -> None:
        async for _ in changes(self._mark, self._folders):
            await self._read()

    def _mark(self) -> object:
        status = self._path.stat()
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)

    def _folders(self) -> set[Path]:
        return {self._path.parent}

    async def _read(self) -> None:
        try:
            content = await asyncio.to_thread(_content, self._path)
        except OSError as error:
            self._refuse(f"{self._path}: {error.strerror}: make it readable for you, or remove it")
            return
        if content is None:
            found = GitOpsFile()
        else:
            read = read_gitops(content, self._path.name, check_source)
            if read.value is None:
                self._refuse("; ".join(str(each) for each in read.problems if is_error(each)))
                return
            found = read.value
            if checkout_source.NAME in found.sources:
                name = checkout_source.NAME
                self._refuse(f"{self._path.name}: `{name}` is the checkout's own name: choose another one")
                return
        self._file, self.problem = found, None
        await self._manager.configure(found.sources)
        await self.on_configured([self._checkout, *self._manager.sources.values()], found)

    def _refuse(self, why: str) -> None:
        self.problem = Finding(Reason.INVALID_CONFIG, why)
        LOG.warning("gitops.yml is not taken, what was in force stays", why=why)


class Ownership:
    """Implements `gitops.operations.Ownership`: whether Git is in charge of the checkout's fleet.

    That is kept before it is so. What remains to be done after `disable`, giving the fleet back to its file,
    is kept, too: it is tried again after each look at the checkout, until it is done.
    """

    def __init__(
        self,
        file: Path,
        checkout: CheckoutSource,
        *,
        may_enable: Callable[[], None],
        changed: Callable[[], Awaitable[bool]],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        """`may_enable` raises ProblemError where others keep the fleet. `changed` has the checkout's
        application declared anew, and looked at; whether that is over. `release` gives the fleet back to its
        file, and raises ProblemError where it cannot.
        """
        self._file = file
        self._checkout = checkout
        self._may_enable = may_enable
        self._changed = changed
        self._release = release
        self._kept = _read_kept(file)
        self._releasing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Ownership({self._kept})"

    @property
    def enabled(self) -> bool:
        return self._kept.enabled

    @property
    def is_to_release(self) -> bool:
        """Whether Git is not in charge any more, but the fleet may not know."""
        return self._kept.release

    async def enable(self, actor: str) -> None:
        """What HEAD has is put in force, and kept so. Raises ProblemError (409) if it has no fleet file."""
        head, file = self._checkout.head, self._checkout.version
        if head is None or file is None or file.committed is None:
            _, why = self._checkout.problem or ("", "the checkout was not looked at yet: try again")
            if head is not None:
                why = checkout_source.not_committed(head.path)
            raise ProblemError(Problem("no-checkout", "Git cannot be in charge", why, 409, Fault.CLIENT))
        self._may_enable()
        self._keep(_Kept(enabled=True, by=actor, at=time.time()))
        await self._changed()

    async def disable(self, actor: str) -> None:
        """The fleet file is in charge again; Git is only compared with.

        Raises ProblemError where the fleet could not be given back yet.
        """
        self._keep(_Kept(release=True, by=actor, at=time.time()))
        if await self._changed():
            await self.release()

    async def release(self) -> None:
        """Give the fleet back, if that is still to be done. Raises ProblemError.

        Call it when no look goes on that still takes Git to be in charge: what that writes is Git's again.
        """
        async with self._releasing:
            if self._kept.release:
                await self._release()
            if self._kept.release:  # nobody has put Git in charge meanwhile
                self._keep(replace(self._kept, release=False))

    def _keep(self, kept: _Kept) -> None:
        files.write(self._file, json.dumps(asdict(kept)).encode() + b"\n")
        self._kept = kept


@dataclass(frozen=True, slots=True)
class _Kept:
    """The content of the file. `release`: the fleet is still to be given back; `at` is Unix time, s."""

    enabled: bool = False
    release: bool = False
    by: str = ""
    at: float = 0.0


def _read_kept(file: Path) -> _Kept:
    try:
        return _Kept(**json.loads(files.read(file) or b"{}"))
    except (ValueError, TypeError):
        LOG.warning("it is not known whether Git is in charge: it only observes", file=str(file))
        return _Kept()


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        return None


async def _for_ever(follow: Callable[[], Awaitable[None]], what: str) -> None:
    while True:
        try:
            await follow()
        except Exception:  # a fault with one of them must not end the following of all
            LOG.exception("following failed, and begins anew", what=what)
        await asyncio.sleep(AGAIN)


async def _nobody(_sources: list[GitSource], _file: GitOpsFile) -> None:
    """Hears of nothing."""
