from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.events import failures as module
from fairlead.events.failures import WINDOW, FailureWatch
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.model.events import EventType
from support.event_logs import Noted


class Rig:
    def __init__(self) -> None:
        self.now = 1000.0
        self.noted = Noted()
        self.watch = FailureWatch(self.noted, now=lambda: self.now)

    def refuse(self, outcome: str = "invalid-token", peer: str = "192.0.2.1") -> None:
        self.watch.refused(AuditRecord(at=self.now, kind=AuditKind.REFUSAL, outcome=outcome, peer=peer))

    def counts(self) -> list[tuple[str, str, int]]:
        return [(d["peer"], d["problem"], d["count"]) for d in self.noted.of(EventType.AUTHENTICATION_FAILED)]


def test_the_first_is_told_at_once_and_the_others_at_the_windows_end() -> None:
    rig = Rig()
    rig.refuse()
    assert rig.counts() == [("192.0.2.1", "invalid-token", 1)]
    rig.now += 2
    for _ in range(1000):
        rig.refuse()
    rig.watch.tick()
    assert len(rig.counts()) == 1
    rig.now += WINDOW
    rig.watch.tick()
    assert rig.counts()[1:] == [("192.0.2.1", "invalid-token", 1000)]
    assert rig.noted.events[1][2]["since"] == 1002.0
    rig.refuse()  # in the window that this opened
    assert len(rig.counts()) == 2
    rig.now += WINDOW
    rig.watch.tick()
    rig.now += WINDOW
    rig.watch.tick()
    assert rig.counts()[2:] == [("192.0.2.1", "invalid-token", 1)]
    assert repr(rig.watch) == "FailureWatch(0 kinds)"


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    rig = Rig()
    rig.refuse()
    rig.refuse()
    rig.now -= 3600
    rig.watch.tick()
    assert len(rig.counts()) == 2


def test_addresses_and_problems_are_told_apart() -> None:
    rig = Rig()
    rig.refuse()
    rig.refuse(peer="192.0.2.2")
    rig.refuse("missing-token")
    assert len(rig.counts()) == 3


def test_other_refusals_are_none_of_its_business() -> None:
    rig = Rig()
    rig.refuse("rate-limited")
    rig.refuse("foreign-host")
    assert rig.counts() == []


def test_too_many_addresses_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KINDS", 3)
    rig = Rig()
    for number in range(10):
        rig.refuse(peer=f"192.0.2.{number}")
    rig.now += WINDOW
    rig.watch.tick()
    told = rig.counts()
    assert len(told) == 5
    assert sum(count for _, _, count in told) == 10
    assert told[-1] == ("", "invalid-token", 6)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4)), max_size=200))
def test_every_failure_is_in_one_event_and_events_are_few(steps: list[tuple[str, float]]) -> None:
    rig = Rig()
    started = rig.now
    for peer, seconds in steps:
        rig.refuse(peer=peer)
        rig.now += seconds
        rig.watch.tick()
    ended = rig.now
    rig.now += 2 * WINDOW
    rig.watch.tick()
    for peer in "abc":
        counts = [count for who, _, count in rig.counts() if who == peer]
        assert sum(counts) == sum(who == peer for who, _ in steps)
        assert len(counts) <= (ended - started) / WINDOW + 2
