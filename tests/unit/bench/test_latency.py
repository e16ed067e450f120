import pytest
from bench.latency import Caller, compare


def test_what_a_gateway_adds_is_told_over_the_direct_calls_of_its_kind():
    callers = [
        Caller("direct", "stdio", "echo", bytes, [70.0, 80.0, 90.0]),
        Caller("direct", "HTTP", "echo", bytes, [100.0]),
        Caller("Fairlead", "stdio", "echo__echo", bytes, [150.0, 160.0, 500.0]),
        Caller("nginx", "HTTP", "echo", bytes, [140.0]),
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
    [(lambda body: b'{"result":"another text"}', "wrong answer"), (broken, "call 1 failed: it hung up")],
)
def test_who_errs_is_told_and_not_compared(call, fault):
    callers = [Caller("direct", "stdio", "echo", bytes, [70.0]), Caller("Fairlead", "stdio", "echo", call)]
    callers[1].take_turn()
    assert fault in callers[1].fault
    assert [one.contender for one in compare(callers)] == ["direct"]
