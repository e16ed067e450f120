"""Paths that stay inside of a folder, and what is refused there."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.model.errors import ProblemError
from fairlead.ports.gitops import ChangedMeanwhileError, TargetAwayError
from fairlead.targets import file_tree
from fairlead.targets.file_tree import RefusedError, Tree, parts_of, told

HOSTILE = [
    ("/etc/passwd", "absolute"),
    ("../up", r"'\.\.'"),
    ("a/../../up", r"'\.\.'"),
    ("a/./b", r"'\.'"),
    ("a//b", "''"),
    ("", "''"),
    ("a/", "''"),
    (".git/config", "Git's own"),
    ("a/.GIT/hooks/x", "Git's own"),
    ("a/.git", "Git's own"),
    (".git./config", "Git's own"),
    (".git  /config", "Git's own"),
    ("GIT~1/config", "Git's own"),
    (".git::$INDEX_ALLOCATION/config", "Git's own"),
    (".git\\config", "Git's own"),
    (".g\u200cit/config", "Git's own"),
    ("\ufeff.git/config", "Git's own"),
    ("a\0b", "NUL"),
    ("x" * 4097, "4,096"),
    ("/".join(["d"] * 65), "65 folders deep"),
    ("a/.fairlead-0123456789abcdef.tmp", "while it writes"),
    ("\ud800", "no text"),
]


@pytest.mark.parametrize(("path", "why"), HOSTILE)
def test_a_path_that_could_lead_elsewhere_is_refused_with_the_reason(path: str, why: str):
    with pytest.raises(RefusedError, match=why):
        parts_of(path)


@pytest.mark.parametrize(
    "path",
    [
        ".gitignore",
        ".github/x.yml",
        ".claude/settings.json",
        "a.git",
        "git",
        "..x",
        "a b",
        "digit~1",
        "ä\udce4",
    ],
)
def test_other_names_are_good(path: str):
    assert parts_of(path) == tuple(path.split("/"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe", "socket", "hard link", "large"])
def test_what_is_no_plain_file_of_ours_is_refused(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    other = root.parent / "other"
    other.write_text("theirs")
    place = root / "sub" / "x"
    why = ""
    match kind:
        case "link":
            place.symlink_to(other)
            why = "symbolic link"
        case "dangling":
            place.symlink_to(root / "nowhere")
            why = "symbolic link"
        case "folder":
            place.mkdir()
            why = "it is a folder"
        case "pipe":
            os.mkfifo(place)
            why = "a pipe"
        case "socket":
            monkeypatch.chdir(place.parent)  # a socket's path is short
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind("x")
            why = "a socket"
        case "hard link":
            place.hardlink_to(other)
            why = "2 names"
        case "large":
            with place.open("wb") as file:
                file.truncate(file_tree.LARGEST + 1)
            why = "more than 8,388,608"
    with Tree(root) as tree, pytest.raises(RefusedError, match=why):
        tree.read(("sub", "x"))
    assert other.read_text() == "theirs"


@pytest.mark.parametrize(
    ("kind", "why"), [("link", "a symbolic link"), ("file", "no folder"), ("pipe", "no")]
)
def test_a_step_that_is_no_folder_is_refused(root: Path, kind: str, why: str):
    step = root / "sub" / "step"
    if kind == "link":
        (root.parent / "outside").mkdir()
        (root.parent / "outside" / "x").write_text("theirs")
        step.symlink_to(root.parent / "outside")
    elif kind == "file":
        step.write_text("a file")
    else:
        os.mkfifo(step)
    with Tree(root) as tree:
        with pytest.raises(RefusedError, match=why):
            tree.read(("sub", "step", "x"))
        with pytest.raises(RefusedError, match=why):
            tree.folder(("sub", "step", "x"), make=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_refused(root: Path):
    (root / "x").write_text("theirs")
    os.chown(root / "x", 4711, -1)
    os.chown(root / "sub", 4711, -1)
    with Tree(root) as tree:
        with pytest.raises(RefusedError, match="the user 4711"):
            tree.read(("x",))
        with pytest.raises(RefusedError, match="'sub' above it belongs to the user 4711"):
            tree.read(("sub", "x"))
    os.chown(root, 4711, -1)
    with pytest.raises(ProblemError, match="belongs to the user 4711"):
        Tree(root)


def test_a_root_that_is_not_there_may_come(root: Path):
    with pytest.raises(TargetAwayError, match="make it, or mend"):
        Tree(root / "missing")
    (root / "file").touch()
    with pytest.raises(TargetAwayError, match="no folder"):
        Tree(root / "file")


def test_a_root_that_everybody_can_write_to_is_refused(root: Path):
    root.chmod(0o777)
    with pytest.raises(ProblemError, match="every user"):
        Tree(root)


def test_no_descriptor_stays_open(root: Path):
    before = len(list(Path("/dev/fd").iterdir()))
    with Tree(root) as tree:
        for parts in [("a", "b", "c", "d"), ("a", "b"), ("e",), (), ("a", "b", "c")]:
            assert tree.folder(parts, make=True) is not None
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert (root / "a/b/c/d").is_dir()


STEPS = st.sampled_from(
    ["..", ".", "", "a", "b", "link", "up", "/", ".git", ".GIT.", "~", "a\0", "etc", "file", "\\..", "ä"]
)


@given(st.lists(st.lists(STEPS, min_size=1, max_size=6).map("/".join), min_size=1, max_size=8))
def test_no_path_leads_out_of_the_root(paths: list[str]):
    with tempfile.TemporaryDirectory() as above:
        root = Path(above) / "root"
        (root / "a" / "b").mkdir(parents=True)
        outside = Path(above) / "outside"
        outside.mkdir()
        (outside / "secret").write_text("theirs")
        (root / "link").symlink_to(outside)
        (root / "a" / "up").symlink_to("../..")
        (root / "file").write_text("x")
        outsides = [Path(above), outside]
        before = [(sorted(each.iterdir()), each.stat().st_mtime_ns) for each in outsides]
        with Tree(root) as tree:
            for path in paths:
                try:
                    parts = parts_of(path)
                    folder = tree.folder(parts[:-1], make=True)
                    assert folder is not None
                    real = Path(f"/proc/self/fd/{folder}").readlink()
                    assert real == root.resolve().joinpath(*parts[:-1])
                    tree.read(parts)
                except RefusedError:
                    continue
        assert [(sorted(each.iterdir()), each.stat().st_mtime_ns) for each in outsides] == before


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, TargetAwayError, "make room"),
        (errno.EDQUOT, TargetAwayError, "quota"),
        (errno.EIO, TargetAwayError, "the disk"),
        (errno.EROFS, TargetAwayError, "mount"),
        (errno.EMFILE, TargetAwayError, "open files"),
        (errno.EACCES, ProblemError, "let the user"),
        (errno.EPERM, ProblemError, "let the user"),
        (errno.ENAMETOOLONG, ProblemError, "shorter name"),
        (errno.ENOENT, ChangedMeanwhileError, "gone meanwhile"),
    ],
)
def test_a_failure_tells_what_to_do(number: int, kind: type[Exception], remedy: str):
    trouble = told(OSError(number, os.strerror(number)), Path("/a/b"))
    assert isinstance(trouble, kind)
    assert "/a/b: " in str(trouble)
    assert remedy in str(trouble)
