from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from fairlead.gitops import folder as folder_module
from fairlead.gitops.folder import FolderSnapshot
from fairlead.model.errors import ProblemError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text("ref: x")
    (tmp_path / "a/one.txt").write_text("one")
    (tmp_path / "a/b/two.sh").write_text("two")
    (tmp_path / "a/b/two.sh").chmod(0o755)
    (tmp_path / "ab").write_text("three")
    return tmp_path


async def test_a_folder_is_read_as_a_commit_would_be(root: Path) -> None:
    snapshot = FolderSnapshot(root)
    assert [(entry.path, entry.executable) for entry in await snapshot.entries("")] == [
        ("a/b/two.sh", True),
        ("a/one.txt", False),
        ("ab", False),
    ]
    entries = await snapshot.entries("a")
    assert [entry.path for entry in entries] == ["a/b/two.sh", "a/one.txt"]
    assert await snapshot.read([entry.blob for entry in entries]) == [b"two", b"one"]
    assert await snapshot.entries("nowhere") == []
    assert snapshot.commit.id == "0" * 40
    assert str(root) in repr(snapshot)


def test_blobs_are_named_as_git_names_them(root: Path) -> None:
    named = subprocess.run(["git", "hash-object", root / "ab"], capture_output=True, text=True, check=True)
    assert asyncio.run(FolderSnapshot(root).tree_id("ab")) == named.stdout.strip()


async def test_trees_are_named_by_what_is_in_them(root: Path) -> None:
    before = FolderSnapshot(root)
    names = {place: await before.tree_id(place) for place in ("", ".", "a", "a/b", "ab", "no")}
    assert names["no"] is None
    assert names[""] == names["."]
    (root / "a/one.txt").write_text("1")
    after = FolderSnapshot(root)
    changed = {place for place, name in names.items() if await after.tree_id(place) != name}
    assert changed == {"", ".", "a"}
    (root / "a/b/two.sh").chmod(0o644)
    assert await FolderSnapshot(root).tree_id("a/b") != names["a/b"]


async def test_what_a_target_would_not_take_is_refused(root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder-link").symlink_to(root / "a")
    os.mkfifo(root / "pipe")
    (root / "large").write_bytes(b"x" * (2**20 + 1))
    problems = {
        entry.path: entry.problem for entry in await FolderSnapshot(root).entries("") if entry.problem
    }
    assert problems == {
        "folder-link": "it is a symbolic link; put the file itself in its place",
        "large": "it has 1,048,577 bytes; at most 1,048,576 are taken",
        "link": "it is a symbolic link; put the file itself in its place",
        "pipe": "it is neither a file nor a folder; remove it",
    }


async def test_too_many_and_too_deep_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_ENTRIES", 2)
    with pytest.raises(ProblemError, match="more than 2 files"):
        await FolderSnapshot(root).entries("")
    monkeypatch.setattr(folder_module, "MAX_ENTRIES", 100)
    monkeypatch.setattr(folder_module, "MAX_DEPTH", 1)
    with pytest.raises(ProblemError, match="nested more than 1 folders deep"):
        await FolderSnapshot(root).entries("")


async def test_what_a_commit_would_be_refused_for_is_refused_before(root: Path) -> None:
    (root / "vendor/.git").mkdir(parents=True)
    (root / "vendor/x").write_text("x")
    (root / "big.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (root / "line\nbreak").write_text("x")
    (root / "GIT~1").mkdir()
    (root / "GIT~1/config").write_text("x")
    (root / os.fsdecode(b"bad\xff")).write_text("x")
    problems = {
        entry.path: entry.problem for entry in await FolderSnapshot(root).entries("") if entry.problem
    }
    assert {path: problem.split(";")[0] for path, problem in problems.items()} == {
        "vendor": "it is a submodule",
        "big.bin": "it is a pointer of Git LFS, and its content is elsewhere",
        "line\nbreak": "its name has a backslash or a control character",
        "GIT~1": "nothing may be called 'GIT~1': it would lead out of its folder, or into Git's own",
        "bad\\xff": "its name is not UTF-8",
    }
