"""Who comes by what, and until when."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest

from fairlead.access.keyring import Keyring
from fairlead.access.keys import KeyDigests, key_check, master_key, new_id, new_value
from fairlead.access.login import Browsers
from fairlead.core import refusals
from fairlead.core.access import Browser
from fairlead.model.access import ApiKey, Caller, Grant, Principal, Role
from fairlead.model.errors import Problem
from fairlead.ports import Identities, WebSession

MASTER = b"m" * 32
DIGESTS = KeyDigests(MASTER)
BROWSERS = Browsers(MASTER)
VALUE = new_value()
COOKIE = b"c" * 43
ADA = Principal("ada", Role.DEVELOPER, (Grant(servers=("docs",)),), created=1.0)
KEY = ApiKey("k1", "ada", DIGESTS.of(VALUE.encode()), created=1.0)
SESSION = WebSession("s1", "ada", BROWSERS.digest("session", COOKIE), 1.0, 500.0)
LOCAL = b"local-token-of-the-state"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def known(
    principals: tuple[Principal, ...] = (ADA,),
    keys: tuple[ApiKey, ...] = (KEY,),
    sessions: tuple[WebSession, ...] = (SESSION,),
    revision: int = 1,
) -> Identities:
    return Identities(revision, principals, keys, sessions)


@pytest.fixture
def ring(clock: Clock) -> Keyring:
    ring = Keyring(DIGESTS, Browsers(MASTER), now=clock)
    ring.set_fixed({hashlib.sha256(LOCAL).digest(): "local"})
    ring.take(known())
    return ring


def by_key(ring: Keyring, value: str = VALUE) -> Caller:
    caller = ring.identify(value.encode())
    assert isinstance(caller, Caller)
    return caller


def test_a_value_says_its_kind_and_no_two_are_the_same():
    values = {new_value() for _ in range(100)}
    assert len(values) == 100
    assert all(value.startswith("flk_") and len(value) == 4 + 43 for value in values)
    assert not any(new_id() in value for value in values)


def test_digests_need_the_services_key():
    assert KeyDigests(b"n" * 32).of(b"x") != DIGESTS.of(b"x")
    assert DIGESTS.of(b"x") == DIGESTS.of_sha256(hashlib.sha256(b"x").digest())
    assert DIGESTS.of(b"x") != hashlib.sha256(b"x").digest()
    assert MASTER.hex() not in repr(DIGESTS)


def test_the_services_key_is_the_settings_or_the_state_folders():
    assert master_key(None, MASTER) == MASTER
    given = master_key("some-long-setting", MASTER)
    assert len(given) == 32
    assert given == master_key("some-long-setting", b"o" * 32) != master_key("some-other-setting", MASTER)
    assert key_check(given) != key_check(MASTER)
    assert given.hex()[:32] not in key_check(given)


def test_a_key_brings_its_principal_with_role_and_grants(ring: Keyring):
    assert by_key(ring) == Caller("ada", Role.DEVELOPER, ADA.grants, "key:k1", None)


@pytest.mark.parametrize(
    "token",
    [b"", b"x", VALUE.encode()[:-1], VALUE.encode() + b"x", b"\xff", b"k1", KEY.digest],
    ids=["none", "short", "cut", "longer", "no text", "the key's id", "its digest"],
)
def test_nothing_else_does(ring: Keyring, token: bytes):
    assert ring.identify(token) is refusals.INVALID_TOKEN


@pytest.mark.parametrize(
    "changed",
    [
        known(keys=()),
        known(keys=(replace(KEY, revoked=99.0),)),
        known(principals=()),
        known(principals=(replace(ADA, disabled=True),)),
        known(keys=(replace(KEY, principal="local"),)),
        known(keys=(replace(KEY, principal="env"),)),
        known(keys=(replace(KEY, principal="oauth:ada"),)),
        known(principals=(replace(ADA, name="local"),), keys=(replace(KEY, principal="local"),)),
    ],
)
def test_a_key_that_is_good_no_more(ring: Keyring, changed: Identities):
    before = by_key(ring)
    ring.take(changed)
    assert ring.identify(VALUE.encode()) is refusals.INVALID_TOKEN
    assert not ring.is_valid(before)


def test_a_key_ends_at_its_time_without_being_told(ring: Keyring, clock: Clock):
    ring.take(known(keys=(replace(KEY, expires=101.0),)))
    caller = by_key(ring)
    assert ring.is_valid(caller)
    clock.now = 101.0
    assert ring.identify(VALUE.encode()) is refusals.EXPIRED_KEY
    assert not ring.is_valid(caller)
    assert refusals.EXPIRED_KEY.status == 401


@pytest.mark.parametrize(
    "other", [replace(ADA, role=Role.ADMIN), replace(ADA, role=Role.VIEWER), replace(ADA, grants=())]
)
def test_other_rights_end_what_was_opened_with_the_former(ring: Keyring, other: Principal):
    before = by_key(ring)
    ring.take(known(principals=(other,)))
    assert not ring.is_valid(before)
    assert ring.is_valid(by_key(ring))


def test_whoever_makes_up_a_caller_is_not_valid(ring: Keyring):
    for credential in ("", "key:", "key:k1", "local", "env", "web:s1", "jwt:x", "key:k1:x"):
        assert not ring.is_valid(Caller("ada", Role.ADMIN, (), credential))


def test_this_machines_own_tokens_rule(ring: Keyring):
    caller = ring.identify(LOCAL)
    assert isinstance(caller, Caller)
    assert caller == Caller("local", Role.ADMIN, (), caller.credential)
    assert re.fullmatch("local:[0-9a-f]{8}", caller.credential)
    assert hashlib.sha256(LOCAL).hexdigest()[:8] not in caller.credential, "the digest is keyed"
    assert ring.is_valid(caller)
    assert ring.knows("local")
    assert not ring.knows("env")
    ring.set_fixed({hashlib.sha256(b"other").digest(): "local", b"d" * 32: "somebody"})
    assert ring.identify(LOCAL) is refusals.INVALID_TOKEN
    assert not ring.knows("somebody")
    assert not ring.is_valid(caller), "what was opened with the value before ends"


def test_they_need_no_database(clock: Clock):
    ring = Keyring(DIGESTS, BROWSERS, now=clock)
    ring.set_fixed({hashlib.sha256(LOCAL).digest(): "env"})
    assert isinstance(ring.identify(LOCAL), Caller)
    assert ring.identify(VALUE.encode()) is refusals.INVALID_TOKEN


def test_a_browser_comes_by_its_cookie(ring: Keyring, clock: Clock):
    browser = ring.identify_cookie(COOKIE)
    assert isinstance(browser, Browser)
    assert browser.caller == Caller("ada", Role.DEVELOPER, ADA.grants, "web:s1", 500.0)
    assert browser.csrf_token == BROWSERS.csrf_token(COOKIE)
    assert ring.is_valid(browser.caller)
    assert ring.identify(COOKIE) is refusals.INVALID_TOKEN  # it is no bearer token
    assert ring.identify_cookie(VALUE.encode()) is refusals.SESSION_OVER
    clock.now = 500.0
    assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER
    assert not ring.is_valid(browser.caller)


@pytest.mark.parametrize(
    "changed", [known(sessions=()), known(principals=()), known(principals=(replace(ADA, disabled=True),))]
)
def test_a_browsers_session_that_is_over(ring: Keyring, changed: Identities):
    before = ring.identify_cookie(COOKIE)
    assert isinstance(before, Browser)
    ring.take(changed)
    assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER
    assert not ring.is_valid(before.caller)


def test_the_browser_of_this_machines_user_goes_with_the_token(ring: Keyring):
    local = ring.identify(LOCAL)
    assert isinstance(local, Caller)
    made_by_it = f"{local.credential}.s1"
    ring.take(known(sessions=(replace(SESSION, id=made_by_it, principal="local"),)))
    browser = ring.identify_cookie(COOKIE)
    assert isinstance(browser, Browser)
    assert browser.caller == Caller("local", Role.ADMIN, (), f"web:{made_by_it}", 500.0)
    assert ring.is_valid(browser.caller)
    for other in ({}, {hashlib.sha256(b"another value").digest(): "local"}):
        ring.set_fixed(other)
        assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER
        assert not ring.is_valid(browser.caller)
    ring.set_fixed({hashlib.sha256(LOCAL).digest(): "env"})
    assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER


def test_a_session_that_no_token_of_this_machine_made_is_none_of_its_users(ring: Keyring):
    for made in ("s1", ".s1", "local.s1", "k1.s1"):
        ring.take(known(sessions=(replace(SESSION, id=made, principal="local"),)))
        assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER


class Tokens:
    """Knows one access token."""

    caller = Caller("oauth:ada", Role.OPERATOR, (), "jwt:1:2", 1000.0)

    def identify(self, token: bytes) -> Any:
        return self.caller if token == b"eyJ.a.b" else refusals.bad_token("it is another")

    def is_valid(self, caller: Caller) -> bool:
        return caller == self.caller

    def knows(self, principal: str) -> bool:
        return principal.startswith("oauth:")


def test_access_tokens_are_for_who_knows_them(clock: Clock):
    ring = Keyring(DIGESTS, BROWSERS, verifier=Tokens(), now=clock)
    ring.take(known())
    assert ring.identify(b"eyJ.a.b") is Tokens.caller
    assert isinstance(ring.identify(b"eyJ.a.c"), Problem)
    assert ring.is_valid(Tokens.caller)
    assert not ring.is_valid(replace(Tokens.caller, role=Role.ADMIN))
    assert ring.knows("oauth:x")
    assert by_key(ring).name == "ada"
    without = Keyring(DIGESTS, BROWSERS, now=clock)
    assert without.identify(b"eyJ.a.b") is refusals.INVALID_TOKEN
    assert not without.is_valid(Tokens.caller)
    assert not without.knows("oauth:x")


def test_what_it_shows_of_itself_has_no_secret(ring: Keyring):
    shown = repr(ring)
    assert shown == "<Keyring revision=1 principals=1 keys=1>"


def test_a_session_ends_with_the_key_that_made_its_link(ring: Keyring, clock: Clock):
    made = replace(SESSION, id="k1.s1")
    ring.take(known(sessions=(made,)))
    browser = ring.identify_cookie(COOKIE)
    assert isinstance(browser, Browser)
    assert browser.caller.expires == SESSION.expires
    ring.take(known(keys=(replace(KEY, revoked=99.0),), sessions=(made,)))
    assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER
    assert not ring.is_valid(browser.caller)
    ring.take(known(keys=(replace(KEY, expires=101.0),), sessions=(made,)))
    assert isinstance(ring.identify_cookie(COOKIE), Browser)
    clock.now = 101.0
    assert ring.identify_cookie(COOKIE) is refusals.SESSION_OVER
