import contextlib

import pytest
from bench.latency import Caller, compare


def test_what_a_gateway_adds_is_told_over_the_direct_calls_of_its_kind():
    callers = [
        Caller("direct", "stdio", "echo", None, [70.0, 80.0, 90.0]),
        Caller("direct", "HTTP", "echo", None, [100.0]),
        Caller("Fairlead", "stdio", "echo__echo", None, [150.0, 160.0, 500.0]),
        Caller("nginx", "HTTP", "echo", None, [140.0]),
    ]
    added = {(one.contender, one.over): (one.added_p50_us, one.added_p99_us) for one in compare(callers)}
    assert added == {
        ("direct", "stdio"): (None, None),
        ("direct", "HTTP"): (None, None),
        ("Fairlead", "stdio"): (80.0, 410.0),
        ("nginx", "HTTP"): (40.0, 40.0),
    }


def broken(body):
    raise ConnectionError("it hung up")


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda body: b'{"result":"another text"}', "another text"),
        (lambda body: body if b"text 1" in body else b"", "call 2: "),
        (broken, "call 1: it hung up"),
    ],
)
def test_who_errs_is_told_and_not_compared(call, fault):
    direct = Caller("direct", "stdio", "echo", None, [70.0])
    caller = Caller("Fairlead", "stdio", "echo", lambda: contextlib.nullcontext(call))
    caller.take_turn()
    assert fault in caller.fault
    assert [one.contender for one in compare([direct, caller])] == ["direct"]


def test_a_turn_takes_many_calls_each_with_its_own_text(monkeypatch):
    monkeypatch.setattr("bench.latency.TURN_SECONDS", 0.01)
    caller = Caller("direct", "stdio", "echo", lambda: contextlib.nullcontext(bytes))
    caller.take_turn()
    caller.take_turn()
    assert caller.fault == ""
    assert len(caller.times) > 10
