"""Mirrors that were damaged by hand, or by a run that was killed: mended without losing the head."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from support.repositories import ENVIRON, damage, loose_object
from support.until import until


@pytest.fixture
async def source(rig, origin):
    source = rig.source(origin.path)
    await source.refresh()
    assert source.problem is None
    return source


def files_of(folder: Path, pattern: str) -> list[Path]:
    return [file for file in folder.rglob(pattern) if file.is_file()]


async def whole(source, commit: str) -> None:
    await source.refresh()
    assert source.problem is None, source.problem
    assert source.head.commit.id == commit
    entries = await source.head.entries("")
    assert len(await source.head.read([entry.blob for entry in entries])) == len(entries) > 0


def packed(folder: Path) -> None:
    subprocess.run(["git", "gc", "-q"], cwd=folder, env=ENVIRON, check=True)


def unpacked(folder: Path) -> None:
    for pack in files_of(folder, "*.pack"):
        content = pack.read_bytes()
        pack.unlink()
        pack.with_suffix(".idx").unlink()
        subprocess.run(["git", "unpack-objects", "-q"], cwd=folder, env=ENVIRON, input=content, check=True)


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
async def test_a_damaged_blob(rig, origin, source, content, restarted):
    (entry,) = await source.head.entries("base")
    unpacked(source.mirror.folder)
    file = loose_object(source.mirror.folder, entry.blob)
    if content is None:
        file.unlink()
    else:
        damage(file, content)
    if restarted:
        await source.close()
        source = rig.source(origin.path)
        await source.refresh()
    if content is None and not restarted:  # libgit2 has it in its memory
        assert await source.head.read([entry.blob]) == [b"a: 1\n"]
        source.mirror.doubted.set()
    else:
        with pytest.raises(ProblemError, match="fetched anew"):
            await source.head.read([entry.blob])
        assert source.mirror.doubted.is_set()
    await whole(source, origin.head)
    assert not source.mirror.doubted.is_set()
    assert await source.head.read([entry.blob]) == [b"a: 1\n"]


@pytest.mark.parametrize("what", ["truncated", "garbage", "no-index", "bad-index"])
async def test_a_damaged_pack(rig, origin, source, what):
    packed(source.mirror.folder)
    await source.close()
    (pack,) = files_of(source.mirror.folder, "*.pack")
    index = pack.with_suffix(".idx")
    if what == "truncated":
        damage(pack, pack.read_bytes()[:-40])
    elif what == "garbage":
        damage(pack, b"x" * 500)
    elif what == "no-index":
        index.unlink()
    else:
        damage(index)
    source = rig.source(origin.path)
    commit = origin.commit({"x": "1"})
    for _ in range(3):
        await source.refresh()
        if source.problem is None and not source.mirror.doubted.is_set():
            break
    await whole(source, commit)


@pytest.mark.parametrize(
    "victim", ["HEAD", "config", "refs/fairlead/verified", "refs/fairlead/fetched", "packed-refs", "objects"]
)
@pytest.mark.parametrize("how", ["removed", "garbage"])
async def test_damaged_bones(rig, origin, source, victim, how):
    if victim == "packed-refs":
        packed(source.mirror.folder)
    await source.close()
    file = source.mirror.folder / victim
    if file.is_dir():
        shutil.rmtree(file)
        if how == "garbage":
            file.write_text("no folder")
    elif how == "removed":
        file.unlink()
    else:
        damage(file)
    again = rig.source(origin.path)
    for _ in range(3):
        await again.refresh()
        if again.problem is None and not again.mirror.doubted.is_set():
            break
    await whole(again, origin.head)
    await whole(again, origin.commit({"x": "1"}))


async def test_the_whole_folder_is_gone(rig, origin, source):
    shutil.rmtree(source.mirror.folder)
    for _ in range(3):
        await source.refresh()
    await whole(source, origin.head)


async def test_damaged_while_the_host_is_away(rig, origin, source):
    head = source.head
    (entry,) = await head.entries("base")
    unpacked(source.mirror.folder)
    damage(loose_object(source.mirror.folder, entry.blob))
    origin.path.rename(origin.path.with_name("moved"))
    await source.refresh()
    with pytest.raises(ProblemError):
        await source.head.read([entry.blob])
    await source.refresh()
    assert source.problem is not None
    assert source.head.commit.id == head.commit.id
    origin.path.with_name("moved").rename(origin.path)
    await whole(source, head.commit.id)


async def test_what_was_verified_survives_a_new_clone(rig, origin, source):
    """Else rewriting history and damaging the mirror would get a commit in that was to be held."""
    held = source.head.commit.id
    commit = origin.amend({"base/servers.yml": "a: evil\n"})
    await source.refresh()
    assert source.problem[0] == "HistoryRewritten"
    unpacked(source.mirror.folder)
    for file in files_of(source.mirror.folder / "objects", "*"):
        if file.parent.name == commit[:2] and file.name == commit[2:]:
            damage(file)
    source.mirror.doubted.set()
    await source.refresh()
    assert source.head.commit.id == held
    assert source.problem is not None


async def test_locks_that_a_killed_git_left(rig, origin, source):
    await source.close()
    folder = source.mirror.folder
    for name in (
        "packed-refs.lock",
        "config.lock",
        "HEAD.lock",
        "refs/fairlead/fetched.lock",
        "shallow.lock",
    ):
        (folder / name).touch()
    (folder / "objects/pack/tmp_pack_abc").write_bytes(b"half")
    again = rig.source(origin.path)
    await whole(again, origin.commit({"x": "1"}))
    assert not files_of(folder, "*.lock")
    assert not files_of(folder, "tmp_*")


@pytest.mark.parametrize("lock", ["fetched", "verified"])
async def test_locks_that_appear_while_we_run(origin, source, lock):
    (source.mirror.folder / f"refs/fairlead/{lock}.lock").touch()
    await whole(source, origin.commit({"x": "1"}))


async def test_half_of_a_new_clone_is_swept(rig, origin, source):
    await source.close()
    folder = source.mirror.folder
    fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    shutil.copytree(folder, fresh)
    folder.rename(old)  # killed between the two renames
    again = rig.source(origin.path)
    await whole(again, origin.head)
    assert not fresh.exists()
    assert not old.exists()


async def test_killed_with_sigkill_nothing_of_git_is_left(origin, hosted, tmp_path):
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    hosted.gate.clear()
    url = hosted.url_of("config.git")
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from fairlead.git.command import Access, Git\n"
        "from fairlead.git.mirror import Mirror\n"
        "from fairlead.git.remote import Remote\n"
        "async def main():\n"
        "    mirror = Mirror(Path(sys.argv[1]), Git(os.environ))\n"
        "    await mirror.open()\n"
        "    await mirror.fetch(Remote(sys.argv[2], 'http'), 'main', Access(('http',)))\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(tmp_path / "state/m.git"), url], env={**os.environ, **ENVIRON}
    )
    await until(lambda: any("POST" in request for request in hosted.requests))
    assert len(processes_of(url)) > 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    await until(lambda: not processes_of(url))


def processes_of(marker: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if marker in line]


class TestRewritten:
    async def test_held(self, origin, source):
        held = source.head.commit.id
        commit = origin.amend({"base/servers.yml": "a: 3\n"})
        assert not await source.refresh()
        assert source.problem[0] == "HistoryRewritten"
        assert held[:12] in source.problem[1]
        assert commit[:12] in source.problem[1]
        assert source.head.commit.id == held
        assert source.age == 0  # the remote was seen

    async def test_held_across_restarts_then_put_back(self, rig, origin, source):
        held = source.head.commit.id
        origin.amend({"base/servers.yml": "a: 3\n"})
        await source.refresh()
        await source.close()
        again = rig.source(origin.path)
        await again.refresh()
        assert again.problem[0] == "HistoryRewritten"
        assert again.head.commit.id == held
        origin.git("reset", "-q", "--hard", held)
        await whole(again, held)

    async def test_accepted(self, rig, origin):
        source = rig.source(origin.path, rewritten="accept")
        await source.refresh()
        before = source.head.commit.id
        await whole(source, origin.amend({"base/servers.yml": "a: 3\n"}))
        old = await source.snapshot(before)  # can still be returned to
        assert await old.read([(await old.entries("base"))[0].blob]) == [b"a: 1\n"]

    async def test_a_step_back_is_rewriting_too(self, origin, source):
        first = origin.head
        second = origin.commit({"x": "1"})
        await whole(source, second)
        origin.git("reset", "-q", "--hard", first)
        await source.refresh()
        assert source.problem[0] == "HistoryRewritten"
        assert source.head.commit.id == second

    async def test_a_merge_is_not(self, origin, source):
        origin.git("switch", "-q", "-c", "topic")
        origin.commit({"topic": "1"})
        origin.git("switch", "-q", "main")
        origin.commit({"x": "1"})
        origin.git("merge", "-q", "--no-edit", "topic")
        await whole(source, origin.head)


class TestShallow:
    async def test_a_shallow_clone_is_followed(self, rig, origin, tmp_path):
        for number in range(5):
            origin.commit({"n": str(number)})
        clone = origin.clone(tmp_path / "shallow", "--depth", "1")
        source = rig.source(clone.path)
        await whole(source, origin.head)
        assert [commit.subject for commit in await source.log(10)] == ["a change"]
        for number in range(3):
            origin.commit({"n": f"new {number}"})
        clone.git("fetch", "-q", "--depth", "1")
        clone.git("reset", "-q", "--hard", "origin/main")
        await whole(source, origin.head)  # no common history, and not rewritten

    async def test_made_whole(self, rig, origin, tmp_path):
        for number in range(5):
            origin.commit({"n": str(number)})
        clone = origin.clone(tmp_path / "shallow", "--depth", "1")
        source = rig.source(clone.path)
        await whole(source, origin.head)
        clone.git("fetch", "-q", "--unshallow")
        await whole(source, clone.commit({"x": "1"}))


async def test_a_linked_worktree_as_source(rig, origin, tmp_path):
    origin.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    source = rig.source(tmp_path / "linked", branch="side")
    await whole(source, origin.head)
    assert origin.git("branch", "--show-current") == "main"
