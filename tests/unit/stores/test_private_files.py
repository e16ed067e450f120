import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from fairlead.stores import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_and_private(tmp_path: Path):
    files.write(tmp_path / "a", b"one")
    files.write(tmp_path / "a", b"two")
    assert files.read(tmp_path / "a") == b"two"
    assert mode(tmp_path / "a") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_missing_file_is_none(tmp_path: Path):
    assert files.read(tmp_path / "a") is None
    assert files.read(tmp_path / "no" / "folder") is None
    files.remove(tmp_path / "a")


def test_a_readable_file_is_made_private(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0o644)
    assert files.read(tmp_path / "a") == b"x"
    assert mode(tmp_path / "a") == 0o600


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_links_are_not_followed(tmp_path: Path, target: str):
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "a").symlink_to(tmp_path / target)
    with pytest.raises(ProblemError, match="symbolic link"):
        files.read(tmp_path / "a")
    with pytest.raises(ProblemError, match="symbolic link"), files.opened_lock(tmp_path / "a"):
        pass
    files.write(tmp_path / "a", b"new")  # replaces the link, not what it points to
    assert (tmp_path / "there").read_bytes() == b"x"
    assert not (tmp_path / "a").is_symlink()


def test_a_folder_or_a_pipe_is_refused(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(ProblemError, match="not a regular file"):
            files.read(tmp_path / name)


def test_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files.write(tmp_path / "a", b"x")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ProblemError) as caught:
        files.read(tmp_path / "a")
    assert f"belongs to user id {owner}" in caught.value.problem.detail
    assert str(tmp_path / "a") in caught.value.problem.detail


def test_a_folder_that_is_not_there_says_how_to_mend_it(tmp_path: Path):
    with pytest.raises(ProblemError) as caught:
        files.write(tmp_path / "no" / "a", b"x")
    assert "No such file or directory" in caught.value.problem.title
    assert "--state-dir" in caught.value.problem.detail


def test_what_failed_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ProblemError):
        files.write(tmp_path / "a", b"x")  # a folder cannot be replaced by a file
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_once_made_it_stays_whoever_comes(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: files.create_once(tmp_path / "id", b"%d" % n), range(32)))
    assert set(made) == {(tmp_path / "id").read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


def test_a_folder_that_cannot_be_synced_is_a_problem_of_ours(tmp_path: Path, monkeypatch) -> None:
    """The new content stands there already: whoever wrote it must go on, and tell."""
    files.write(tmp_path / "f", b"old")
    sync, folders = os.fsync, []

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            folders.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(ProblemError, match="Input/output error"):
        files.write(tmp_path / "f", b"new")
    with pytest.raises(ProblemError, match="Input/output error"):
        files.create_once(tmp_path / "g", b"new")
    assert len(folders) == 2
    assert (tmp_path / "f").read_bytes() == b"new"
    assert not list(tmp_path.glob(".*"))
