"""What `fairlead lock --update` shows."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.tool_changes import CONTEXT, ToolReport, _shortened, report_of

LONG = "x" * 100


def tool(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, **parts}


def shown(report: ToolReport) -> list[str]:
    return [click.unstyle(line) for line in report.lines()]


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The lines on one tool that has changed."""
    report = report_of({"s": {"a": tool("a", **before)}}, {"s": {"a": tool("a", **after)}}, {})
    assert shown(report)[0] == "s  1 tool"
    return shown(report)[1:]


def test_servers_that_are_new_as_locked_unread_or_gone() -> None:
    one = {"a": tool("a")}
    locked = {"same": one, "away": one, "removed": one, "off": {}}
    live = {"same": one, "first": {**one, "b": tool("b")}}
    report = report_of(locked, live, {"away": "needs KEY\x1b[2J", "off": "disabled", "never": "is down"})
    assert shown(report) == [
        "same  1 tool, as locked",
        "first  2 tools, locked for the first time",
        "away  1 tool locked as before, since it was not looked at: needs KEY\\u001b[2J",
        "off  nothing locked, since it was not looked at: disabled",
        "never  nothing locked, since it was not looked at: is down",
        "removed  taken out, since the fleet file has no such server",
    ]
    assert report.locked == {"same": one, "first": live["first"], "away": one, "off": {}}


def test_short_values_stand_beside_each_other() -> None:
    before = {"inputSchema": {"required": []}, "annotations": {"readOnlyHint": True}, "description": "a"}
    after = {"inputSchema": {"required": ["q"]}, "annotations": {"readOnlyHint": False}}
    assert difference(before, after) == [
        "  changed a  breaking",
        "    annotations.readOnlyHint  review  changed: true → false",
        "    description  review  removed: a",
        "    inputSchema.required  breaking  'q' is required now: [] → [\"q\"]",
    ]


def test_of_long_texts_the_lines_that_differ_are_shown_around_the_difference() -> None:
    before = f"first line\n{LONG} reads files {LONG}\nlast line"
    after = f"first line\n{LONG} reads files and sends them on {LONG}\nlast line"
    context = CONTEXT - len(" reads files")
    assert difference({"description": before}, {"description": after}) == [
        "  changed a  review",
        "    description  review  changed",
        f"      - …{'x' * (context - 1)} reads files {'x' * CONTEXT}…",
        f"      + …{'x' * (context - 1)} reads files and sends them on {'x' * CONTEXT}…",
    ]


def test_what_hides_is_shown() -> None:
    hidden = LONG + "\U000e0041\u200b"
    assert (
        difference({"description": LONG}, {"description": hidden})[-1]
        == f"      + …{'x' * 30}\\udb40\\udc41\\u200b"
    )


def test_line_ends_that_differ_are_shown() -> None:
    lines = difference({"description": f"{LONG}\n{LONG}"}, {"description": f"{LONG}\r\n{LONG}"})
    assert lines[-2:] == [f"      - {LONG}\\u000a{LONG}", f"      + {LONG}\\u000d\\u000a{LONG}"]


def test_a_new_tool_is_shown_whole_and_a_missing_one_by_name() -> None:
    new = tool("b", description="does\nthis", inputSchema={"type": "object"})
    report = report_of({"s": {"a": tool("a")}}, {"s": {"b": new}}, {})
    assert shown(report)[1:] == [
        "  missing a  breaking",
        "  new b  review",
        "    description",
        "      + does",
        "      + this",
        "    inputSchema",
        '      + {"type": "object"}',
    ]


def test_impacts_have_their_colours() -> None:
    report = report_of({"s": {"a": tool("a")}}, {"s": {}}, {})
    assert click.style("breaking", fg="red") in list(report.lines())[1]


def test_programs_get_the_same_as_json() -> None:
    locked = {"s": {"a": tool("a", description="x")}, "removed": {}}
    live = {"s": {"a": tool("a", description="y"), "b": tool("b")}, "t": {}}
    document = json.loads(json.dumps(report_of(locked, live, {"u": "disabled"}).document()))
    assert document == {
        "servers": {
            "s": {
                "tools": 2,
                "first": False,
                "changes": [
                    {
                        "tool": "a",
                        "change": "changed",
                        "impact": "review",
                        "differences": [
                            {
                                "part": "description",
                                "impact": "review",
                                "what": "changed",
                                "before": "x",
                                "after": "y",
                            }
                        ],
                    },
                    {"tool": "b", "change": "new", "impact": "review", "differences": []},
                ],
            },
            "t": {"tools": 0, "first": True, "changes": []},
        },
        "unread": {"u": "disabled"},
        "removed": ["removed"],
    }


@pytest.mark.parametrize("middle", [("a", ""), ("a", "b"), ("x", "xx")])
def test_what_differs_little_is_told_in_short(middle: tuple[str, str]) -> None:
    short = _shortened(*(LONG + each + LONG for each in middle))
    assert max(map(len, short)) <= 2 * CONTEXT + 4


@given(
    st.text("ab", max_size=90),
    st.text("abc", max_size=9),
    st.text("abc", max_size=9),
    st.text("ab", max_size=90),
)
def test_lines_that_differ_go_on_to_differ(begin: str, one: str, other: str, end: str) -> None:
    before, after = begin + one + end, begin + other + end
    short = _shortened(before, after)
    assert (short[0] == short[1]) == (before == after)
    for text, whole in zip(short, (before, after), strict=True):
        assert text.strip("…") in whole
