from pathlib import Path

import pytest

from fairlead.cli.tail import Follower, rotated_lines


def add(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "x.log"


def test_lines_come_whole_and_once(log: Path):
    add(log, "one\ntw")
    with Follower(log) as follower:
        assert follower.new_lines() == ["one"]
        assert follower.new_lines() == []
        assert follower.unfinished() == ["tw"]
        add(log, "o\nthree\r\n")
        assert follower.new_lines() == ["two", "three"]
        assert follower.unfinished() == []


def test_it_can_start_later_in_the_file(log: Path):
    add(log, "old\n")
    with Follower(log, position=4) as follower:
        add(log, "new\n")
        assert follower.new_lines() == ["new"]


def test_a_file_that_comes_later_is_found(log: Path):
    with Follower(log) as follower:
        assert follower.new_lines() == []
        add(log, "one\n")
        assert follower.new_lines() == ["one"]


def test_a_rotated_file_is_read_to_its_end_first(log: Path):
    add(log, "one\n")
    with Follower(log) as follower:
        follower.new_lines()
        add(log, "two\nthr")
        log.rename(log.with_name("x.log.1"))
        assert follower.new_lines() == ["two"]  # the new file is not there yet
        add(log.with_name("x.log.1"), "ee\n")
        add(log, "four\n")
        assert follower.new_lines() == ["three", "four"]
        add(log, "five\n")
        assert follower.new_lines() == ["five"]


def test_a_file_that_was_cut_back_is_read_from_its_start(log: Path):
    add(log, "a long first line\n")
    with Follower(log) as follower:
        follower.new_lines()
        log.write_text("new\n")
        assert follower.new_lines() == ["new"]


def test_bytes_that_are_no_text_do_not_stop_it(log: Path):
    log.write_bytes(b"a\xffb\n\xed\x95")
    with Follower(log) as follower:
        assert follower.new_lines() == ["a�b"]
        with log.open("ab") as file:
            file.write(b"\x9c\n")  # the rest of a letter
        assert follower.new_lines() == ["한"]


def test_a_line_without_end_is_shown_in_pieces(log: Path):
    log.write_bytes(b"x" * (2**20 + 1))
    with Follower(log) as follower:
        assert [len(line) for line in follower.new_lines()] == [2**20 + 1]
        assert follower.unfinished() == []


def test_the_rotated_sibling_gives_its_lines(log: Path):
    assert rotated_lines(log) == []
    add(log.with_name("x.log.1"), "a\nb\r\nc")
    assert rotated_lines(log) == ["a", "b", "c"]
