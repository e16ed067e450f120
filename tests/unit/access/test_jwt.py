"""Access tokens, good and bad, against the keys of a real little authorization server."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.access.jwks import SigningKeys
from fairlead.access.jwt import LEEWAY, MAX_KNOWN, JwtVerifier, TokenRules, looks_like_jwt
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.errors import Problem
from support.authorization_server import RESOURCE, AuthorizationServer, ec, ed, part, rsa, sign, sign_raw


@pytest.fixture(scope="module")
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer(keys=[ec("k1"), rsa("r1"), ed("e1")]) as running:
        yield running


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(server: AuthorizationServer, clock: Clock) -> JwtVerifier:
    return await verifier_of(server, clock)


async def verifier_of(server: AuthorizationServer, clock: Clock | None = None, **rules: Any) -> JwtVerifier:
    keys = SigningKeys(server.issuer, server.jwks)
    assert await keys.read() is not None
    return JwtVerifier(TokenRules(server.issuer, RESOURCE, **rules), keys, now=clock or time.time)


def caller(verifier: JwtVerifier, token: bytes) -> Caller:
    found = verifier.identify(token)
    assert isinstance(found, Caller), found
    return found


def problem(verifier: JwtVerifier, token: bytes, *, status: int = 401) -> str:
    found = verifier.identify(token)
    assert isinstance(found, Problem), found
    assert found.status == status
    assert verifier.identify(token) == found  # a refusal is not remembered as something else
    return found.detail


# -- good tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "algorithm"),
    [(0, "ES256"), (1, "RS256"), (1, "RS512"), (1, "PS256"), (2, "Ed25519"), (2, "EdDSA")],
)
async def test_tokens_of_every_kind_of_key(
    server: AuthorizationServer, verifier: JwtVerifier, number: int, algorithm: str, recwarn: Any
):
    key = server.keys[number]
    payload = {
        "iss": server.issuer,
        "aud": RESOURCE,
        "sub": "ada",
        "scope": "x fairlead:operator",
        "exp": 9e9,
    }
    header = {"alg": algorithm, "kid": key.kid}
    found = caller(
        verifier, sign_raw(key, json.dumps(header).encode(), json.dumps(payload).encode(), algorithm)
    )
    assert (found.name, found.role, found.grants) == ("oauth:ada", Role.OPERATOR, ())
    assert found.expires == 9e9 + LEEWAY
    assert verifier.is_valid(found)
    assert not recwarn.list


async def test_a_token_is_verified_once(server: AuthorizationServer, verifier: JwtVerifier):
    token = server.token()
    assert caller(verifier, token) is caller(verifier, token)
    assert "known=1" in repr(verifier)
    assert token.decode() not in repr(verifier)


async def test_what_is_known_is_bounded(
    server: AuthorizationServer, verifier: JwtVerifier, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlead.access.jwt.MAX_KNOWN", 2)
    assert MAX_KNOWN > 2
    for number in range(5):
        caller(verifier, server.token(jti=number))
    assert "known=2" in repr(verifier)


async def test_it_ends_with_its_time_and_the_leeway(
    server: AuthorizationServer, verifier: JwtVerifier, clock: Clock
):
    token = server.token(exp=clock.now + 10)
    found = caller(verifier, token)
    clock.now += 10 + LEEWAY - 1
    assert caller(verifier, token) == found
    clock.now += 1
    assert not verifier.is_valid(found)
    assert "expired" in problem(verifier, token)


async def test_it_begins_with_its_time_less_the_leeway(
    server: AuthorizationServer, verifier: JwtVerifier, clock: Clock
):
    token = server.token(nbf=clock.now + LEEWAY + 5)
    assert "not valid yet" in problem(verifier, token)
    clock.now += 5
    caller(verifier, token)


async def test_the_only_fitting_key_needs_no_name(server: AuthorizationServer, verifier: JwtVerifier):
    caller(verifier, server.token(header={"kid": None}))  # one EC key among keys of other kinds
    with AuthorizationServer(keys=[ec("a"), ec("b")]) as two:
        detail = problem(await verifier_of(two), two.token(header={"kid": None}))
    assert "does not name its key" in detail


async def test_headers_that_nobody_knows_are_passed_over(server: AuthorizationServer, verifier: JwtVerifier):
    caller(verifier, server.token(header={"nonce": "x", "rh": 1}))


# -- who, and what they may -------------------------------------------------------------------------------


async def test_no_role_is_forbidden_and_says_what_is_missing(
    server: AuthorizationServer, verifier: JwtVerifier
):
    for scope in (None, "", "openid", 7, {"fairlead:admin": 1}, "admin", "FAIRLEAD:ADMIN"):
        assert "fairlead:developer" in problem(verifier, server.token(scope=scope), status=403)


async def test_the_highest_scope_counts(server: AuthorizationServer, verifier: JwtVerifier):
    assert caller(verifier, server.token(scope="fairlead:viewer fairlead:admin")).role is Role.ADMIN
    assert caller(verifier, server.token(scope=None, scp=["fairlead:viewer", 3])).role is Role.VIEWER


async def test_a_role_claim_alone_counts_where_one_is_set(server: AuthorizationServer):
    verifier = await verifier_of(server, role_claim="realm_access.roles", default_role=Role.VIEWER)
    inside = server.token(realm_access={"roles": ["offline", "operator"]}, scope="fairlead:admin")
    assert caller(verifier, inside).role is Role.OPERATOR
    assert caller(verifier, server.token(scope="fairlead:admin")).role is Role.VIEWER
    assert caller(verifier, server.token(realm_access="operator")).role is Role.VIEWER
    dotted = await verifier_of(server, role_claim="https://x.example/role")
    assert caller(dotted, server.token(**{"https://x.example/role": "fairlead:admin"})).role is Role.ADMIN


@pytest.mark.parametrize("name", [None, "", 7, ["ada"], "a b", "ada\n", "ü", "a" * 121, {"a": 1}])
async def test_names_that_are_none(server: AuthorizationServer, verifier: JwtVerifier, name: Any):
    assert "`sub`" in problem(verifier, server.token(sub=name))


async def test_a_token_cannot_take_a_local_name(server: AuthorizationServer, verifier: JwtVerifier):
    for name in ("local", "env", "oauth:ada"):
        found = caller(verifier, server.token(sub=name))
        assert found.name == "oauth:" + name
        assert verifier.knows(found.name)
        assert not verifier.knows(name.removeprefix("oauth:"))


async def test_an_email_must_be_verified(server: AuthorizationServer):
    verifier = await verifier_of(server, principal_claim="email")
    assert caller(verifier, server.token(email="a@b.example")).name == "oauth:a@b.example"
    assert caller(verifier, server.token(email="a@b.example", email_verified=True))
    for said in (False, "true", 0):
        assert "not verified" in problem(verifier, server.token(email="a@b.example", email_verified=said))


# -- for whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audience", [RESOURCE, RESOURCE + "/", RESOURCE + "/mcp", ["x", RESOURCE], "api://f"]
)
async def test_audiences_of_the_whole_service(server: AuthorizationServer, audience: Any):
    verifier = await verifier_of(server, audiences=("api://f",))
    found = caller(verifier, server.token(aud=audience, scope="fairlead:admin"))
    assert (found.role, found.grants) == (Role.ADMIN, ())


async def test_an_audience_of_one_endpoint_is_good_for_it_alone(
    server: AuthorizationServer, verifier: JwtVerifier
):
    audience = [RESOURCE + "/servers/git/mcp", RESOURCE + "/toolsets/docs/mcp", "https://other.example"]
    found = caller(verifier, server.token(aud=audience, scope="fairlead:admin"))
    assert found.role is Role.DEVELOPER
    assert found.grants == (Grant(servers=("git",)), Grant(toolsets=("docs",)))


@pytest.mark.parametrize(
    "audience",
    [
        None, "", [], {}, 7, [RESOURCE, 7], "https://fairlead.example.evil", "http://fairlead.example",
        "https://FAIRLEAD.example", RESOURCE + "/servers/*/mcp", RESOURCE + "/servers/../mcp",
        RESOURCE + "/servers/a/b/mcp", RESOURCE + "/servers/a/mcp\n", RESOURCE + "/mcp?x", "fairlead.example",
    ],
)  # fmt: skip
async def test_other_audiences(server: AuthorizationServer, verifier: JwtVerifier, audience: Any):
    detail = problem(verifier, server.token(aud=audience))
    assert "audience" in detail or "`aud`" in detail


async def test_other_issuers(server: AuthorizationServer, verifier: JwtVerifier):
    for issuer in (
        None,
        "",
        server.issuer + "/",
        server.issuer.upper(),
        [server.issuer],
        "https://evil.example",
    ):
        assert "issuer" in problem(verifier, server.token(iss=issuer))


# -- attacks ----------------------------------------------------------------------------------------------


def claims_of(server: AuthorizationServer, **more: Any) -> dict[str, Any]:
    return {"iss": server.issuer, "aud": RESOURCE, "sub": "eve", "scope": "fairlead:admin", "exp": 9e9} | more


async def test_no_signature_at_all(server: AuthorizationServer, verifier: JwtVerifier):
    payload = part(json.dumps(claims_of(server)).encode())
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, ["ES256"], {"a": 1}):
        header = part(json.dumps({"alg": algorithm, "kid": "k1"}).encode())
        for signature in (b"", b"AAAA"):
            problem(verifier, header + b"." + payload + b"." + signature)


async def test_the_public_key_as_a_secret(server: AuthorizationServer, verifier: JwtVerifier):
    """Algorithm confusion: an HMAC with the bytes of the published key."""
    for key in server.keys:
        forms = [key.as_pem(private=False), key.as_der(private=False), json.dumps(key.as_dict()).encode()]
        for form in forms:
            for algorithm, hashed in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
                header = json.dumps({"alg": algorithm, "kid": key.kid}).encode()
                signed = part(header) + b"." + part(json.dumps(claims_of(server)).encode())
                forged = signed + b"." + part(hmac.digest(form, signed, hashed))
                assert "algorithm" in problem(verifier, forged)


async def test_a_key_is_for_its_own_algorithms(server: AuthorizationServer, verifier: JwtVerifier):
    other = ec("k1")
    for algorithm in ("RS256", "PS256", "ES384", "Ed25519", "EdDSA"):
        header = json.dumps({"alg": algorithm, "kid": "k1"}).encode()
        forged = part(header) + b"." + part(json.dumps(claims_of(server)).encode()) + b"." + part(b"x" * 64)
        assert "another algorithm" in problem(verifier, forged)
    assert "signature" in problem(verifier, sign(other, claims_of(server)))


async def test_where_keys_are_is_not_the_tokens_to_say(server: AuthorizationServer, verifier: JwtVerifier):
    mine = ec("mine")
    with AuthorizationServer(keys=[mine]) as evil:
        for header in (
            {"jku": evil.jwks},
            {"x5u": evil.jwks},
            {"jku": evil.jwks, "kid": "k1"},
            {"jwk": mine.as_dict(private=False)},
            {"jwk": mine.as_dict(private=False), "kid": "k1"},
            {"x5c": [base64.b64encode(mine.as_der(private=False)).decode()], "kid": "k1"},
        ):
            found = verifier.identify(sign(mine, claims_of(server), header))
            assert isinstance(found, Problem)
        assert evil.asked == []


@pytest.mark.parametrize(
    "kid",
    [
        "../../dev/null",
        "k1' OR '1'='1",
        "http://evil.example/k",
        "k1\x00",
        "a" * 257,
        "",
        1,
        ["k1"],
        {},
        True,
    ],
)
async def test_names_of_keys_are_only_names(server: AuthorizationServer, verifier: JwtVerifier, kid: Any):
    header = json.dumps({"alg": "ES256", "kid": kid}).encode()
    found = verifier.identify(sign_raw(ec("x"), header, json.dumps(claims_of(server)).encode()))
    assert isinstance(found, Problem)
    assert found.status in (401, 503)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","alg":"ES256","kid":"k1"}',
        b'{"alg":"ES256","kid":"k1","kid":"k1"}',
        b'{"alg":"ES256","\\u0061lg":"none","kid":"k1"}',
        b'{"alg":"ES256","kid":"k1","crit":["exp"],"exp":1}',
        b'{"alg":"ES256","kid":"k1","crit":[]}',
        b'{"alg":"ES256","kid":"k1","b64":false,"crit":["b64"]}',
        b'{"alg":"ES256","kid":"k1","b64":true}',
        b'{"alg":"ES256","kid":"k1","typ":"logout+jwt"}',
        b'{"alg":"ES256","kid":"k1","typ":"dpop+jwt"}',
        b'{"alg":"ES256","kid":"k1","typ":7}',
        b'["ES256"]', b"7", b"null", b"{", b"\xff", b'{"alg":NaN}',
        b'{"a":' * 20_000, b"[" * 5000,
    ],
)  # fmt: skip
async def test_headers_that_are_refused(server: AuthorizationServer, verifier: JwtVerifier, header: bytes):
    problem(verifier, sign_raw(server.keys[0], header, json.dumps(claims_of(server)).encode()))


@pytest.mark.parametrize(
    "more",
    [
        b'"aud":"https://fairlead.example","aud":"x"',
        b'"sub":"ada","sub":"eve"',
        b'"s\\u0075b":"ada"',
        b'"deep":' + b"[" * 5000 + b"]" * 5000,
        b'"exp":NaN', b'"exp":1e999', b'"exp":' + b"9" * 5000,
    ],
)  # fmt: skip
async def test_claims_that_can_be_read_in_two_ways(
    server: AuthorizationServer, verifier: JwtVerifier, more: bytes
):
    whole = json.dumps(claims_of(server)).encode()
    payload = whole[:-1] + b"," + more + b"}"
    problem(verifier, sign_raw(server.keys[0], b'{"alg":"ES256","kid":"k1"}', payload))


@pytest.mark.parametrize("expires", [None, True, "9999999999", [9e9], -1, 0, 10**400, 2.0**60])
async def test_times_that_are_none(server: AuthorizationServer, verifier: JwtVerifier, expires: Any):
    problem(verifier, server.token(exp=expires))
    if expires not in (None, -1, 0):
        problem(verifier, server.token(nbf=expires))


async def test_tokens_bound_to_a_key_are_not_bearer_tokens(
    server: AuthorizationServer, verifier: JwtVerifier
):
    assert "bound" in problem(verifier, server.token(cnf={"jkt": "x"}))


async def test_other_shapes(server: AuthorizationServer, verifier: JwtVerifier):
    good = server.token()
    head, claims, signature = good.split(b".")
    for shape in (
        b"", b".", b"..", b"a.b", good + b".", b"." + good, good + b".x.y", good + b"=", good + b"\n",
        b" " + good,
        head + b"=." + claims + b"." + signature, head + b"..", head + b"." + claims + b".",
        good + b"A" * 9000, b"eyJ" + b"A" * 9000 + b".a.b", good[:-3], "é".encode() + good,
        claims + b"." + head + b"." + signature, head + b"." + claims + b"." + claims,
    ):  # fmt: skip
        problem(verifier, shape)


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
async def test_not_a_bit_can_be_changed(at: int, flip: int):
    keys = SigningKeys(ISSUER, None)
    keys._keys, keys._read_at = {"k": KEY}, keys._now()
    verifier = JwtVerifier(TokenRules(ISSUER, RESOURCE), keys)
    bad = bytearray(TOKEN)
    bad[at % len(bad)] ^= flip
    found = verifier.identify(bytes(bad))
    assert isinstance(found, Problem)
    assert found.status in (401, 503)


ISSUER = "https://login.example"
KEY = ec("k")
TOKEN = sign(KEY, {"iss": ISSUER, "aud": RESOURCE, "sub": "ada", "scope": "fairlead:viewer", "exp": 9e9})


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.floats(),  # NaN and infinities stand as such, which is no JSON
    st.integers(-(10**400), 10**400),
    st.sampled_from([-1, 0, 10**400, -(10**400), 2**53, 2.0**1023, "1e400", 9e9]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "scope", "jti", "cnf"]), ODD))
def test_odd_claims_are_refused_or_a_sound_caller(odd: dict[str, Any]):
    keys = SigningKeys(ISSUER, None)
    keys._keys, keys._read_at = {"k": KEY}, keys._now()
    now = time.time()
    verifier = JwtVerifier(TokenRules(ISSUER, RESOURCE), keys, now=lambda: now)
    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "ada", "scope": "fairlead:viewer", "exp": now + 60}
    payload = json.dumps(claims | odd).encode()
    found = verifier.identify(sign_raw(KEY, b'{"alg":"ES256","kid":"k"}', payload))
    if isinstance(found, Problem):
        assert found.status in (401, 403)
    else:
        assert found.expires is not None
        assert now < found.expires <= 2**53 + LEEWAY
        assert all(type(odd.get(name, 0)) in (int, float, type(None)) for name in ("nbf", "iat"))
        assert found.role is Role.VIEWER


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("text", ["1e400", "-1e400", "1" + "0" * 400, "9" * 4301, "NaN", "true", '"9"', "[]"])
def test_times_that_no_clock_has(name: str, text: str):
    keys = SigningKeys(ISSUER, None)
    keys._keys, keys._read_at = {"k": KEY}, keys._now()
    verifier = JwtVerifier(TokenRules(ISSUER, RESOURCE), keys)
    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "ada", "scope": "fairlead:viewer", "exp": 9e9}
    claims.pop(name, None)
    payload = json.dumps(claims).encode()[:-1] + f',"{name}":{text}}}'.encode()
    problem(verifier, sign_raw(KEY, b'{"alg":"ES256","kid":"k"}', payload))


@given(st.binary(max_size=300))
def test_anything_is_refused_and_nothing_raises(token: bytes):
    verifier = JwtVerifier(TokenRules(ISSUER, RESOURCE), SigningKeys(ISSUER, None))
    assert isinstance(verifier.identify(token), Problem)


def test_what_is_meant_to_be_a_jwt():
    assert looks_like_jwt(TOKEN)
    for other in (b"flk_abc", b"eyJhbGciOiJub25lIn0.e30", b"", b"a.b.c"):
        assert not looks_like_jwt(other)


# -- keys that go -----------------------------------------------------------------------------------------


async def test_what_a_withdrawn_key_has_signed_ends_at_once():
    with AuthorizationServer(keys=[ec("a"), ec("b")]) as server:
        keys = SigningKeys(server.issuer, server.jwks)
        await keys.read()
        verifier = JwtVerifier(TokenRules(server.issuer, RESOURCE), keys)
        by_a, by_b = server.token(server.keys[0]), server.token(server.keys[1])
        first, second = caller(verifier, by_a), caller(verifier, by_b)
        server.keys = [server.keys[1], ec("c")]
        await keys.read()
        assert not verifier.is_valid(first)
        assert isinstance(verifier.identify(by_a), Problem)
        assert verifier.is_valid(second)
        assert caller(verifier, by_b) is second
        server.keys = [ec("b")]  # another key by the same name
        await keys.read()
        assert not verifier.is_valid(second)
        assert "signature" in problem(verifier, by_b)


async def test_callers_of_others_are_not_valid(verifier: JwtVerifier):
    for credential in ("", "key:1", "local", "jwt:", "jwt:aa:bb", "web:jwt:x"):
        assert not verifier.is_valid(Caller("oauth:x", Role.ADMIN, (), credential, 9e9))
