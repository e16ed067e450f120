"""Login codes and sessions: good once, for a time, and for what they are."""

from __future__ import annotations

import pytest

from fairlead.access.login import CODE_SECONDS, SESSION_SECONDS, Browsers
from fairlead.model.access import Caller, Role
from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError
from support.browsers import Rig

ADA = Caller("ada", Role.DEVELOPER, credential="key:1")


@pytest.fixture
def rig() -> Rig:
    return Rig("a-token", ADA)


async def test_a_code_is_good_once(rig: Rig):
    code = await rig.logins.make_code(ADA)
    assert code.expires == rig.now + CODE_SECONDS
    begun = await rig.logins.begin(code.value.encode())
    assert begun is not None
    cookie, principal = begun
    assert principal == "ada"
    assert cookie.expires == rig.now + SESSION_SECONDS
    session = rig.browsers.find(cookie.value.encode(), rig.now)
    assert session is not None
    assert session.principal == "ada"
    assert await rig.logins.begin(code.value.encode()) is None
    assert len(rig.store.sessions) == 1


async def test_a_code_is_good_for_a_while(rig: Rig):
    code = await rig.logins.make_code(ADA)
    rig.now += CODE_SECONDS
    assert await rig.logins.begin(code.value.encode()) is None


async def test_a_code_does_not_outlive_what_it_was_made_with(rig: Rig):
    code = await rig.logins.make_code(Caller("ada", Role.DEVELOPER, (), "key:1", rig.now + 5))
    assert code.expires == rig.now + 5


async def test_a_session_ends_with_its_time(rig: Rig):
    code = await rig.logins.make_code(ADA)
    cookie, _ = await rig.logins.begin(code.value.encode())  # type: ignore[misc]
    assert rig.browsers.find(cookie.value.encode(), rig.now + SESSION_SECONDS - 1)
    assert rig.browsers.find(cookie.value.encode(), rig.now + SESSION_SECONDS) is None


async def test_neither_a_code_nor_what_the_store_has_is_a_cookie(rig: Rig):
    code = await rig.logins.make_code(ADA)
    [digest] = rig.store.codes
    rig.browsers.set(rig.store.codes.values())  # a store that mixes them up
    for value in (code.value.encode(), digest, digest.hex().encode(), b"", b"a" * 43, b"a" * 10_000):
        assert rig.browsers.find(value, rig.now) is None
    cookie, _ = await rig.logins.begin(code.value.encode())  # type: ignore[misc]
    [session] = rig.store.sessions.values()
    for value in (
        session.digest,
        session.id.encode(),
        cookie.value.encode() + b"x",
        cookie.value.upper().encode(),
    ):
        assert rig.browsers.find(value, rig.now) is None
    assert await rig.logins.begin(cookie.value.encode()) is None


@pytest.mark.parametrize("code", [b"", b"x", b"a" * 43, b"a" * 44, b"\xff" * 43, b"' OR 1=1 --" + b"a" * 32])
async def test_codes_that_are_none(rig: Rig, code: bytes):
    assert await rig.logins.begin(code) is None


async def test_a_session_that_the_browser_brings_along_ends(rig: Rig):
    first, _ = await rig.logins.begin((await rig.logins.make_code(ADA)).value.encode())  # type: ignore[misc]
    code = await rig.logins.make_code(ADA)
    second, _ = await rig.logins.begin(code.value.encode(), replaces=first.value.encode())  # type: ignore[misc]
    assert second.value != first.value
    assert rig.browsers.find(first.value.encode(), rig.now) is None
    assert rig.browsers.find(second.value.encode(), rig.now)


async def test_a_bad_code_ends_nobodys_session(rig: Rig):
    first, _ = await rig.logins.begin((await rig.logins.make_code(ADA)).value.encode())  # type: ignore[misc]
    assert await rig.logins.begin(b"a" * 43, replaces=first.value.encode()) is None
    assert rig.browsers.find(first.value.encode(), rig.now)


async def test_a_cookie_that_somebody_planted_is_not_taken_over(rig: Rig):
    planted = b"A" * 43
    code = await rig.logins.make_code(ADA)
    cookie, _ = await rig.logins.begin(code.value.encode(), replaces=planted)  # type: ignore[misc]
    assert cookie.value.encode() != planted
    assert rig.browsers.find(planted, rig.now) is None


@pytest.mark.parametrize("credential", ["web:1", "jwt:aa:bb"])
async def test_what_ends_by_itself_makes_no_links(rig: Rig, credential: str):
    with pytest.raises(ProblemError) as refused:
        await rig.logins.make_code(Caller("ada", Role.ADMIN, (), credential, 9e9))
    assert refused.value.problem.status == 403
    assert not rig.store.codes


async def test_the_csrf_token_is_the_sessions_own(rig: Rig):
    one, two = b"a" * 43, b"b" * 43
    assert rig.browsers.csrf_token(one) != rig.browsers.csrf_token(two)
    assert Browsers(b"x" * 32).csrf_token(one) != rig.browsers.csrf_token(one)
    assert one not in rig.browsers.csrf_token(one)


async def test_secrets_are_in_no_repr(rig: Rig):
    code = await rig.logins.make_code(ADA)
    assert code.value not in repr(code)
    assert "kkk" not in repr(rig.browsers)


async def test_while_the_store_is_away_nobody_logs_in(rig: Rig):
    code = await rig.logins.make_code(ADA)
    rig.store.away = True
    with pytest.raises(StoreAwayError):
        await rig.logins.begin(code.value.encode())
    with pytest.raises(StoreAwayError):
        await rig.logins.make_code(ADA)


async def test_a_session_tells_which_key_made_its_link(rig: Rig):
    await rig.logins.begin((await rig.logins.make_code(ADA)).value.encode())
    [session] = rig.store.sessions
    assert session.startswith("1.")
    assert len(session) == 2 + 16, "with the id of a key, 12, it fits into 32"
    local = Caller("local", Role.ADMIN, credential="local:0123abcd")
    await rig.logins.begin((await rig.logins.make_code(local)).value.encode())
    assert list(rig.store.sessions)[1].startswith("local:0123abcd.")
    assert len(list(rig.store.sessions)[1]) <= 32
