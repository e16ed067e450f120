"""Tables fit the terminal, and cut nothing that somebody may want to copy."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.table import Row, cell_width, facts, table, wrapped

LONG = "72007b3f2b91 is not applied: bad is failed: bad-2 exited with code 1, and so on and on"


def test_a_short_note_is_beside_its_row():
    rows = [Row(("fleet", "Synced"), "fine"), Row(("files", "Drifted"))]
    assert table(("NAME", "STATE"), rows, width=80) == [
        "NAME   STATE",
        "fleet  Synced   fine",
        "files  Drifted",
    ]


def test_a_long_note_is_wrapped_beside_its_row():
    assert table(("NAME", "STATE"), [Row(("fleet", "Synced"), LONG)], width=60) == [
        "NAME   STATE",
        "fleet  Synced  72007b3f2b91 is not applied: bad is failed:",
        "               bad-2 exited with code 1, and so on and on",
    ]


def test_without_room_it_is_below():
    assert table(("NAME", "STATE"), [Row(("fleet" * 5, "Synced"), LONG)], width=50) == [
        "NAME                       STATE",
        "fleetfleetfleetfleetfleet  Synced",
        "    72007b3f2b91 is not applied: bad is failed:",
        "    bad-2 exited with code 1, and so on and on",
    ]


def test_without_a_width_it_is_one_line():
    assert table(("NAME",), [Row(("fleet",), LONG)], width=0)[1] == f"fleet  {LONG}"


def test_an_empty_column_is_left_out():
    assert table(("A", "B", "C"), [Row(("1", "", "3"))], width=80) == ["A  C", "1  3"]


def test_wide_and_coloured_cells_are_measured_as_they_look():
    rows = [Row((click.style("김하늘", fg="red"), "x")), Row(("ada", "y"))]
    plain = [click.unstyle(line) for line in table(("BY", "IT"), rows, width=80)]
    assert plain == ["BY      IT", "김하늘  x", "ada     y"]


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("하늘", 4), ("e\u0301", 1), ("\x1b[31mx\x1b[0m", 1)]
)
def test_the_width_of_a_cell(text: str, width: int):
    assert cell_width(text) == width


def test_facts():
    rows = [("state", "Synced"), ("", "why it is so and not otherwise"), ("nothing", "")]
    assert facts(rows, width=24) == [
        "  state  Synced",
        "         why it is so",
        "         and not",
        "         otherwise",
    ]


@given(st.text(alphabet="ab 하\n", max_size=60), st.integers(0, 30), st.integers(0, 4))
def test_wrapping_loses_no_word(text: str, width: int, indent: int):
    lines = wrapped(text, width, indent=indent)
    assert " ".join(lines).split() == text.split()
    assert all(cell_width(line) <= width for line in lines if width and " " in line.strip())
