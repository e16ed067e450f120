"""What checks mean and when they are due."""

from dataclasses import replace

import pytest

from fairlead.core.health import Check, Health, HealthPolicy
from fairlead.model.fleet import HealthCheck
from fairlead.model.status import Standing

DEFAULT = HealthPolicy.of(HealthCheck())
FRESH = Health(checked_at=100.0, seen_at=100.0)


def failed(times, policy=DEFAULT):
    health = FRESH
    for number in range(times):
        health = health.failed(101.0 + number, policy, full=False)
    return health


def test_the_policy_is_what_the_file_says():
    spec = HealthCheck(
        enabled=False, interval=1, timeout=2, idle_interval=3, idle_timeout=4, retries=5, recoveries=6
    )
    assert HealthPolicy.of(spec) == HealthPolicy(
        enabled=False, interval=1, timeout=2, idle_interval=3, idle_timeout=4, retries=5, recoveries=6
    )
    assert HealthPolicy(True, 30, 5, 5, 2, 3, 2) == DEFAULT


@pytest.mark.parametrize(
    ("seen", "now", "check"),
    [
        (100.0, 104.9, None),
        (100.0, 105.0, Check(2.0, full=False)),  # silent for 5 s
        (103.0, 105.0, None),
        (129.9, 130.0, Check(5.0, full=True)),  # 30 s since the last full one, busy or not
        (126.0, 130.0, Check(3.0, full=True)),  # cut short: at 133 it has been silent for 7 s
        (120.0, 130.0, Check(2.0, full=True)),
    ],
)
def test_when_a_healthy_one_is_asked(seen, now, check):
    assert replace(FRESH, seen_at=seen).due(now, DEFAULT) == check


def test_a_full_check_is_no_longer_than_its_own_timeout():
    assert FRESH.full_check(100.0, replace(DEFAULT, timeout=0.5)) == Check(0.5, full=True)


def test_one_failure_makes_it_suspect_and_due_at_once():
    health = failed(1)
    assert (health.standing, health.failures) == (Standing.SUSPECT, 1)
    assert health.due(101.0, DEFAULT) == Check(2.0, full=False)


def test_failures_in_a_row_make_it_unhealthy():
    assert [failed(times).standing for times in (2, 3, 4)] == [
        Standing.SUSPECT,
        Standing.UNHEALTHY,
        Standing.UNHEALTHY,
    ]
    assert failed(1, replace(DEFAULT, retries=1)).standing is Standing.UNHEALTHY


@pytest.mark.parametrize("sign", ["check", "call"])
def test_a_sign_of_life_ends_suspicion(sign):
    health = failed(2)
    after = health.passed(110.0, DEFAULT, full=False) if sign == "check" else health.answered(110.0, DEFAULT)
    assert (after.standing, after.failures, after.seen_at) == (Standing.HEALTHY, 0, 110.0)
    assert after.failed(111.0, DEFAULT, full=False).failures == 1, "the count starts again"


def test_an_unhealthy_one_is_asked_now_and_then():
    health = failed(3)  # the last one at 103
    assert health.due(104.9, DEFAULT) is None
    assert health.due(105.0, DEFAULT) == Check(2.0, full=False)
    once = health.passed(106.0, DEFAULT, full=False)
    assert once.due(107.9, DEFAULT) is None, "a pause after a pass, too"
    assert once.due(108.0, DEFAULT) == Check(2.0, full=False)


def test_an_unhealthy_one_is_trusted_after_passes_in_a_row():
    once = failed(3).passed(110.0, DEFAULT, full=False)
    assert (once.standing, once.successes) == (Standing.UNHEALTHY, 1)
    again = once.failed(111.0, DEFAULT, full=False)
    assert (again.standing, again.successes) == (Standing.UNHEALTHY, 0), "a failure between them"
    twice = once.answered(111.0, DEFAULT)
    assert (twice.standing, twice.successes, twice.failures) == (Standing.HEALTHY, 0, 0)


def test_only_full_checks_put_off_the_next_full_one():
    assert FRESH.passed(110.0, DEFAULT, full=True).checked_at == 110.0
    assert FRESH.failed(110.0, DEFAULT, full=True).checked_at == 110.0
    assert FRESH.passed(110.0, DEFAULT, full=False).checked_at == 100.0
    assert FRESH.failed(110.0, DEFAULT, full=False).checked_at == 100.0
    assert FRESH.answered(110.0, DEFAULT).checked_at == 100.0
    assert failed(3).passed(110.0, DEFAULT, full=True).checked_at == 110.0


def test_a_failure_is_no_sign_of_life():
    assert FRESH.failed(110.0, DEFAULT, full=True).seen_at == 100.0


def test_without_checks_nothing_is_due_and_a_failure_means_nothing():
    off = replace(DEFAULT, enabled=False)
    assert FRESH.due(1e6, off) is None
    assert failed(1).due(1e6, off) is None
    assert FRESH.failed(110.0, off, full=True) == FRESH
    assert failed(2).failed(110.0, off, full=False).standing is Standing.HEALTHY
