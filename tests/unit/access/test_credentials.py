"""Upstream credentials: sealed, renewed, and nobody else's, against a real little authorization server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from fairlead.access.credentials import Credentials, OAuthClient
from fairlead.kit.fetch import fetch
from fairlead.model.errors import Problem, ProblemError
from fairlead.ports import StoreAwayError
from support.authorization_server import AuthorizationServer
from support.browsers import MemorySessions

SECRET = "ghp_value-of-a-header"


class Rig:
    def __init__(self) -> None:
        self.store = MemorySessions()
        self.now = time.time()
        self.changes = 0
        self.credentials = self.another()

    def another(self, key: bytes = b"k" * 32) -> Credentials:
        """Of another process, or with another key."""
        return Credentials(self.store, key, self._changed, now=lambda: self.now)  # type: ignore[arg-type]

    async def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as running:
        yield running


def token_answer(token: str = "at-1", **more: Any) -> dict[str, Any]:
    return {"access_token": token, "token_type": "Bearer", "expires_in": 600} | more


def oauth(server: AuthorizationServer, **more: Any) -> OAuthClient:
    return OAuthClient(server.address + "/token", **({"client_id": "fl", "refresh_token": "rt-1"} | more))


async def refusal(
    credentials: Credentials, principal: str = "ada", server: str = "s", **more: Any
) -> Problem:
    with pytest.raises(ProblemError) as refused:
        await credentials.get(principal, server, **more)
    return refused.value.problem


async def test_headers_come_back_to_instances_alone(rig: Rig):
    await rig.credentials.put_headers("ada", "s", {"Authorization": SECRET})
    assert rig.changes == 1
    got = await rig.credentials.get("ada", "s")
    assert (got.headers, got.expires, got.version) == ({"Authorization": SECRET}, None, rig.now)
    assert await rig.credentials.describe("ada", "s") == ("headers", rig.now)
    assert SECRET not in repr(got)
    assert SECRET.encode() not in rig.store.sealed["ada", "s"]


async def test_one_that_is_missing_says_how_to_give_it(rig: Rig):
    await rig.credentials.put_headers("ada", "s", {"X": "1"})
    for principal, server in (("bob", "s"), ("ada", "t"), ("ada", "")):
        problem = await refusal(rig.credentials, principal, server)
        assert problem.code == "missing-credential"
        assert f"PUT /api/credentials/{server}" in problem.detail
        assert await rig.credentials.version(principal, server) is None
    assert await rig.credentials.remove("ada", "s")
    assert not await rig.credentials.remove("ada", "s")
    assert await rig.credentials.describe("ada", "s") is None


async def test_a_row_is_good_in_its_own_place_alone(rig: Rig):
    """Whoever can write to the database cannot give one principal the credential of another."""
    await rig.credentials.put_headers("ada", "s", {"Authorization": SECRET})
    sealed = rig.store.sealed["ada", "s"]
    for place in (("eve", "s"), ("ada", "t"), ('ada", "s', "x")):
        rig.store.sealed[place] = sealed
        assert (await refusal(rig.credentials, *place)).code == "missing-credential"
    for damaged in (sealed[:-2], b"", b"\xff", sealed[::-1]):
        rig.store.sealed["ada", "s"] = damaged
        assert "cannot be read any more" in (await refusal(rig.credentials)).detail
    rig.store.sealed["ada", "s"] = sealed
    assert (await refusal(rig.another(b"x" * 32))).code == "missing-credential"


async def test_an_access_token_is_got_once_and_renewed_before_its_end(rig: Rig, server: AuthorizationServer):
    server.grants["refresh_token"] = (200, token_answer())
    await rig.credentials.put_oauth("ada", "s", oauth(server, scope="read write"))
    first = await rig.credentials.get("ada", "s")
    assert first.headers == {"Authorization": "Bearer at-1"}
    assert first.expires == rig.now + 600
    assert server.forms == [
        {"grant_type": "refresh_token", "refresh_token": "rt-1", "scope": "read write", "client_id": "fl"}
    ]
    rig.now += 539
    assert (await rig.another().get("ada", "s")).headers == first.headers  # of the other process, too
    assert len(server.forms) == 1
    rig.now += 2
    server.grants["refresh_token"] = (200, token_answer("at-2"))
    again = await rig.credentials.get("ada", "s")
    assert again.headers == {"Authorization": "Bearer at-2"}
    assert again.version == first.version  # its owner has changed nothing
    assert len(server.forms) == 2


async def test_one_that_was_refused_is_renewed_at_once(rig: Rig, server: AuthorizationServer):
    server.grants["refresh_token"] = (200, token_answer())
    await rig.credentials.put_oauth("ada", "s", oauth(server))
    await rig.credentials.get("ada", "s")
    await rig.credentials.get("ada", "s", renew=True)
    assert len(server.forms) == 2


async def test_a_refresh_token_may_be_good_once(rig: Rig, server: AuthorizationServer):
    used: list[str] = []

    def grant(form: dict[str, str]) -> dict[str, Any]:
        assert form["refresh_token"] not in used, "a used one ends them all"
        used.append(form["refresh_token"])
        return token_answer(f"at-{len(used)}", refresh_token=f"rt-{len(used) + 1}")

    server.grants["refresh_token"] = (200, grant)
    await rig.credentials.put_oauth("ada", "s", oauth(server))
    await asyncio.gather(*(rig.credentials.get("ada", "s") for _ in range(5)))
    assert used == ["rt-1"]
    await rig.credentials.get("ada", "s", renew=True)
    assert used == ["rt-1", "rt-2"]


async def test_another_process_may_have_been_faster(rig: Rig, server: AuthorizationServer):
    other = rig.another()
    await rig.credentials.put_oauth("ada", "s", oauth(server))

    async def faster() -> None:
        server.grants["refresh_token"] = (200, token_answer("at-2", refresh_token="rt-2"))
        await other.get("ada", "s", renew=True)

    find = rig.credentials._find
    looks = 0

    async def slowly(principal: str, name: str) -> Any:
        nonlocal looks
        looks += 1
        found = await find(principal, name)
        if looks == 1:  # between our look and our asking
            await faster()
            server.grants["refresh_token"] = (400, {"error": "invalid_grant"})
        return found

    rig.credentials._find = slowly  # type: ignore[method-assign]
    got = await rig.credentials.get("ada", "s")
    assert got.headers == {"Authorization": "Bearer at-2"}


async def test_a_client_with_a_secret_and_no_refresh_token(rig: Rig, server: AuthorizationServer):
    server.grants["client_credentials"] = (200, token_answer(expires_in=None) | {"expires_in": 3600.5})
    client = oauth(server, client_id="a:b", client_secret="p&q=", refresh_token=None)
    await rig.credentials.put_oauth("ada", "s", client)
    await rig.credentials.get("ada", "s")
    assert server.forms == [{"grant_type": "client_credentials", "basic": "a%3Ab:p%26q%3D"}]


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refusal_of_the_authorization_server(rig: Rig, server: AuthorizationServer, status: int):
    answer = {"error": "invalid_grant", "error_description": "s3cret words"}
    server.grants["refresh_token"] = (status, answer)
    await rig.credentials.put_oauth("ada", "s", oauth(server, client_secret=SECRET))
    problem = await refusal(rig.credentials)
    assert (problem.code, problem.status) == ("missing-credential", 503)
    assert "(invalid_grant)" in problem.detail
    for secret in (SECRET, "rt-1", "s3cret"):
        assert secret not in problem.detail


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, {"error": "<script>"}), (400, {"error": 7}), (403, ["x"]), (404, {}), (429, {}), (500, {}),
        (500, {"error": "invalid_grant"}), (302, {}), (200, {}), (200, []),
        (200, token_answer("a b")), (200, token_answer("a\r\nX: y")), (200, token_answer(token_type="DPoP")),
        (200, token_answer(token_type=None)), (200, token_answer(expires_in=-1)),
        (200, token_answer(expires_in="600")), (200, token_answer(expires_in=1e12)),
        (200, token_answer(refresh_token=7)),
    ],
)  # fmt: skip
async def test_other_answers_tell_no_more_than_none(
    rig: Rig, server: AuthorizationServer, status: int, answer: Any
):
    server.grants["refresh_token"] = (status, answer)
    await rig.credentials.put_oauth("ada", "s", oauth(server, client_secret=SECRET))
    problem = await refusal(rig.credentials)
    assert problem == await nobody_there(rig)


async def nobody_there(rig: Rig) -> Problem:
    """What its owner is told of a token URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = OAuthClient(f"http://127.0.0.1:{port}/token", "c", client_secret=SECRET, refresh_token="rt-1")
    await rig.credentials.put_oauth("eve", "s", client)
    with capture_logs() as logs:
        problem = await refusal(rig.credentials, "eve")
    assert (problem.code, problem.status) == ("token-unavailable", 503)
    assert "tokenUrl" in problem.detail
    (logged,) = logs
    assert f"127.0.0.1:{port}/token: cannot connect" in logged["reason"], "an administrator learns why"
    for secret in (SECRET, "rt-1"):
        assert secret not in problem.detail + str(logs)
    return problem


@pytest.mark.parametrize("does", ["closes", "says nothing", "is not HTTP", "resets"])
async def test_whoever_gives_a_token_url_does_not_learn_what_is_at_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, does: str
):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if does == "is not HTTP":
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        elif does == "says nothing":
            await reader.read()  # until we give up
        if does == "resets":
            writer.transport.abort()
        else:
            writer.close()

    if does == "says nothing":
        monkeypatch.setattr(fetch, "__kwdefaults__", fetch.__kwdefaults__ | {"timeout": 0.2})
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        await rig.credentials.put_oauth("ada", "s", OAuthClient(f"http://127.0.0.1:{port}/t", "c"))
        assert await refusal(rig.credentials) == await nobody_there(rig)


@pytest.mark.parametrize(
    "url", ["http://evil.example/t", "ftp://x/t", "https://u:p@x/t", "https://x/t#f", "x", ""]
)
async def test_token_urls_that_are_not_asked(rig: Rig, url: str):
    with pytest.raises(ValueError, match=r"URL|https|credentials"):
        await rig.credentials.put_oauth("ada", "s", OAuthClient(url, "c"))
    assert not rig.store.sealed


async def test_while_the_store_is_away(rig: Rig):
    await rig.credentials.put_headers("ada", "s", {"X": "1"})
    rig.store.away = True
    problem = await refusal(rig.credentials)
    assert (problem.code, problem.status) == ("store-unavailable", 503)
    with pytest.raises(StoreAwayError):
        await rig.credentials.put_headers("ada", "s", {"X": "2"})


def test_no_secret_is_in_a_repr(rig: Rig, server: AuthorizationServer):
    client = oauth(server, client_secret=SECRET, refresh_token=SECRET, access_token=SECRET)
    assert SECRET not in repr(client)
    assert "k" * 8 not in repr(rig.credentials)


async def test_what_was_never_given_costs_nothing_to_take_back(rig: Rig):
    """Any developer may ask for it, for any name of a server."""
    for number in range(100):
        assert not await rig.credentials.remove("ada", f"made-up-{number}")
    assert rig.changes == 0
    assert len(rig.credentials._locks) == 0


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_host_that_cannot_be_one_is_a_problem_and_no_fault_of_ours(rig: Rig, host: str):
    await rig.credentials.put_oauth("ada", "s", OAuthClient(f"https://{host}/token", "fl"))
    problem = await refusal(rig.credentials)
    assert problem.code == "token-unavailable"
    assert "check `tokenUrl`" in problem.detail
