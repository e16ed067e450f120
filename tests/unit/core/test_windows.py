"""When changes may be applied."""

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from fairlead.core.windows import check, is_open
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Window

HOUR = 3600.0


def window(schedule, hours=1.0, *, kind="allow", timezone="UTC"):
    return Window(kind=kind, schedule=schedule, duration=hours * HOUR, timezone=timezone)


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def looked(windows, text, zone="UTC"):
    opened, change = is_open(windows, at(text, zone))
    return opened, None if change is None else datetime.fromtimestamp(change, ZoneInfo(zone)).isoformat(" ")[
        :16
    ]


def test_without_windows_it_is_always_open():
    assert is_open([], 0.0) == (True, None)


NIGHT = window("0 22 * * mon-fri", 8)


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ("2026-11-23 21:59:59", (False, "2026-11-23 22:00")),
        ("2026-11-23 22:00", (True, "2026-11-24 06:00")),
        ("2026-11-24 05:59:59", (True, "2026-11-24 06:00")),
        ("2026-11-24 06:00", (False, "2026-11-24 22:00")),
        ("2026-11-28 03:00", (True, "2026-11-28 06:00")),
        ("2026-11-28 06:00", (False, "2026-11-30 22:00")),
    ],
)
def test_a_window_opens_and_closes(now, found):
    assert looked([NIGHT], now) == found


def test_a_denial_wins_and_without_an_allowance_all_other_times_are_open():
    freeze = window("0 0 24 12 *", 48, kind="deny")
    assert looked([freeze], "2026-12-01 12:00") == (True, "2026-12-24 00:00")
    assert looked([freeze], "2026-12-25 12:00") == (False, "2026-12-26 00:00")
    assert looked([NIGHT, freeze], "2026-12-24 23:00") == (False, "2026-12-26 00:00"), (
        "inside of Friday's night"
    )
    assert looked([NIGHT, freeze], "2026-12-23 23:00") == (True, "2026-12-24 00:00")


def test_windows_that_overlap_or_meet_are_one():
    assert looked([window("0 1 * * *", 2), window("0 3 * * *", 1)], "2026-11-23 01:30") == (
        True,
        "2026-11-23 04:00",
    )
    assert looked([window("0 1-4 * * *", 1.5)], "2026-11-23 01:10") == (True, "2026-11-23 05:30")
    assert looked([window("0 1 * * *", 1), window("0 1 * * *", 2)], "2026-11-23 01:10") == (
        True,
        "2026-11-23 03:00",
    )


def test_one_that_never_closes_gives_a_time_to_look_again_and_is_found_quickly():
    start = time.process_time()
    for every, hours in (("* * * * *", 1), ("* * * * *", 1 / 60), ("0 0 * * *", 24), ("0 0 1 * *", 31 * 24)):
        now = at("2026-11-23 00:10")
        opened, again = is_open([window(every, hours)], now)
        assert opened
        assert again is None or again > now
    assert time.process_time() - start < 15.0


def test_a_leap_day_comes_and_another_day_in_february_is_refused():
    assert looked([window("0 0 29 2 *")], "2097-01-01 00:00") == (False, "2104-02-29 00:00")
    weekend = window("0 0 29 2 */6")  # a Saturday or Sunday: 2032, then 2048
    assert looked([weekend], "2031-01-01 00:00") == (False, "2032-02-29 00:00")
    assert looked([weekend], "2033-01-01 00:00") == (False, None)
    with pytest.raises(SpecError, match="never comes"):
        check(window("0 0 30 2 *"))


BERLIN = "Europe/Berlin"


def test_a_window_is_at_the_walls_time_in_summer_and_winter():
    early = [window("0 6 * * *", timezone=BERLIN)]
    assert is_open(early, datetime(2026, 7, 1, 4, 0, tzinfo=UTC).timestamp())[0]
    assert is_open(early, datetime(2026, 12, 1, 5, 0, tzinfo=UTC).timestamp())[0]
    assert not is_open(early, datetime(2026, 12, 1, 4, 0, tzinfo=UTC).timestamp())[0]


def utc(hour, minute=0, *, day, month):
    return datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()


def test_a_time_that_the_clock_leaves_out_comes_an_hour_later():
    gap = [window("30 2 * * *", 0.5, timezone=BERLIN)]  # on 29 March 02:00 becomes 03:00, at 01:00 UTC
    assert is_open(gap, utc(1, 29, day=29, month=3)) == (False, utc(1, 30, day=29, month=3))
    assert is_open(gap, utc(1, 30, day=29, month=3)) == (True, utc(2, day=29, month=3))
    assert is_open(gap, utc(2, day=29, month=3)) == (False, utc(0, 30, day=30, month=3))


def test_a_time_that_comes_twice_counts_once_and_a_duration_is_real_time():
    twice = [window("30 2 * * *", 0.5, timezone=BERLIN)]  # on 25 October 03:00 becomes 02:00, at 01:00 UTC
    assert is_open(twice, utc(0, 30, day=25, month=10)) == (True, utc(1, day=25, month=10))
    assert is_open(twice, utc(1, 30, day=25, month=10)) == (False, utc(1, 30, day=26, month=10))
    night = [window("0 22 * * *", 8, timezone=BERLIN)]
    assert is_open(night, utc(21, day=24, month=10)) == (True, utc(4, day=25, month=10)), "05:00 on the wall"
    night = [window("0 22 * * *", 8, timezone=BERLIN)]
    assert is_open(night, utc(22, day=28, month=3)) == (True, utc(5, day=29, month=3)), "07:00 on the wall"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schedule": "often"}, "schedule"),
        ({"timezone": "Europe/Nowhere"}, "time zone"),
        ({"timezone": "../../etc/passwd"}, "time zone"),
        ({"timezone": ""}, "time zone"),
        ({"duration": 0.0}, "duration"),
        ({"duration": 32 * 86_400.0}, "duration"),
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_refused_with_a_hint(change, complaint):
    odd = NIGHT.model_copy(update=change)
    with pytest.raises(SpecError, match=complaint) as refused:
        check(odd)
    assert refused.value.hint
