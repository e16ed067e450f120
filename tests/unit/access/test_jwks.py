"""The signing keys of a server that rotates them, is slow, away, broken, or somebody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OctKey

from fairlead.access import jwks
from fairlead.access.jwks import COOLDOWN, MAX_ASKED, STALE, SigningKeys
from fairlead.model.errors import Problem
from support.authorization_server import AuthorizationServer, ec, rsa
from support.until import until


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def status(keys: SigningKeys, kid: str | None = "k1", algorithm: str = "ES256") -> int:
    found = keys.find(kid, algorithm)
    return found.status if isinstance(found, Problem) else 200


async def test_before_they_are_read_a_client_comes_again():
    keys = SigningKeys("https://login.example", None)
    found = keys.find("k1", "ES256")
    assert isinstance(found, Problem)
    assert (found.status, found.code, found.retry_after) == (503, "keys-unavailable", 1.0)


async def test_the_issuers_metadata_says_where_they_are():
    with AuthorizationServer() as server:
        keys = SigningKeys(server.issuer, None)
        assert await keys.read() == 600.0
        assert status(keys) == 200
        assert server.asked == ["/.well-known/oauth-authorization-server/tenant", "/keys"]


async def test_metadata_of_another_issuer_is_not_believed():
    with AuthorizationServer(issuer_said="https://evil.example") as server:
        keys = SigningKeys(server.issuer, None)
        assert await keys.read() is None
        assert "it is not about" in repr(keys)
        assert "/keys" not in server.asked


@pytest.mark.parametrize(
    ("said", "pause"),
    [("", 600), ("max-age=120", 120), ("public, max-age=5", 60), ("max-age=86400", 900),
     ("s-max-age=70", 600), ("max-age=x", 600), ("no-store", 600)],
)  # fmt: skip
async def test_how_long_they_may_be_kept(said: str, pause: float):
    with AuthorizationServer(cache_control=said) as server:
        assert await SigningKeys(server.issuer, server.jwks).read() == pause


async def test_a_new_key_is_a_reason_to_look_and_never_a_false_401():
    clock = Clock()
    with AuthorizationServer() as server:
        keys = SigningKeys(server.issuer, server.jwks, now=clock)
        await keys.read()
        clock.now += 1
        server.keys.append(ec("k2"))
        assert status(keys, "k2") == 503
        clock.now += COOLDOWN
        await keys.read()
        assert status(keys, "k2") == 200
        assert status(keys, "k1") == 200


async def test_a_key_that_nobody_publishes_is_refused_after_a_look():
    clock = Clock()
    with AuthorizationServer() as server:
        keys = SigningKeys(server.issuer, server.jwks, now=clock)
        await keys.read()
        clock.now += 3
        found = keys.find("k9", "ES256")
        assert isinstance(found, Problem)
        assert (found.status, found.retry_after) == (503, COOLDOWN - 3)
        clock.now += 1
        await keys.read()
        assert status(keys, "k9") == 401
        clock.now += COOLDOWN + 1  # by now it may be there
        assert status(keys, "k9") == 503
        server.keys.append(ec("k9"))
        clock.now += 1
        await keys.read()
        assert status(keys, "k9") == 200


async def test_a_key_that_was_withdrawn_is_refused_at_once():
    clock = Clock()
    with AuthorizationServer(keys=[ec("k1"), ec("k2")]) as server:
        keys = SigningKeys(server.issuer, server.jwks, now=clock)
        withdrawn: list[str] = []
        keys.on_withdrawn = lambda: withdrawn.append(repr(keys))
        await keys.read()
        server.keys.pop()
        clock.now += 1
        assert withdrawn == []
        await keys.read()
        assert len(withdrawn) == 1
        assert (status(keys, "k1"), status(keys, "k2")) == (200, 401)
        server.keys.append(ec("k3"))
        await keys.read()
        assert len(withdrawn) == 1


async def test_made_up_keys_cost_no_memory_without_end():
    keys = SigningKeys("https://login.example", None, now=Clock())
    keys._read_at = 999.0
    for number in range(MAX_ASKED + 500):
        assert status(keys, f"made-up-{number}") == 503
    assert len(keys._asked) == MAX_ASKED


@pytest.mark.parametrize(
    "failure",
    ["slow", "drip", "huge", "huge-head", "html", "list", "empty", "cut", "500", "redirect", "not-http"],
)
async def test_a_bad_server_leaves_the_keys_as_they_are(failure: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.kit.fetch.TIMEOUT", 0.3)
    monkeypatch.setattr(jwks.fetch, "__kwdefaults__", jwks.fetch.__kwdefaults__ | {"timeout": 0.3})
    clock = Clock()
    with AuthorizationServer() as server, AuthorizationServer(keys=[ec("evil")]) as elsewhere:
        server.elsewhere = elsewhere.jwks
        keys = SigningKeys(server.issuer, server.jwks, now=clock)
        await keys.read()
        server.failure = failure
        assert await keys.read() is None
        assert server.jwks in repr(keys)
        assert status(keys) == 200
        assert elsewhere.asked == []  # a redirect leads nowhere
        clock.now += STALE + 1
        assert status(keys) == 503  # what was not heard of for so long may have been withdrawn
        server.failure = ""
        await keys.read()
        assert status(keys) == 200


async def test_a_server_that_is_away():
    with AuthorizationServer() as server:
        keys = SigningKeys(server.issuer, server.jwks)
    assert await keys.read() is None
    assert "cannot connect" in repr(keys)
    assert status(keys) == 503


def weird_keys() -> list[Any]:
    private = ECKey.generate_key("P-256", {"kid": "private"}).as_dict(private=True)
    return [
        7, "x", None, [], {}, {"kty": "nonsense", "kid": "a"}, {"kty": 7}, {"kty": "EC", "kid": "b"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny"}, {"kty": "RSA", "n": "!", "e": 7, "kid": "c"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "not-on-curve"},
        {"kty": "EC", "crv": "nonsense", "x": "AAAA", "y": "AAAA", "kid": "d"},
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True), private,
        rsa("small", 1024).as_dict(private=False),
        ec("other").as_dict(private=False) | {"kid": 7},
        ec("enc").as_dict(private=False) | {"use": "enc"},
        ec("sign").as_dict(private=False) | {"key_ops": ["sign"]},
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Key size should be")
async def test_bad_keys_do_not_spoil_the_good_one():
    with AuthorizationServer(extra_keys=weird_keys()) as server:
        keys = SigningKeys(server.issuer, server.jwks)
        await keys.read()
        assert status(keys) == 200
        assert set(keys._keys) <= {"k1", "enc", "sign"}
        for kid in ("enc", "sign"):  # not for checking signatures
            assert status(keys, kid) == 401


async def test_the_first_of_two_by_the_same_name_counts():
    first, second = ec("k1"), ec("k1")
    with AuthorizationServer(keys=[first, second]) as server:
        keys = SigningKeys(server.issuer, server.jwks)
        await keys.read()
        found = keys.find("k1", "ES256")
        assert isinstance(found, Key)
        assert found.thumbprint() == first.thumbprint()


async def test_it_keeps_them_fresh_and_looks_no_more_often_than_it_may(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jwks, "COOLDOWN", 0.2)
    monkeypatch.setattr(jwks, "_FIRST_RETRY", 0.01)
    with AuthorizationServer(failure="500") as server:
        keys = SigningKeys(server.issuer, server.jwks)
        running = asyncio.create_task(keys.run())
        try:
            await until(lambda: len(server.asked) >= 2)
            server.failure = ""
            await until(lambda: status(keys) == 200)
            server.keys.append(ec("k2"))
            before, began = len(server.asked), keys._now()
            await until(lambda: status(keys, "k2") == 200)
            for number in range(200):
                assert status(keys, f"made-up-{number}") == 503
                await asyncio.sleep(0.001)
            looks, took = len(server.asked) - before, keys._now() - began
            assert looks <= took / 0.2 + 2
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
