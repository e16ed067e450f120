"""Who is told of what, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.notices import MOST_HELD, MOST_REMEMBERED, Desk, Notice, notice_of, wants, words
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Channel, QuietHours, Severity

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(start="22:00", end="07:00", timezone="Europe/Berlin")


def drift(severity: str = "high", **data: Any) -> Notice:
    facts = {"application": "tools", "object": "fleet", "key": "servers.a.args", "severity": severity}
    return notice_of("drift-detected", "tools", facts | {"state": "open"} | data)


def ended(state: str = "succeeded", commit: str = "a" * 40) -> Notice:
    data = {"application": "tools", "commit": commit, "state": state, "message": "well done"}
    return notice_of("deployment-completed", "tools", data)


def channel(**members: Any) -> Channel:
    return Channel(url="json://localhost", **members)


def at(day: int, hour: int, minute: int = 0, *, month: int = 11) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN).timestamp()


def test_an_event_in_words():
    assert drift(by="ada").summary == "tools: fleet#servers.a.args is not as Git says (high, open, by ada)"
    assert drift(message="was stopped").summary == "tools: fleet#servers.a.args was stopped (high, open)"
    assert ended("rolled-back").summary == "tools: deployment-completed aaaaaaaaaaaa: rolled-back: well done"
    there = notice_of("deployment-started", "tools", {"environment": "production"})
    assert there.summary == "tools in production: deployment-started"
    bare = notice_of("sync-started", "tools", {})
    assert (bare.summary, bare.application, bare.severity) == ("tools: sync-started", "tools", None)
    assert notice_of("drift-detected", "x", {"severity": "odd"}).severity is None


def test_a_template_knows_four_names_and_nothing_else():
    template = "{application}: {type} {subject} {{summary}} {severity} {type.__class__} {0}"
    assert words(template, drift()) == (
        "tools: drift-detected tools {" + drift().summary + "} {severity} {type.__class__} {0}"
    )


@pytest.mark.parametrize(
    ("members", "notice", "wanted"),
    [
        ({}, drift("high"), True),
        ({}, drift("critical"), True),
        ({}, drift("medium"), False),
        ({}, drift("low", state="conflict"), True),
        ({"severity": "low"}, drift("low"), True),
        ({}, ended(), True),
        ({}, notice_of("sync-started", "tools", {}), False),
        ({"events": ("sync-started",)}, notice_of("sync-started", "tools", {}), True),
        ({"events": ("sync-started",)}, ended(), False),
    ],
    ids=["high", "critical", "medium", "conflict", "low wanted", "ended", "started", "chosen", "not chosen"],
)
def test_what_a_channel_wants(members: dict[str, Any], notice: Notice, wanted: bool):
    assert wants(channel(**members), notice) is wanted
    assert (Desk(channel(**members)).take(notice, 0.0) is not None) is wanted


def test_the_same_is_told_again_only_after_a_while():
    desk = Desk(channel(repeat=100.0))
    assert desk.take(drift(), 0.0) == drift().summary
    assert desk.take(drift(), 99.0) is None
    assert desk.take(drift(key="servers.b"), 99.0) is not None
    assert desk.take(drift(state="conflict"), 99.0) is not None
    assert desk.take(drift(), 100.0) is not None, "from when it was told, not from when it was kept back"
    assert desk.take(ended(), 101.0) is not None
    assert desk.take(ended(), 102.0) is None
    assert desk.take(ended("failed"), 103.0) is not None
    assert desk.take(ended(commit="b" * 40), 104.0) is not None


def test_what_was_told_is_not_remembered_without_end():
    desk = Desk(channel())
    for number in range(MOST_REMEMBERED + 10):
        desk.take(drift(key=f"k{number}"), 0.0)
    assert repr(desk) == f"Desk(told={MOST_REMEMBERED}, held=0)"
    assert desk.take(drift(key="k0"), 1.0) is not None, "the oldest is forgotten first"
    assert desk.take(drift(key=f"k{MOST_REMEMBERED}"), 1.0) is None


def test_quiet_hours_keep_back_what_is_not_critical_and_tell_it_in_one():
    desk = Desk(channel(quiet=NIGHT))
    assert desk.take(drift(key="a"), at(20, 21, 59)) is not None
    assert desk.take(drift(key="b"), at(20, 22)) is None
    assert desk.take(drift("critical", key="c"), at(21, 3)) is not None
    assert desk.take(drift(key="d"), at(21, 6, 59)) is None
    assert desk.wakes_at == at(21, 7)
    assert desk.due(at(21, 6, 59)) is None
    assert desk.due(at(21, 7)) == f"{drift(key='b').summary}\n{drift(key='d').summary}"
    assert (desk.due(at(21, 8)), desk.wakes_at) == (None, None)
    assert desk.take(drift(key="e"), at(21, 7)) is not None


def test_a_loud_night_is_told_in_a_bounded_message():
    desk = Desk(channel(quiet=NIGHT))
    for number in range(MOST_HELD + 7):
        assert desk.take(drift(key=f"k{number}"), at(20, 23)) is None
    told = desk.due(at(21, 7)) or ""
    assert len(told.splitlines()) == MOST_HELD + 1
    assert told.endswith("\nand 7 more")


def test_quiet_hours_within_a_day_and_on_the_day_the_clocks_change():
    lunch = Desk(channel(quiet=QuietHours(start="12:00", end="13:00", timezone="Europe/Berlin")))
    assert lunch.take(drift(key="a"), at(20, 11, 59)) is not None
    assert lunch.take(drift(key="b"), at(20, 12)) is None
    assert lunch.take(drift(key="c"), at(20, 13)) is not None
    night = Desk(channel(quiet=NIGHT))
    night.take(drift(), at(24, 23, month=10))  # the clocks go back at three
    assert night.wakes_at == at(25, 7, month=10) == at(24, 23, month=10) + 9 * 3600


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"start": "24:00", "end": "07:00"}, "'24:00' is no time of day"),
        ({"start": "7", "end": "07:00"}, "'7' is no time of day"),
        ({"start": "07:00", "end": "07:00"}, "are none"),
        ({"start": "07:00", "end": "08:00", "timezone": "Mars/Base"}, "no time zone"),
        ({"start": "07:00", "end": "08:00", "timezone": "../../etc/passwd"}, "no time zone"),
        ({"start": "07:00", "end": "08:00", "timezone": "Europe"}, "no time zone"),
    ],
    ids=["hour", "form", "empty", "zone", "path", "folder"],
)
def test_quiet_hours_that_cannot_be(members: dict[str, Any], told: str):
    with pytest.raises(SpecError, match=told) as wrong:
        Desk(channel(quiet=QuietHours(**members)))
    assert wrong.value.hint


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_event_makes_a_notice(subject: str, data: dict[str, Any]):
    for event_type in ("drift-detected", "deployment-completed", "other"):
        notice = notice_of(event_type, subject, data)
        assert notice.type == event_type
        words("{type} {summary}", notice)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Severity)), st.floats(0, 90_000))))
def test_everything_wanted_is_told_once_sooner_or_later(happened: list[tuple[str, Severity, float]]):
    desk = Desk(channel(quiet=NIGHT, severity=Severity.LOW, repeat=1e8))
    said: list[str] = []
    start = at(20, 9)
    for key, severity, later in sorted(happened, key=lambda each: each[2]):
        told = [desk.due(start + later), desk.take(drift(severity.value, key=key), start + later)]
        said += [line for text in told if text for line in text.splitlines()]
    last = desk.due(at(23, 12))
    said += last.splitlines() if last else []
    keys = [line.split()[1] for line in said]
    assert sorted(keys) == sorted({f"fleet#{key}" for key, _, _ in happened})
