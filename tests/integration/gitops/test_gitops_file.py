"""`gitops.yml` is followed; what is wrong in it changes nothing. Who is in charge of the checkout is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairlead.app.gitops_sources import Ownership, Sources
from fairlead.git import checkout
from fairlead.git.checkout_source import CheckoutSource
from fairlead.git.command import Git
from fairlead.git.repository import GitRepositoryManager
from fairlead.git.source import Workshop
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import GitOpsFile, Source
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import GitSource
from support.repositories import ENVIRON, Repository

GUARD = 30.0  # s


class Rig:
    def __init__(self, folder: Path, tasks: Tasks) -> None:
        self.path = folder / "gitops.yml"
        workshop = Workshop(folder / "mirrors", Git(ENVIRON), lambda text: text)
        self.manager = GitRepositoryManager(workshop, tasks, lambda source: None)
        self.sources = Sources(
            self.path, self.manager, CheckoutSource(folder, "mcp-servers.yml", lambda: None)
        )
        self.sources.on_configured = self._configured
        self.configured: list[list[str]] = []
        self.news = asyncio.Event()

    async def _configured(self, found: list[GitSource], _file: GitOpsFile) -> None:
        self.configured.append([each.name for each in found])
        self.news.set()

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    async def until(self, names: list[str]) -> None:
        async with asyncio.timeout(GUARD):
            while not self.configured or self.configured[-1] != names:
                self.news.clear()
                await self.news.wait()

    async def until_refused(self) -> str:
        async with asyncio.timeout(GUARD):
            while self.sources.problem is None:
                await asyncio.sleep(0.01)
        assert self.sources.problem.reason is Reason.INVALID_CONFIG
        return self.sources.problem.message


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[Rig]:
    failures: list[BaseException] = []
    tasks = Tasks(lambda name, error: failures.append(error))
    rig = Rig(folder, tasks)
    tasks.spawn(rig.sources.run(), "sources")
    try:
        yield rig
    finally:
        await rig.manager.close()
        await tasks.close()
    assert failures == []


def naming(*repositories: Repository) -> str:
    lines = [f"  {each.path.name}: {{url: {each.path}}}" for each in repositories]
    return "\n".join(["version: '1'", "sources:", *lines, ""])


async def test_sources_come_and_go_with_the_file(tmp_path: Path):
    one, two = Repository(tmp_path / "one"), Repository(tmp_path / "two")
    for each in (one, two):
        each.commit({"README.md": "x"})
    async with following(tmp_path) as rig:
        await rig.until(["checkout"])
        rig.write(naming(one))
        await rig.until(["checkout", "one"])
        rig.write(naming(one, two))
        await rig.until(["checkout", "one", "two"])
        assert set(rig.sources.configuration.sources) == {"checkout", "one", "two"}
        rig.path.unlink()
        await rig.until(["checkout"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sources: [", "gitops.yml:1:"),
        ("version: '1'\nsources:\n  x: {url: 'ftp://x'}\n", "gitops.yml:3:"),
        ("version: '1'\nsources:\n  checkout: {url: 'https://example.com/x.git'}\n", "own name"),
        ("version: '1'\nsource: {}\n", "gitops.yml:2:"),
    ],
)
async def test_what_is_wrong_is_said_and_changes_nothing(tmp_path: Path, text: str, told: str):
    one = Repository(tmp_path / "one")
    one.commit({"README.md": "x"})
    (tmp_path / "gitops.yml").write_text(naming(one))
    async with following(tmp_path) as rig:
        await rig.until(["checkout", "one"])
        rig.write(text)
        assert told in await rig.until_refused()
        assert "one" in rig.manager.sources
        assert len(rig.configured) == 1
        rig.write(naming(one) + "# mended\n")
        async with asyncio.timeout(GUARD):
            while rig.sources.problem is not None:
                await asyncio.sleep(0.01)


async def test_a_file_that_cannot_be_read_is_not_one_that_is_absent(tmp_path: Path):
    one = Repository(tmp_path / "one")
    one.commit({"README.md": "x"})
    (tmp_path / "gitops.yml").write_text(naming(one))
    async with following(tmp_path) as rig:
        await rig.until(["checkout", "one"])
        rig.path.unlink()
        rig.path.mkdir()
        assert "gitops.yml" in await rig.until_refused()
        assert "one" in rig.manager.sources


async def test_following_outlives_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.app.gitops_sources.AGAIN", 0.0)
    one = Repository(tmp_path / "one")
    one.commit({"README.md": "x"})
    async with following(tmp_path) as rig:
        await rig.until(["checkout"])
        sound, faults = rig.manager.configure, iter([RuntimeError("a bug")])

        async def broken(sources: Mapping[str, Source]) -> None:
            for fault in faults:
                raise fault
            await sound(sources)

        monkeypatch.setattr(rig.manager, "configure", broken)
        rig.write(naming(one))
        await rig.until(["checkout", "one"])


async def test_git_is_in_charge_of_a_checkout_with_a_commit_and_still_is_after_a_restart(tmp_path: Path):
    repository = Repository(tmp_path / "r")
    source = CheckoutSource(repository.path, "mcp-servers.yml", lambda: None)
    heard: list[str] = []

    over = True

    def may_enable() -> None:
        """Nobody else keeps the fleet."""

    async def changed() -> bool:
        heard.append("changed")
        return over

    async def release() -> None:
        heard.append("released")

    def ownership() -> Ownership:
        return Ownership(
            tmp_path / "gitops.json", source, may_enable=may_enable, changed=changed, release=release
        )

    first = ownership()
    await source.refresh()
    with pytest.raises(ProblemError, match="no commit yet"):
        await first.enable("ada")
    repository.commit({"other.yml": "x"})
    await source.refresh()
    with pytest.raises(ProblemError, match=r"mcp-servers\.yml is not in the last commit: `git add` it"):
        await first.enable("ada")
    assert not first.enabled
    repository.commit({"mcp-servers.yml": "version: '1'\n"})
    await source.refresh()
    await first.enable("ada")
    assert first.enabled
    assert ownership().enabled
    await first.disable("ada")
    assert heard == ["changed", "changed", "released"]
    assert not ownership().enabled
    over = False  # a look goes on that still takes Git to be in charge
    await first.enable("ada")
    await first.disable("ada")
    assert heard[3:] == ["changed", "changed"]
    assert ownership().is_to_release
    await first.release()
    assert heard[5:] == ["released"]
    assert not ownership().is_to_release
    (tmp_path / "gitops.json").write_text("{")
    assert not ownership().enabled
    await source.close()


async def test_who_asks_for_a_look_at_the_checkout_gets_one_whatever_notifications_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def deaf(*_: object, **__: object) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    monkeypatch.setattr(checkout, "changes", deaf)
    repository = Repository(tmp_path / "r")
    repository.commit({"mcp-servers.yml": "one\n"})
    heard = asyncio.Queue[None]()
    source = CheckoutSource(repository.path, "mcp-servers.yml", lambda: heard.put_nowait(None))
    tasks = Tasks(lambda _, error: pytest.fail(repr(error)))
    workshop = Workshop(tmp_path / "mirrors", Git(ENVIRON), lambda text: text)
    manager = GitRepositoryManager(workshop, tasks, lambda _: None)
    sources = Sources(repository.path / "gitops.yml", manager, source)
    tasks.spawn(sources.run(), "sources")
    try:
        async with asyncio.timeout(GUARD):
            await heard.get()
            second = repository.commit({"mcp-servers.yml": "two\n"})
            sources.wake("checkout")
            await heard.get()
        assert source.head is not None
        assert source.head.commit.id == second
    finally:
        await tasks.close()
        await source.close()
