"""The checkout that one stands in, as a source: whatever is odd about it, and never touched."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairlead.git.checkout_source import CheckoutSource
from fairlead.git.snapshot import MAX_DEPTH
from fairlead.model.errors import ProblemError
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import Proposal
from support.repositories import Repository

FILE = "mcp-servers.yml"
GUARD = 30.0  # s


def source_of(folder: Path) -> CheckoutSource:
    return CheckoutSource(folder, FILE, lambda: None)


async def look(folder: Path) -> CheckoutSource:
    source = source_of(folder)
    await source.refresh()
    return source


async def test_what_head_has_of_the_file_is_one_layer(tmp_path: Path):
    repository = Repository(tmp_path / "r")
    first = repository.commit({f"config/{FILE}": "one\n", "config/other": "x"})
    (repository.path / "config" / FILE).write_text("edited\n")
    source = await look(repository.path / "config")
    assert source.problem is None
    assert source.branch == "main"
    head = source.head
    assert head is not None
    [entry] = await head.entries("base")
    assert entry.path == f"base/{FILE}"
    assert await head.read([entry.blob]) == [b"one\n"]
    assert await head.tree_id("base") == await head.tree_id(f"base/{FILE}") == entry.blob
    assert await head.tree_id("environments/development") is None
    assert source.version is not None
    assert source.version.uncommitted
    second = repository.commit({"config/other": "y", f"config/{FILE}": "one\n"})
    assert await source.refresh()
    assert source.head is not None
    assert source.head.commit.id == second
    assert await source.head.tree_id("base") == await head.tree_id("base"), "another file concerns nobody"
    assert [each.id for each in await source.log(10)] == [second, first]
    assert (await source.snapshot(first)).commit.id == first
    for nothing in ("f" * 40, entry.blob, first[:8], "HEAD", "zz"):
        with pytest.raises(ProblemError, match="not in the checkout"):
            await source.snapshot(nothing)
    await source.close()


async def test_what_else_is_in_the_checkout_concerns_nobody(tmp_path: Path):
    """Nor does it cost anything: a large repository is not looked through for one file."""
    repository = Repository(tmp_path / "r")
    repository.commit({FILE: "one\n", "/".join(["d"] * (MAX_DEPTH + 2)): "deep\n"})
    source = await look(repository.path)
    assert source.head is not None
    [entry] = await source.head.entries("base")
    assert (entry.path, entry.size, entry.problem) == (f"base/{FILE}", 4, "")
    (repository.path / FILE).unlink()
    (repository.path / FILE).symlink_to("elsewhere")
    repository.commit({})
    await source.refresh()
    assert source.head is not None
    [entry] = await source.head.entries("base")
    assert "symbolic link" in entry.problem
    repository.commit({FILE: None, f"{FILE}/x": "a folder\n"})
    await source.refresh()
    assert source.head is not None
    assert await source.head.entries("base") == []
    await source.close()


async def test_a_branch_switch_is_another_head_and_no_rewritten_history(tmp_path: Path):
    repository = Repository(tmp_path / "r")
    repository.commit({FILE: "one\n"})
    repository.git("switch", "-q", "-c", "other")
    other = repository.commit({FILE: "two\n"})
    source = await look(repository.path)
    assert source.branch == "other"
    repository.git("switch", "-q", "main")
    assert await source.refresh()
    assert source.branch == "main"
    assert source.head is not None
    assert source.head.commit.id != other
    assert source.problem is None
    await source.close()


async def test_what_is_odd_is_told_and_only_what_must_hinders(tmp_path: Path):
    (tmp_path / "none").mkdir()
    unborn = Repository(tmp_path / "unborn")
    good = Repository(tmp_path / "good")
    good.commit({FILE: "one\n"})
    good.commit({FILE: "two\n"})
    good.clone(tmp_path / "shallow", "--depth=1")
    good.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    detached = good.clone(tmp_path / "detached")
    detached.git("checkout", "-q", "--detach")
    for folder, reason, has_head in (
        ("none", Reason.NO_REPOSITORY, False),
        (unborn.path.name, Reason.NO_COMMIT, False),
        ("shallow", Reason.SHALLOW_CLONE, True),
        ("linked", Reason.LINKED_WORKTREE, True),
        ("detached", Reason.DETACHED_HEAD, True),
    ):
        source = await look(tmp_path / folder)
        assert source.problem is not None, folder
        assert source.problem[0] == reason
        assert (source.head is not None) == has_head, folder
        assert (source.age is not None) == has_head
        if has_head:
            assert source.head is not None
            [entry] = await source.head.entries("base")
            assert await source.head.read([entry.blob]) == [b"two\n"]
        await source.close()


async def test_it_follows_and_touches_nothing(tmp_path: Path):
    repository = Repository(tmp_path / "r")
    repository.commit({FILE: "one\n"})
    changed = asyncio.Event()
    source = CheckoutSource(repository.path, FILE, changed.set)
    before = repository.git("status", "--porcelain")
    running = asyncio.create_task(source.run())
    async with asyncio.timeout(GUARD):
        await changed.wait()
        changed.clear()
        second = repository.commit({FILE: "two\n"})
        while source.head is None or source.head.commit.id != second:
            await changed.wait()
            changed.clear()
        (repository.path / FILE).write_text("edited\n")
        while source.version is None or not source.version.uncommitted:
            await changed.wait()
            changed.clear()
    running.cancel()
    repository.git("checkout", "-q", "--", FILE)
    assert repository.git("status", "--porcelain") == before == ""
    assert repository.head == second
    with pytest.raises(ProblemError, match="somebody's checkout"):
        await source.propose(Proposal("fairlead/x", second, "t", "b", {}, {}))
    await source.close()
