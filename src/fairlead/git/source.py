"""One source: a branch of a repository, kept fresh.

`refresh` fetches, checks and takes the newest commit. Whatever goes wrong is told in `problem`, and the last
verified commit stays the head. What may mend itself is tried again soon, anything else at the next poll.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fairlead.git.command import Access, Git
from fairlead.git.failures import CorruptError, GitFailedError
from fairlead.git.mirror import Mirror
from fairlead.git.proposals import Place, problem_of, push, withdraw
from fairlead.git.reader import UnreadableError
from fairlead.git.remote import Remote, Resolve, opened, remote_of
from fairlead.git.snapshot import TreeSnapshot, asked, commit_at, log_of
from fairlead.git.verify import verify_commit
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.gitops import ForgeSpec, Source
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import Commit, Forge, Proposal

LOG = structlog.get_logger("fairlead.git")
FIRST_RETRY: Final = 1.0  # s
LONGEST_RETRY: Final = 60.0  # s
JITTER: Final = 0.1  # of the poll's interval, to either side


def next_look(poll: float, failures: int, rng: random.Random) -> float:
    """Seconds until the next fetch, after so many temporary failures in a row."""
    if failures:
        cap = min(poll, LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 16))
        return cap * (0.5 + rng.random() / 2)
    return poll * (1 + JITTER * (2 * rng.random() - 1))


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all sources of a manager share. `folder` is below the state folder."""

    folder: Path
    git: Git
    resolve: Resolve
    forge_of: Callable[[ForgeSpec], Forge] | None = None
    clock: Callable[[], float] = time.monotonic


class RepositorySource:
    """Implements `ports.gitops.GitSource`. `on_changed` is called when head or problem is another one."""

    def __init__(
        self, name: str, spec: Source, workshop: Workshop, on_changed: Callable[[RepositorySource], None]
    ) -> None:
        self._name = name
        self.spec = spec
        self._workshop = workshop
        self._on_changed = on_changed
        self.mirror = Mirror(workshop.folder / mirror_name(name, spec), workshop.git)
        self._head: TreeSnapshot | None = None
        self._problem: tuple[str, str] | None = None
        self._seen_at: float | None = None
        self._opened = False
        self._lock = asyncio.Lock()
        self.failures = 0  # temporary ones in a row
        self.refreshes = 0

    def __repr__(self) -> str:
        head = self._head.commit.id[:12] if self._head else "none"
        return f"RepositorySource({self._name}, head={head}, problem={self._problem})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def head(self) -> TreeSnapshot | None:
        return self._head

    @property
    def problem(self) -> tuple[str, str] | None:
        return self._problem

    @property
    def age(self) -> float | None:
        return None if self._seen_at is None else self._workshop.clock() - self._seen_at

    async def snapshot(self, commit: str) -> TreeSnapshot:
        if self._head is not None and self._head.commit.id == commit:
            return self._head
        found = await asked(self.mirror.reader, lambda repository: commit_at(repository, commit))
        if found is None:
            detail = (
                f"commit {commit!r} is not in the mirror of {self._name!r}; check the id, or wait for a fetch"
            )
            raise ProblemError(Problem("unknown-commit", "no such commit", detail, 404, Fault.CLIENT))
        return TreeSnapshot(self.mirror.reader, found)

    async def log(self, limit: int, *, path: str = "") -> list[Commit]:
        if self._head is None:
            return []
        start = self._head.commit.id
        return await asked(self.mirror.reader, lambda repository: log_of(repository, start, limit, path))

    async def refresh(self) -> bool:
        async with self._lock:
            before = (self._head.commit.id if self._head else None, self._problem)
            self.refreshes += 1
            try:
                await self._refresh()
            except GitFailedError as error:
                self.failures = self.failures + 1 if error.temporary else 0
                self._problem = (error.reason.value, error.message)
            except Exception as error:  # one source's fault must not end the polling of it
                LOG.exception("a source cannot be refreshed", source=self._name)
                self.failures += 1
                self._problem = (Reason.FAULT.value, f"a fault of Fairlead's own: {type(error).__name__}")
            else:
                self.failures = 0
                self._problem = None
            after = (self._head.commit.id if self._head else None, self._problem)
        if after != before:
            self._on_changed(self)
        return after[0] != before[0]

    async def _refresh(self) -> None:
        if not self._opened:
            await self._open()
        remote = remote_of(self.spec)
        commit = await self._fetched(remote)
        self._seen_at = self._workshop.clock()
        if self._head is None or commit != self._head.commit.id:
            await self._take(commit)

    async def tidy(self) -> None:
        """What can wait until the new head was told."""
        async with self._lock:
            with suppress(GitFailedError):
                await self.mirror.tidy()

    async def _open(self) -> None:
        """What was in force goes on to be, unless the policy that holds now does not take it."""
        verified = await self.mirror.open()
        if verified is not None:
            try:
                await verify_commit(self._workshop.git, self.mirror.folder, verified, self.spec.verify)
            except GitFailedError as error:
                if error.reason is not Reason.SOURCE_REFUSED:
                    raise
                LOG.warning("the commit in force is not taken any more", source=self._name, why=error.message)
            else:
                self._head = await self._snapshot(verified)
        self._opened = True

    async def _fetched(self, remote: Remote) -> str:
        with self._opened_remote(remote) as access:
            if self.mirror.doubted.is_set():
                await self.mirror.mend(remote, self.spec.branch, access)
            try:
                return await self.mirror.fetch(remote, self.spec.branch, access)
            except CorruptError:
                await self.mirror.mend(remote, self.spec.branch, access)
                return await self.mirror.fetch(remote, self.spec.branch, access)

    @contextmanager
    def _opened_remote(self, remote: Remote) -> Iterator[Access]:
        private = self._workshop.folder / "private"
        try:
            with opened(self.spec, remote, self._workshop.resolve, private=private) as access:
                yield access
        except SpecError as error:
            message = f"a placeholder of source {self._name!r} has no value: {error}. {error.hint}".strip()
            raise GitFailedError(Reason.SOURCE_REFUSED, message, temporary=False) from error

    async def _take(self, commit: str) -> None:
        old = self._head.commit.id if self._head else None
        if old is not None and self.spec.rewritten == "hold" and await self.mirror.rewritten(old, commit):
            message = (
                f"the history of {self.spec.branch!r} was rewritten: {old[:12]} is no ancestor of "
                f"{commit[:12]}, and stays in force. Put the history back, or set `rewritten: accept`"
            )
            raise GitFailedError(Reason.HISTORY_REWRITTEN, message, temporary=False)
        await verify_commit(self._workshop.git, self.mirror.folder, commit, self.spec.verify)
        head = await self._snapshot(commit)
        await self.mirror.accept(commit)
        self._head = head

    async def _snapshot(self, commit: str) -> TreeSnapshot:
        found = await asked(self.mirror.reader, lambda repository: commit_at(repository, commit))
        if found is None:
            raise CorruptError(f"{commit} is missing")
        return TreeSnapshot(self.mirror.reader, found)

    async def propose(self, proposal: Proposal) -> str:
        async with self._proposing() as place:
            needed = await push(place, proposal)
        forge = self._forge()
        if forge is None or not needed:
            return proposal.branch
        return await forge.propose(
            branch=proposal.branch, onto=self.spec.branch, title=proposal.title, body=proposal.body
        )

    async def withdraw(self, branch: str) -> None:
        forge = self._forge()
        if forge is not None:
            await forge.withdraw(branch)
        async with self._proposing() as place:
            await withdraw(place, branch)

    def _forge(self) -> Forge | None:
        if self.spec.forge is None or self._workshop.forge_of is None:
            return None
        return self._workshop.forge_of(self.spec.forge)

    @asynccontextmanager
    async def _proposing(self) -> AsyncIterator[Place]:
        async with self._lock:
            try:
                if not self._opened:
                    await self._open()
                remote = remote_of(self.spec)
                with self._opened_remote(remote) as access:
                    yield Place(self.mirror, self._workshop.git, remote, self.spec.branch, access)
            except GitFailedError as error:
                raise problem_of(error) from error
            except UnreadableError as error:
                raise problem_of(CorruptError(str(error))) from error

    async def close(self) -> None:
        async with self._lock:
            await self.mirror.close()


def mirror_name(name: str, spec: Source) -> str:
    """Another URL or branch is another mirror: what was verified of the one says nothing of the other."""
    digest = hashlib.sha256(f"{spec.url}\n{spec.branch}".encode()).hexdigest()
    return f"{name}-{digest[:12]}.git"
