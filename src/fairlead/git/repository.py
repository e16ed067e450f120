"""All repositories that applications come from: mirrored, polled, watched, woken by webhooks."""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from fairlead.git.failures import GitFailedError
from fairlead.git.mirror import last_used
from fairlead.git.places import Places, locate
from fairlead.git.remote import remote_of
from fairlead.git.source import RepositorySource, Workshop, mirror_name, next_look
from fairlead.git.watching import changes
from fairlead.git.webhooks import REPLAYED, UNPROVED, Deliveries, Refusal, WebhookEvent, verify
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Source

LOG = structlog.get_logger("fairlead.git")
KEPT: Final = 86400.0  # s, of a mirror that nobody wants
OnChanged = Callable[[RepositorySource], None]


class GitRepositoryManager:
    """Keeps sources. `on_changed(source)` is called, in the loop, when a head or a problem is another one."""

    def __init__(self, workshop: Workshop, tasks: Tasks, on_changed: OnChanged) -> None:
        self._workshop = workshop
        self._tasks = tasks
        self._on_changed = on_changed
        self._kept: dict[str, _Kept] = {}
        self._deliveries = Deliveries()
        self._configuring = asyncio.Lock()
        self._rng = random.Random()  # noqa: S311 - jitter is no secret
        self._nobodys_secret = secrets.token_hex(32)

    def __repr__(self) -> str:
        return f"GitRepositoryManager({', '.join(map(repr, self.sources.values()))})"

    @property
    def sources(self) -> Mapping[str, RepositorySource]:
        return {name: kept.source for name, kept in self._kept.items()}

    async def configure(self, sources: Mapping[str, Source]) -> None:
        """Keep exactly these: new ones start, others end; those that are as before go on undisturbed."""
        async with self._configuring:
            for name in [name for name, kept in self._kept.items() if sources.get(name) != kept.source.spec]:
                await self._kept.pop(name).close()
            await asyncio.to_thread(_remove_others, self._workshop.folder, sources)
            for name, spec in sources.items():
                if name not in self._kept:
                    source = RepositorySource(name, spec, self._workshop, self._on_changed)
                    self._kept[name] = _Kept(source, self._tasks, self._rng)

    def wake(self, name: str) -> None:
        """Look now: a webhook came, or a person asks. An unknown name is ignored."""
        if name in self._kept:
            self._kept[name].wake.set()

    def receive(
        self, name: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> WebhookEvent | Refusal:
        """Take a webhook for a source, and look if its branch was pushed to.

        Names of `headers` are in lower case; `now` is Unix time in s. What is not proved is `UNPROVED`, also
        where there is no such source, after as much work: so it cannot be found out which sources there are.
        """
        kept = self._kept.get(name)
        event = verify(headers, body, self._secret(name, kept), now)
        if isinstance(event, Refusal) and not event.proved:
            LOG.info("webhook refused", source=name if kept else "unknown", reason=event.message)
            return UNPROVED
        if isinstance(event, Refusal):
            return event
        assert kept is not None  # nobody has the other secret
        if not self._deliveries.first(f"{name}:{event.replay_key}"):
            return REPLAYED
        if event.branch == kept.source.spec.branch:
            kept.wake.set()
        return event

    def _secret(self, name: str, kept: _Kept | None) -> str:
        """The source's; where it has none, one that nobody knows, after resolving another source's."""
        having = kept is not None and kept.source.spec.webhook_secret is not None
        other = next((each for each in self._kept.values() if each.source.spec.webhook_secret), None)
        asked = kept if having else other
        if asked is None or asked.source.spec.webhook_secret is None:
            return self._nobodys_secret
        try:
            secret = self._workshop.resolve(asked.source.spec.webhook_secret)
        except SpecError as error:
            if having:
                LOG.warning("a webhook's secret has no value", source=name, reason=str(error))
            return self._nobodys_secret
        return secret if having else self._nobodys_secret

    def statistics(self) -> dict[str, Any]:
        """By source: head, problem, age in s, failures in a row; and git operations by name and outcome."""
        return {
            "sources": {
                name: {
                    "head": source.head.commit.id if source.head else None,
                    "problem": source.problem,
                    "sourceAgeSeconds": source.age,
                    "failures": source.failures,
                    "refreshes": source.refreshes,
                }
                for name, source in self.sources.items()
            },
            "operations": dict(self._workshop.git.operations),
        }

    async def close(self) -> None:
        async with self._configuring:
            for name in list(self._kept):
                await self._kept.pop(name).close()


class _Kept:
    """A source with its tasks."""

    def __init__(self, source: RepositorySource, tasks: Tasks, rng: random.Random) -> None:
        self.source = source
        self.wake = asyncio.Event()
        self._rng = rng
        self._running = [tasks.spawn(self._poll(), f"git-poll-{source.name}")]
        path = _path_of(source.spec)
        if path is not None:
            self._running.append(tasks.spawn(self._watch(path), f"git-watch-{source.name}"))
        self._running.append(tasks.spawn(self._mend(), f"git-mend-{source.name}"))

    async def _poll(self) -> None:
        while True:
            self.wake.clear()
            if await self.source.refresh():
                await self.source.tidy()
            delay = next_look(self.source.spec.poll, self.source.failures, self._rng)
            try:
                async with asyncio.timeout(delay):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def _watch(self, path: Path) -> None:
        branch = self.source.spec.branch

        def places() -> Places | None:
            return locate(path)

        def mark() -> object:
            found = places()
            return None if found is None else found.mark(branch)

        def folders() -> set[Path]:
            found = places()
            return {path} if found is None else found.folders(branch)

        async for _ in changes(mark, folders):
            self.wake.set()

    async def _mend(self) -> None:
        """Somebody could not read something: do not wait for the next poll."""
        while True:
            await self.source.mirror.doubted.wait()
            self.wake.set()
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.source.close()


def _path_of(spec: Source) -> Path | None:
    try:
        return remote_of(spec).path
    except GitFailedError:
        return None


def _remove_others(folder: Path, sources: Mapping[str, Source]) -> None:
    """Mirrors of sources that are not wanted any more, and were not for a day.

    The file that names the sources may be gone for a moment, as when another branch is checked out: then
    what was verified must not be lost, least of all while the Git host is away.
    """
    before = time.time() - KEPT
    wanted = {mirror_name(name, spec).removesuffix(".git") for name, spec in sources.items()}
    if folder.is_dir():
        for left in folder.glob("*-????????????.*"):
            name = left.name.partition(".")[0]
            if name not in wanted and last_used(folder / name) < before:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
