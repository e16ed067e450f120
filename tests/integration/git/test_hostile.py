"""Repositories that mean harm: refused entry by entry, with a reason, and without costing us."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from fairlead.git import snapshot as bounds
from fairlead.model.errors import ProblemError
from support.repositories import Repository

FILE, LINK, TREE, MODULE = "100644", "120000", "40000", "160000"


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "origin")


async def entries_of(rig, origin, **spec):
    source = rig.source(origin.path, **spec)
    await source.refresh()
    assert source.problem is None, source.problem
    return {entry.path: entry for entry in await source.head.entries("")}, source


async def test_a_symbolic_link(rig, origin):
    origin.commit({"good.yml": "a: 1\n"})
    (origin.path / "evil.yml").symlink_to("/etc/passwd")
    (origin.path / "folder").symlink_to("/etc")
    origin.commit({})
    entries, source = await entries_of(rig, origin)
    assert "symbolic link" in entries["evil.yml"].problem
    assert "symbolic link" in entries["folder"].problem
    assert entries["good.yml"].problem == ""
    assert await source.head.entries("folder") == []
    assert await source.head.tree_id("folder/passwd") is None


async def test_a_submodule(rig, origin):
    origin.commit({"good.yml": "a: 1\n"})
    blob = origin.blob(b"x")
    origin.commit_tree(origin.tree((FILE, blob, b"a"), (MODULE, "1" * 40, b"vendor")))
    entries, _ = await entries_of(rig, origin)
    assert "submodule" in entries["vendor"].problem
    assert entries["a"].problem == ""


@pytest.mark.parametrize("name", [b".git", b".GIT", b"git~1", b"..", b".", b".git "])
async def test_names_that_lead_elsewhere(rig, origin, name):
    """Git's own check may refuse the whole repository; what it lets through is refused entry by entry."""
    blob = origin.blob(b"x")
    inner = origin.tree((FILE, blob, b"config"))
    origin.commit_tree(origin.tree((TREE, inner, name), (FILE, blob, b"zzz")))
    source = rig.source(origin.path)
    await source.refresh()
    if source.problem is not None:
        assert source.problem[0] == "SourceRefused"
        assert "git's own check" in source.problem[1]
        assert source.head is None
    else:
        entries = {entry.path: entry for entry in await source.head.entries("")}
        assert "nothing may be called" in entries[name.decode()].problem
        assert f"{name.decode()}/config" not in entries
        assert entries["zzz"].problem == ""


@pytest.mark.parametrize("name", [b"bad\xff", b"back\\slash", b"line\nbreak", b"esc\x1b[31m", b"del\x7f"])
async def test_names_that_cannot_be_shown(rig, origin, name):
    blob = origin.blob(b"x")
    origin.commit_tree(origin.tree((FILE, blob, name)))
    entries, _ = await entries_of(rig, origin)
    (entry,) = entries.values()
    assert "rename it" in entry.problem


async def test_a_path_that_is_too_long(rig, origin):
    tree = origin.tree((FILE, origin.blob(b"x"), b"f"))
    for _ in range(6):
        tree = origin.tree((TREE, tree, b"d" * 200))
    origin.commit_tree(tree)
    entries, _ = await entries_of(rig, origin)
    assert all("shorten" in entry.problem for entry in entries.values())


async def test_a_pointer_of_lfs(rig, origin):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    origin.commit({"big.bin": pointer, "tale.txt": "about version https://git-lfs.github.com/spec/v1\n"})
    entries, _ = await entries_of(rig, origin)
    assert "LFS" in entries["big.bin"].problem
    assert entries["tale.txt"].problem == ""


async def test_sizes_at_the_bound(rig, origin):
    origin.commit({"most": b"x" * bounds.MAX_BLOB, "over": b"x" * (bounds.MAX_BLOB + 1)})
    entries, source = await entries_of(rig, origin)
    assert entries["most"].problem == ""
    assert len((await source.head.read([entries["most"].blob]))[0]) == bounds.MAX_BLOB
    assert f"{bounds.MAX_BLOB + 1:,} bytes" in entries["over"].problem
    with pytest.raises(ProblemError, match="no file of at most"):
        await source.head.read([entries["over"].blob])


def zeros(origin: Repository, size: int) -> str:
    """A blob of zeros, as a loose object of a thousandth of its size."""
    head = f"blob {size}\0".encode()
    digest, packed = hashlib.sha1(head), zlib.compressobj(1)
    piece = bytes(2**22)
    content = [packed.compress(head)]
    for _ in range(size // len(piece)):
        digest.update(piece)
        content.append(packed.compress(piece))
    content.append(packed.flush())
    found = digest.hexdigest()
    file = origin.path / ".git/objects" / found[:2] / found[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"".join(content))
    return found


@pytest.mark.parametrize(("size", "over_http"), [(2**30, False), (200 * 2**20, True)])
async def test_a_huge_blob_is_refused_and_held_in_nobodys_memory(origin, hosted, tmp_path, size, over_http):
    """Of what git itself would take into memory as a whole (up to 512 MiB), too."""
    blob = zeros(origin, size)
    origin.commit_tree(origin.tree((FILE, origin.blob(b"x"), b"a"), (FILE, blob, b"huge.bin")))
    url = str(origin.path)
    if over_http:
        origin.pushable(hosted.root / "huge.git")
        url = hosted.url_of("huge.git")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.measured_fetch", url, str(tmp_path / "state"),
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    found = json.loads(output)
    assert f"{size:,} bytes; at most 1,048,576 are taken" in found["problems"]["huge.bin"]
    assert found["problems"]["a"] == ""
    assert f"it has {size:,}" in found["refused"]
    assert found["own"] < 64 * 1024
    assert found["git"] < 150 * 1024


async def test_deep_nesting(rig, origin):
    tree = origin.tree((FILE, origin.blob(b"x"), b"f"))
    for _ in range(bounds.MAX_DEPTH):
        tree = origin.tree((TREE, tree, b"d"))
    origin.commit_tree(tree)
    entries, source = await entries_of(rig, origin)
    assert len(entries) == 1
    for _ in range(200):
        tree = origin.tree((TREE, tree, b"d"))
    origin.commit_tree(tree, parent=source.head.commit.id)
    await source.refresh()
    with pytest.raises(ProblemError, match="nested more than"):
        await source.head.entries("")


async def test_a_tree_bomb(rig, origin):
    """Ten of ten of ten...: few objects, 10^10 files."""
    tree = origin.tree(*((FILE, origin.blob(b"x"), f"f{n}".encode()) for n in range(10)))
    for _ in range(9):
        tree = origin.tree(*((TREE, tree, f"d{n}".encode()) for n in range(10)))
    origin.commit_tree(tree)
    source = rig.source(origin.path)
    await source.refresh()
    with pytest.raises(ProblemError, match="more than 20,000 files"):
        await source.head.entries("")
    assert await source.head.tree_id("d0/d1/d2") is not None


async def test_an_executable_and_an_odd_mode(rig, origin):
    run = origin.path / "run.sh"
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    origin.commit({"plain": "x"})
    entries, _ = await entries_of(rig, origin)
    assert entries["run.sh"].executable
    assert not entries["plain"].executable


async def test_hooks_of_the_source_and_of_the_user_do_not_run(rig, origin, tmp_path):
    """Neither what stands in the repository nor what the user's configuration names."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    trace = tmp_path / "ran"
    for name in ("reference-transaction", "post-checkout", "pre-push", "post-update"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {trace}\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {hooks}/post-update\n")
    rig.environ["GIT_CONFIG_GLOBAL"] = str(config)
    origin.commit({"a": "1"})
    source = rig.source(origin.path)
    await source.refresh()
    assert source.head is not None
    assert not trace.exists()
    origin.git("update-ref", "refs/heads/x", "HEAD", environ={"GIT_CONFIG_GLOBAL": str(config)})
    assert trace.exists()  # these hooks would have run


async def test_a_commit_that_cannot_be_decoded(rig, origin):
    tree = origin.tree((FILE, origin.blob(b"x"), b"a"))
    raw = (
        f"tree {tree}\nauthor \xc4da <a@b> 1700000000 +0000\ncommitter Ada <a@b> 1700000000 +0000\n"
        "encoding nonsense-8\n\nBad \xff\xfe subject\n"
    ).encode("latin-1")
    commit = origin.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=raw)
    origin.git("update-ref", "refs/heads/main", commit)
    source = rig.source(origin.path)
    await source.refresh()
    assert source.problem is None, source.problem
    assert source.head.commit.subject.startswith("Bad ")
    assert source.head.commit.author
