"""The five fields of a crontab."""

from datetime import date, timedelta

import pytest

from fairlead.core.crontab import parse_schedule
from fairlead.model.errors import SpecError


def days(text, year=2026):
    schedule = parse_schedule(text)
    first = date(year, 1, 1)
    return [day for day in (first + timedelta(days=n) for n in range(365)) if schedule.on(day)]


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("0 22 * * *", (0,), (22,)),
        ("*/20 8-10 * * *", (0, 20, 40), (8, 9, 10)),
        ("5,35 1,2 * * *", (5, 35), (1, 2)),
        ("10-40/15 0 * * *", (10, 25, 40), (0,)),
        ("50/4 0-6/3 * * *", (50, 54, 58), (0, 3, 6)),
        ("  7   3 * * *  ", (7,), (3,)),
    ],
)
def test_times(text, minutes, hours):
    schedule = parse_schedule(text)
    assert (schedule.minutes, schedule.hours) == (minutes, hours)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0 0 * * *", lambda day: True),
        ("0 0 13 * *", lambda day: day.day == 13),
        ("0 0 * feb-mar *", lambda day: day.month in (2, 3)),
        ("0 0 * * mon-fri", lambda day: day.weekday() < 5),
        ("0 0 * * 0", lambda day: day.weekday() == 6),
        ("0 0 * * 7", lambda day: day.weekday() == 6),
        ("0 0 * * Fri-Sun", lambda day: day.weekday() >= 4),
        ("0 0 * * sat,sun", lambda day: day.weekday() >= 5),
        ("0 0 13 * fri", lambda day: day.day == 13 or day.weekday() == 4),
        ("0 0 */10 * *", lambda day: day.day in (1, 11, 21, 31)),
        ("0 0 */10 * mon", lambda day: day.day in (1, 11, 21, 31) and day.weekday() == 0),
        ("0 0 1 1,7 *", lambda day: day.day == 1 and day.month in (1, 7)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_days(text, wanted):
    assert days(text) == [
        day for day in (date(2026, 1, 1) + timedelta(days=n) for n in range(365)) if wanted(day)
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *"),
        *("* * * * 8", "x * * * *", "-1 * * * *", "5-1 * * * *", "*/0 * * * *", "1,,2 * * * *", "@daily"),
        *("* * L * *", "* * * foo *", "jan * * * *", "0 0 30 2 *", "0 0 31 4,6 *", "\u0661 * * * *"),
        *("1/99999 * * * *", "0 " * 200),
    ],
    ids=lambda text: text[:16],
)
def test_what_is_no_schedule_is_refused_with_a_hint(text):
    with pytest.raises(SpecError) as refused:
        parse_schedule(text)
    assert "fields" in refused.value.hint
