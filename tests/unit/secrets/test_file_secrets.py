from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fairlead.secrets.files import LARGEST, FileSecrets


def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    told: list[str] = []
    secrets = FileSecrets(on_read=told.append)
    for content, value in ((b"key", "key"), (b"key\n", "key"), (b"key\r\n", "key"), (b"a\nb\n\n", "a\nb\n")):
        path = tmp_path / "secret"
        path.write_bytes(content)
        assert secrets.get(str(path)) == value
    assert told == ["key", "key", "key", "a\nb\n"]


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    secrets = FileSecrets()
    assert secrets.get(str(path)) == "old"
    path.write_text("new")
    assert secrets.get(str(path)) == "new"
    path.unlink()
    assert secrets.get(str(path)) is None


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (make_folder, "not a plain file"),
        (make_pipe, "not a plain file"),
        (lambda path: path.write_bytes(b"canary" * LARGEST), "more than"),
        (lambda path: path.write_bytes(b"canary\xff"), "not UTF-8"),
        (lambda path: path.write_bytes(b"canary\0"), "NUL"),
    ],
)
def test_what_is_no_secret_is_none_and_the_log_says_why(tmp_path: Path, make, why: str) -> None:
    path = tmp_path / "secret"
    make(path)
    with capture_logs() as logs:
        assert FileSecrets().get(str(path)) is None
    assert [(line["file"], why in line["why"]) for line in logs] == [(str(path), True)]
    assert "canary" not in str(logs)


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    assert FileSecrets().get(str(tmp_path / "secret")) is None
