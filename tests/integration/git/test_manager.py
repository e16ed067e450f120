"""All sources together: polled, watched, woken, changed while running."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import time

import pytest

from fairlead.git.repository import KEPT, GitRepositoryManager
from fairlead.git.webhooks import UNPROVED, Refusal
from fairlead.kit.tasks import Tasks
from fairlead.model.gitops import Source
from support.repositories import Repository
from support.until import until


@pytest.fixture
async def failures():
    return []


@pytest.fixture
async def manager(rig, failures):
    tasks = Tasks(lambda name, error: failures.append((name, error)))
    manager = GitRepositoryManager(rig.workshop(), tasks, rig.changed.put_nowait)
    yield manager
    await manager.close()
    await tasks.close()
    assert failures == []
    assert len(tasks) == 0


def spec(url: object, **more: object) -> Source:
    return Source.model_validate({"url": str(url), "poll": "1h", **more})


def head_of(manager: GitRepositoryManager, name: str) -> str | None:
    head = manager.sources[name].head
    return None if head is None else head.commit.id


async def test_a_commit_to_a_watched_repository_is_taken_at_once(rig, manager, origin):
    await manager.configure({"config": spec(origin.path)})
    await until(lambda: head_of(manager, "config") == origin.head)
    await rig.changed.get()
    took = []
    for number in range(5):
        commit = await asyncio.to_thread(origin.commit, {"n": str(number)})
        start = time.monotonic()
        await until(lambda commit=commit: head_of(manager, "config") == commit)
        took.append(time.monotonic() - start)
    assert min(took) < 1.0  # the poll is an hour
    assert rig.changed.qsize() >= 1
    assert manager.statistics()["sources"]["config"]["problem"] is None
    assert manager.statistics()["operations"]["fetch", "succeeded"] >= 6


@pytest.mark.parametrize("how", ["packed", "nested", "linked", "bare"])
async def test_every_kind_of_repository_is_watched(manager, origin, tmp_path, how):
    path, branch, writer = origin.path, "main", origin
    if how == "nested":
        branch = "team/blue/config"
        origin.git("switch", "-q", "-c", branch)
    elif how == "linked":
        path, branch = tmp_path / "linked", "side"
        origin.git("worktree", "add", "-q", "-b", branch, str(path))
        writer = Repository.__new__(Repository)
        writer.path, writer.bare, writer.branch = path, False, branch
    elif how == "bare":
        path = origin.pushable(tmp_path / "bare.git").path
    await manager.configure({"config": spec(path, branch=branch)})
    await until(lambda: head_of(manager, "config") == writer.head)
    if how == "packed":
        origin.git("pack-refs", "--all")
    commit = await asyncio.to_thread(writer.commit, {"x": "1"})
    if how == "bare":
        await asyncio.to_thread(origin.git, "push", "-q", str(path), "main")
    await until(lambda: head_of(manager, "config") == commit)


async def test_a_repository_that_comes_later_and_is_replaced(manager, tmp_path):
    path = tmp_path / "later"
    await manager.configure({"config": spec(path)})
    await until(lambda: manager.sources["config"].problem is not None)
    commit = await asyncio.to_thread(lambda: Repository(path).commit({"x": "1"}))
    await until(lambda: head_of(manager, "config") == commit)
    await asyncio.to_thread(shutil.rmtree, path)
    await until(lambda: (manager.sources["config"].problem or [""])[0] == "NoRepository")
    assert head_of(manager, "config") == commit


async def test_polling(rig, manager, origin, hosted, tmp_path):
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    await manager.configure({"config": spec(hosted.url_of("config.git"), poll="100ms")})
    await until(lambda: head_of(manager, "config") == origin.head)
    commit = origin.commit({"x": "1"})
    await until(lambda: head_of(manager, "config") == commit)
    hosted.away = True
    await until(lambda: manager.statistics()["sources"]["config"]["failures"] >= 2)
    hosted.away = False
    await until(lambda: manager.sources["config"].problem is None)


async def test_waking(manager, origin, hosted, tmp_path):
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    await manager.configure({"config": spec(hosted.url_of("config.git"))})
    await until(lambda: head_of(manager, "config") == origin.head)
    commit = origin.commit({"x": "1"})
    manager.wake("config")
    manager.wake("nobody")
    await until(lambda: head_of(manager, "config") == commit)


class TestWebhooks:
    @pytest.fixture
    async def hooked(self, rig, manager, origin, hosted, tmp_path):
        (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
        rig.secrets["HOOK"] = "hush"
        url = hosted.url_of("config.git")
        await manager.configure(
            {
                "config": spec(url, webhook_secret="${HOOK}"),
                "plain": spec(url),
                "gone": spec(url, webhook_secret="${NO}"),
            }
        )
        await until(lambda: head_of(manager, "config") == origin.head)
        return manager

    def signed(self, body: bytes, secret: str = "hush") -> dict[str, str]:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return {"x-github-event": "push", "x-hub-signature-256": f"sha256={digest}"}

    async def test_a_push_wakes(self, hooked, origin):
        commit = origin.commit({"x": "1"})
        body = json.dumps({"ref": "refs/heads/main", "after": commit}).encode()
        event = hooked.receive("config", self.signed(body), body, 1000.0)
        assert event.commit == commit
        await until(lambda: head_of(hooked, "config") == commit)
        again = hooked.receive("config", self.signed(body), body, 1001.0)
        assert isinstance(again, Refusal)
        assert again.status == 409

    async def test_another_branch_does_not_wake(self, hooked, origin):
        origin.commit({"x": "1"})
        looked = hooked.sources["config"].refreshes
        body = json.dumps({"ref": "refs/heads/other", "after": "1" * 40}).encode()
        assert hooked.receive("config", self.signed(body), body, 1000.0).branch == "other"
        await asyncio.sleep(0)
        assert hooked.sources["config"].refreshes == looked

    @pytest.mark.parametrize("secret", ["hush", "", "guess"])
    @pytest.mark.parametrize("name", ["nobody", "plain", "gone"])
    async def test_sources_that_take_none_are_told_apart_by_nothing(self, hooked, name, secret):
        assert hooked.receive(name, self.signed(b"{}", secret), b"{}", 1000.0) is UNPROVED
        assert hooked.receive(name, {}, b"", 1000.0) is UNPROVED

    async def test_a_wrong_secret(self, hooked):
        assert hooked.receive("config", self.signed(b"{}", "guess"), b"{}", 1000.0) is UNPROVED
        assert hooked.receive("config", {}, b"{}", 1000.0) is UNPROVED

    async def test_only_who_has_the_secret_is_told_what_is_wrong_with_the_body(self, hooked):
        refusal = hooked.receive("config", self.signed(b"no JSON"), b"no JSON", 1000.0)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 400


async def test_sources_are_changed_while_it_runs(rig, manager, origin, tmp_path):
    other = Repository(tmp_path / "other")
    other.commit({"y": "1"})
    await manager.configure({"one": spec(origin.path), "two": spec(other.path)})
    await until(lambda: head_of(manager, "one") and head_of(manager, "two"))
    one, two = manager.sources["one"], manager.sources["two"]

    await manager.configure({"one": spec(origin.path), "two": spec(origin.path)})

    assert manager.sources["one"] is one
    assert manager.sources["two"] is not two
    await until(lambda: head_of(manager, "two") == origin.head)
    assert len(list(rig.folder.glob("*.git"))) == 3, "the former one is kept for a while"
    await manager.configure({})
    assert manager.sources == {}
    for mutex in rig.folder.glob("*.mutex"):
        os.utime(mutex, (time.time() - KEPT - 1,) * 2)
    await manager.configure({})
    assert list(rig.folder.iterdir()) == []
    assert "GitRepositoryManager" in repr(manager)


async def test_a_source_that_is_gone_for_a_moment_has_its_commit_though_the_host_is_away(
    rig, manager, origin, tmp_path
):
    await manager.configure({"config": spec(origin.path)})
    await until(lambda: head_of(manager, "config") == origin.head)
    head = origin.head
    await manager.configure({})
    origin.path.rename(tmp_path / "away")
    await manager.configure({"config": spec(origin.path)})
    await until(lambda: manager.sources["config"].problem)
    assert head_of(manager, "config") == head


async def test_what_cannot_be_read_is_mended_at_once(rig, manager, origin):
    await manager.configure({"config": spec(origin.path)})
    await until(lambda: head_of(manager, "config") == origin.head)
    source = manager.sources["config"]
    shutil.rmtree(source.mirror.folder / "objects")
    source.mirror.doubted.set()  # as the reader does
    await until(lambda: not source.mirror.doubted.is_set())
    await until(lambda: source.problem is None)
    assert (source.mirror.folder / "objects").is_dir()
