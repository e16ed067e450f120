from __future__ import annotations

import math

import pytest

from fairlead.core.accounts import MAX_ACCOUNTS, AccountLimits, Accounts, rate_of
from fairlead.core.ratelimit import RECENT, Rate


def admitted(bucket, many, now=0.0):
    return sum(bucket.admit(now) == 0.0 for _ in range(many))


@pytest.mark.parametrize(
    ("per_minute", "burst", "expected"),
    [
        (None, None, None),
        (1000, None, Rate(1000, 166)),
        (60, None, Rate(60, 10)),
        (6, None, Rate(6, 6)),
        (1, None, Rate(1, 1)),
        (1000, 5, Rate(1000, 5)),
    ],
)
def test_a_rate_as_a_spec_says_it(per_minute, burst, expected):
    assert rate_of(per_minute, burst) == expected


def test_without_limits_everything_is_admitted_and_nothing_told():
    accounts = Accounts()
    account = accounts.of("a")
    assert admitted(account, 100_000) == 100_000
    assert account.most == math.inf
    assert accounts.uses(0.0) == {}


def test_each_principal_has_its_own_and_all_have_one_together():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(Rate(60, 3), None, Rate(60, 5)))
    assert accounts.of("a") is accounts.of("a")
    assert admitted(accounts.of("a"), 10) == 3
    assert admitted(accounts.of("b"), 10) == 2


def test_new_limits_hold_for_accounts_that_are_there():
    accounts = Accounts()
    account = accounts.of("a")
    accounts.set_limits(AccountLimits(Rate(60, 3), 4))
    assert (admitted(account, 10), account.most) == (3, 4)
    accounts.set_limits(AccountLimits(Rate(60, 5), None))
    assert (admitted(account, 10), account.most) == (2, math.inf)
    accounts.set_limits(AccountLimits())
    assert admitted(account, 1000, 10.0) == 1000


def test_a_server_may_have_a_bucket():
    accounts = Accounts()
    assert accounts.server("s", None) is None
    bucket = accounts.server("s", Rate(60, 2))
    assert bucket is not None
    assert admitted(bucket, 10) == 2
    assert accounts.server("s", Rate(60, 3)) is bucket
    assert admitted(bucket, 10) == 1
    assert accounts.server("s", None) is None
    assert accounts.uses(0.0) == {}


def test_what_was_used_is_told_by_name_and_the_answer_holds():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(Rate(60, 10), 6, Rate(60, 20)))
    accounts.server("s", Rate(60, 2))
    accounts.of("idle")
    account = accounts.of("a")
    account.admit(0.0)
    uses = accounts.uses(0.0)
    assert {name: use.spent for name, use in uses.items()} == {"principal:a": 1, "all": 1}
    accounts.processes = 3
    accounts.told(uses, {"principal:a": (4.0, 2), "all": (1.0, 1)}, 0.0)
    assert account.most == 2  # another process may just have begun, too
    assert admitted(account, 1) == 1
    uses = accounts.uses(0.1)
    assert uses["principal:a"].spent == 1
    accounts.told(uses, {"principal:a": (5.0, 2), "all": (2.0, 1)}, 0.1)
    assert (admitted(account, 10, 0.1), account.most) == (2, 3)
    assert (admitted(accounts.of("new"), 10), accounts.of("new").most) == (3, 2)


def test_the_answer_to_what_has_changed_meanwhile_is_dropped():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(Rate(60, 10)))
    accounts.server("s", Rate(60, 2)).admit(0.0)
    accounts.of("a").admit(0.0)
    uses = accounts.uses(0.0)
    accounts.server("s", None)
    accounts.set_limits(AccountLimits(Rate(120, 20)))
    accounts.told(uses, {"principal:a": (10.0, 1), "server:s": (10.0, 1)}, 0.0)
    assert admitted(accounts.of("a"), 1) == 1


def test_without_the_centre_each_goes_on_with_a_fair_share():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(Rate(60, 12), 9))
    accounts.processes = 3
    account = accounts.of("a")
    account.set_share(1.0)
    accounts.apart()
    assert (admitted(account, 100), account.most) == (4, 3)
    assert admitted(account, 100, 60.0) == 4


def test_calls_that_take_long_keep_their_share():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(None, 8))
    account = accounts.of("a")
    account.calls = 1
    assert accounts.uses(0.0)["principal:a"].spent == 0
    account.calls = 0
    assert accounts.uses(RECENT) == {}


def test_a_bound_on_calls_never_keeps_all_out():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(None, 2))
    accounts.processes = 5
    assert accounts.of("a").most == 1


def test_very_many_accounts_are_let_go_when_they_owe_nothing():
    accounts = Accounts()
    accounts.set_limits(AccountLimits(Rate(60, 2)))
    for number in range(MAX_ACCOUNTS):
        accounts.of(f"p{number}").admit(0.0)
    assert not accounts.forget_idle(100.0)
    accounts.of("busy").calls = 1
    accounts.of("owes").admit(99.5)
    assert accounts.forget_idle(100.0)
    assert len(accounts) == 2
    assert repr(accounts) == "<Accounts 2 servers=0 processes=1>"
