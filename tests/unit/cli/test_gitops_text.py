"""How reports of the GitOps controller are said."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli import gitops_text as text
from unit.cli.gitops_examples import NEW, OLD, application, conditions, drift


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.234, "0.2 s"), (9.96, "10 s"), (75, "1 min"), (7300, "2 h"), (5 * 86400, "5 d")],
)
def test_a_duration(seconds: float, said: str):
    assert text.span(seconds) == said


@pytest.mark.parametrize(
    ("at", "said"),
    [(999_999.5, "just now"), (999_940, "1 min ago"), (1_000_100, "just now"), (0, "1970-01-01 00:00:00Z")],
)
def test_a_moment_before_now(at: float, said: str):
    assert text.ago(at, 1_000_000) == said


def test_a_moment_to_come():
    assert text.until(7200, 0) == "for 2 h more, until 1970-01-01 02:00:00Z"
    assert text.until(7200, 7200) == "until 1970-01-01 02:00:00Z"


@pytest.mark.parametrize(
    ("ready", "stalled", "colour"), [(True, False, "green"), (False, False, "yellow"), (False, True, "red")]
)
def test_the_colour_of_a_state(ready: bool, stalled: bool, colour: str):
    given = application(conditions=conditions("Some", ready=ready, stalled=stalled))
    assert text.state_of(given) == click.style("Some", fg=colour)


def test_an_application_that_was_not_looked_at():
    given = application(conditions=[])
    assert click.unstyle(text.state_of(given)) == "not looked at yet"
    assert not text.is_ready(given)
    assert text.message_of(given) == ""


def test_the_commits_of_an_application():
    assert text.commit_of(application()) == NEW[:12]
    assert text.commit_of(application(applied=OLD)) == f"{OLD[:12]} -> {NEW[:12]}"
    assert text.commit_of(application(applied=None)) == f"- -> {NEW[:12]}"
    assert text.commit_of(application(applied=None, commit=None)) == "-"


def test_what_differs_in_a_value_is_coloured():
    live, git = text.versions(drift())
    assert click.unstyle(live) == '    live    ["/"]'
    assert live == '    live    ["/"]'  # Git has all of it
    assert click.style("notes", fg="green") in git


def test_a_third_version_is_shown():
    shown = [click.unstyle(line) for line in text.versions(drift(desired=None, base="1", live="2"))]
    assert shown == ["    before  1", "    live    2", "    Git     (nothing)"]


def test_a_value_cannot_steer_the_terminal():
    assert "\x1b[2J" not in "".join(text.versions(drift(live="a\x1b[2Jb", base="\x1b[2J", desired=None)))
    assert list(text.unified("-a\x1b[2J")) == [click.style("-a", fg="red")]


def test_the_lines_of_a_difference():
    given = ["--- a", "+++ b", "@@ -1 +1 @@", " x", "-y", "+z"]
    lines = list(text.unified("\n".join(given)))
    colours = ["bold", "bold", "cyan", "", "red", "green"]
    assert lines == [
        click.style(line, bold=True) if how == "bold" else click.style(line, fg=how) if how else line
        for line, how in zip(given, colours, strict=True)
    ]


@given(st.text(max_size=80), st.text(max_size=80))
def test_colours_change_no_value(live: str, desired: str):
    shown = [click.unstyle(line) for line in text.versions(drift(base=live, live=live, desired=desired))]
    wanted = [text.plain(live), text.plain(desired)]
    assert [line[12:] for line in shown] == wanted
