"""A flood of refusals becomes few records, which say how many there were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairlead.audit.refusals import MAX_KINDS, SINGLE, WINDOW, Refusals
from fairlead.model.audit import AuditKind, AuditRecord


def refusal(at: float = 0.0, **more: str) -> AuditRecord:
    return AuditRecord(at, AuditKind.REFUSAL, **{"outcome": "invalid-token", "peer": "10.0.0.1", **more})


def test_the_first_of_a_kind_are_records_of_their_own_and_the_rest_is_counted():
    refusals = Refusals()
    told = [refusals.add(refusal(float(number) / 10)) for number in range(SINGLE + 5)]
    assert [r is not None for r in told] == [True] * SINGLE + [False] * 5
    assert refusals.ended(WINDOW - 0.1) == []
    (summary,) = refusals.ended(WINDOW)
    assert summary.detail == {"count": 5, "since": SINGLE / 10}
    assert summary.at == (SINGLE + 4) / 10
    assert refusals.ended(1e9) == []


def test_kinds_are_counted_apart():
    refusals = Refusals()
    for _ in range(SINGLE):
        refusals.add(refusal())
    assert refusals.add(refusal()) is None
    for other in (refusal(peer="10.0.0.2"), refusal(principal="ada"), refusal(outcome="forbidden")):
        assert refusals.add(other) is other


def test_a_window_that_is_over_begins_anew():
    refusals = Refusals()
    for _ in range(SINGLE):
        refusals.add(refusal())
    assert refusals.ended(WINDOW) == []  # nothing was only counted
    assert refusals.add(refusal(WINDOW)) is not None


def test_what_the_record_said_stays():
    refusals = Refusals()
    for _ in range(SINGLE + 1):
        refusals.add(replace(refusal(), detail={"status": 401}))
    (summary,) = refusals.ended(WINDOW)
    assert summary.detail == {"status": 401, "count": 1, "since": 0.0}


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 30)), max_size=400))
def test_every_refusal_is_in_the_audit_once_and_memory_is_bounded(attempts):
    refusals = Refusals()
    written = []
    for peer, at in sorted(attempts, key=lambda attempt: attempt[1]):
        written += refusals.ended(at)
        single = refusals.add(refusal(at, peer=f"p{peer % (MAX_KINDS * 2)}"))
        written += [single] if single else []
        assert len(refusals._windows) <= MAX_KINDS + 1
    written += refusals.ended(float("inf"))
    assert sum(r.detail.get("count", 1) for r in written) == len(attempts)


def test_more_peers_than_can_be_told_apart_count_together():
    refusals = Refusals()
    for number in range(MAX_KINDS):
        assert refusals.add(refusal(peer=str(number))) is not None
    told = [refusals.add(refusal(peer=f"more {number}")) for number in range(SINGLE + 100)]
    assert [r.peer for r in told if r is not None] == [""] * SINGLE
    assert len(refusals._windows) == MAX_KINDS + 1
    assert [r.detail["count"] for r in refusals.ended(WINDOW)] == [100]
