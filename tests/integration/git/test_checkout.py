"""The checkout that one stands in: every odd kind of it, looked at without a trace."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from fairlead.git.checkout import Checkout
from fairlead.model.reconciling import Reason
from support.repositories import Repository, damage

FILE = "mcp-servers.yml"


@pytest.fixture(autouse=True)
def own_configuration():
    """libgit2 reads the user's file of `safe.directory`; some machines trust everything."""
    import pygit2

    before = pygit2.settings.search_path[pygit2.enums.ConfigLevel.GLOBAL]
    pygit2.settings.search_path[pygit2.enums.ConfigLevel.GLOBAL] = "/nonexistent"
    yield
    pygit2.settings.search_path[pygit2.enums.ConfigLevel.GLOBAL] = before


@pytest.fixture
def work(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "work")
    repository.commit({FILE: "a: 1\n", "config/other.yml": "b: 1\n"}, "first")
    return repository


def reasons(sight) -> list[Reason]:
    return [oddity.reason for oddity in sight.oddities]


def footprint(folder: Path) -> dict[str, str]:
    """All of a folder, Git's own files too."""
    return {
        str(
            file.relative_to(folder)
        ): f"{file.stat().st_mtime_ns} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in folder.rglob("*")
        if file.is_file()
    }


async def test_clean(work):
    sight = await Checkout(work.path, [FILE, "config/other.yml"]).look()
    assert sight.oddities == ()
    assert sight.branch == "main"
    assert sight.root == work.path
    assert sight.head.id == work.head
    assert sight.uncommitted == ()
    assert [version.committed for version in sight.files] == [b"a: 1\n", b"b: 1\n"]


async def test_uncommitted_edits(work):
    (work.path / FILE).write_text("a: 2\n")
    (work.path / "new.yml").write_text("c: 1\n")
    (work.path / "config/other.yml").unlink()
    before = footprint(work.path)
    sight = await Checkout(work.path, [FILE, "new.yml", "config/other.yml", "nowhere.yml"]).look()
    assert sight.uncommitted == (FILE, "new.yml", "config/other.yml")
    edited, new, removed, nowhere = sight.files
    assert (edited.committed, edited.present) == (b"a: 1\n", b"a: 2\n")
    assert (new.committed, new.present) == (None, b"c: 1\n")
    assert (removed.committed, removed.present) == (b"b: 1\n", None)
    assert not nowhere.uncommitted
    assert footprint(work.path) == before  # not even the index was refreshed


async def test_staged_is_not_committed(work):
    (work.path / FILE).write_text("a: 2\n")
    work.git("add", FILE)
    assert (await Checkout(work.path, [FILE]).look()).uncommitted == (FILE,)


async def test_line_ends_do_not_count(work):
    (work.path / FILE).write_bytes(b"a: 1\r\n")
    assert (await Checkout(work.path, [FILE]).look()).uncommitted == ()


async def test_from_a_folder_within(work):
    sight = await Checkout(work.path / "config", ["other.yml"]).look()
    assert sight.files[0].committed == b"b: 1\n"
    assert sight.root == work.path


async def test_no_repository(tmp_path):
    (tmp_path / FILE).write_text("a: 1\n")
    sight = await Checkout(tmp_path, [FILE]).look()
    assert reasons(sight) == [Reason.NO_REPOSITORY]
    assert sight.head is None
    assert sight.uncommitted == ()
    assert sight.files[0].present == b"a: 1\n"


async def test_a_bare_repository_is_no_checkout(tmp_path):
    bare = Repository(tmp_path / "bare.git", bare=True)
    assert reasons(await Checkout(bare.path, [FILE]).look()) == [Reason.NO_REPOSITORY]


async def test_no_commit_yet(tmp_path):
    new = Repository(tmp_path / "new", branch="trunk")
    (new.path / FILE).write_text("a: 1\n")
    sight = await Checkout(new.path, [FILE]).look()
    assert reasons(sight) == [Reason.NO_COMMIT]
    assert sight.branch == "trunk"
    assert sight.uncommitted == ()
    new.commit({})
    assert (await Checkout(new.path, [FILE]).look()).oddities == ()


async def test_a_detached_head(work):
    work.git("switch", "-q", "--detach")
    sight = await Checkout(work.path, [FILE]).look()
    assert reasons(sight) == [Reason.DETACHED_HEAD]
    assert sight.branch is None
    assert sight.head.id == work.head
    assert sight.files[0].committed == b"a: 1\n"


async def test_a_shallow_clone(work, tmp_path):
    work.commit({FILE: "a: 2\n"})
    clone = work.clone(tmp_path / "shallow", "--depth", "1")
    sight = await Checkout(clone.path, [FILE]).look()
    assert reasons(sight) == [Reason.SHALLOW_CLONE]
    assert sight.head.id == work.head
    assert sight.uncommitted == ()


async def test_a_linked_worktree(work, tmp_path):
    work.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    (tmp_path / "linked" / FILE).write_text("a: 9\n")
    sight = await Checkout(tmp_path / "linked", [FILE]).look()
    assert reasons(sight) == [Reason.LINKED_WORKTREE]
    assert sight.branch == "side"
    assert sight.root == tmp_path / "linked"
    assert sight.uncommitted == (FILE,)
    assert (await Checkout(work.path, [FILE]).look()).uncommitted == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
async def test_a_foreign_owner(work):
    for file in [work.path, *work.path.rglob("*")]:
        os.chown(file, 12345, 12345)
    sight = await Checkout(work.path, [FILE]).look()
    assert reasons(sight) == [Reason.FOREIGN_OWNER]
    assert "safe.directory" in sight.oddities[0].message
    assert sight.head is None
    assert sight.files[0].present == b"a: 1\n"


async def test_a_damaged_repository(work):
    damage(work.path / ".git/refs/heads/main")
    sight = await Checkout(work.path, [FILE]).look()
    assert sight.head is None
    assert len(sight.oddities) == 1
    assert sight.files[0].present == b"a: 1\n"


async def test_a_gitdir_that_leads_nowhere(tmp_path):
    (tmp_path / ".git").write_text("gitdir: /nonexistent/place\n")
    assert reasons(await Checkout(tmp_path, [FILE]).look()) == [Reason.NO_REPOSITORY]


async def test_a_file_that_is_too_large_in_git(work):
    work.commit({FILE: "a" * (2**20 + 1)})
    sight = await Checkout(work.path, [FILE]).look()
    assert reasons(sight) == [Reason.SOURCE_REFUSED]


async def test_a_branch_switch_is_seen_as_one(work):
    checkout = Checkout(work.path, [FILE])
    work.git("switch", "-q", "-c", "other")
    other = work.commit({FILE: "a: 5\n"})
    sight = await checkout.look()
    assert (sight.branch, sight.head.id) == ("other", other)
    work.git("switch", "-q", "main")
    sight = await checkout.look()
    assert sight.branch == "main"
    assert sight.oddities == ()  # no history was rewritten


async def test_changes_are_told(work, tmp_path):
    checkout = Checkout(work.path, [FILE, "config/other.yml"])
    told = asyncio.Event()

    async def listen() -> None:
        async with aclosing(checkout.changes(poll=0.5)) as changes:
            async for _ in changes:
                told.set()

    task = asyncio.ensure_future(listen())
    number = 0
    while not told.is_set():  # until the watcher stands
        number += 1
        (work.path / FILE).write_text(f"a: {number}000\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await told.wait()
    steps = [
        lambda: work.commit({"elsewhere": "1"}),
        lambda: (work.path / FILE).write_text("a: 3\n"),
        (work.path / "config/other.yml").unlink,
        lambda: work.git("switch", "-q", "-f", "-c", "other"),
        lambda: work.git("switch", "-q", "--detach"),
        lambda: (work.path / ".git").rename(tmp_path / "taken-away"),
        lambda: (tmp_path / "taken-away").rename(work.path / ".git"),
    ]
    for step in steps:
        told.clear()
        await asyncio.to_thread(step)
        async with asyncio.timeout(30):
            await told.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "Checkout" in repr(checkout)


async def test_a_repository_of_another_object_format(tmp_path):
    repository = Repository.__new__(Repository)
    repository.path, repository.bare, repository.branch = tmp_path / "work", False, "main"
    repository.path.mkdir()
    repository.git("init", "-q", "--object-format=sha256", "--initial-branch=main")
    repository.commit({"servers.yml": "a: 1\n"})
    sight = await Checkout(repository.path, ["servers.yml"]).look()
    [oddity] = sight.oddities
    assert (sight.head, oddity.reason) == (None, Reason.SOURCE_REFUSED)
    assert "only SHA-1" in oddity.message
