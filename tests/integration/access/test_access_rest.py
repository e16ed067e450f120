"""Principals and keys over REST: who may make what, for whom, and what then is in force."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION
from fairlead.model.access import Grant, Role
from support.hearing import hearing
from support.stack import light, running, until


@pytest.fixture
async def stack(tmp_path):
    async with running(tmp_path, {"old": light(), "new": light("--era", "modern")}) as found:
        yield found


async def send(stack, token, method, path, body=None):
    headers = {"Authorization": f"Bearer {token}"}
    return await stack.http.request(method, stack.url + path, headers=headers, json=body)


async def test_from_a_principal_to_a_call_and_back(stack):
    made = await stack.rest("PUT", "/api/principals/ada", json={"role": "developer"})
    assert made.status_code == 200
    assert made.json() == {
        "name": "ada", "role": "developer", "grants": [], "disabled": False, "created": made.json()["created"]
    }  # fmt: skip
    new = await stack.rest("POST", "/api/keys", json={"principal": "ada", "label": "laptop", "expiresIn": 60})
    assert new.status_code == 201
    key = new.json()
    assert key["key"].startswith("flk_")
    assert key["expires"] == pytest.approx(time.time() + 60, abs=20)
    assert await stack.modern(token=key["key"]).text("old__echo", text="hi") == "hi"
    me = (await send(stack, key["key"], "GET", "/api/me")).json()
    assert (me["principal"], me["role"], me["credential"]) == ("ada", "developer", f"key:{key['id']}")
    listed = (await stack.rest("GET", "/api/keys?principal=ada")).json()["keys"]
    assert [each["id"] for each in listed] == [key["id"]]
    assert key["key"] not in str(listed)
    assert "digest" not in str(listed)
    assert (await stack.rest("DELETE", f"/api/keys/{key['id']}")).status_code == 204
    assert (await send(stack, key["key"], "GET", "/api/me")).status_code == 401
    assert (await stack.rest("DELETE", "/api/principals/ada")).status_code == 204
    assert (await stack.rest("DELETE", "/api/principals/ada")).status_code == 404
    assert (await stack.rest("GET", "/api/principals")).json() == {"principals": []}


async def test_a_developer_makes_keys_of_his_own_and_no_others(stack):
    ada, bob = await stack.key("ada", Role.DEVELOPER), await stack.key("bob", Role.ADMIN)
    bobs = (await stack.rest("GET", "/api/keys?principal=bob")).json()["keys"][0]["id"]
    own = await send(stack, ada, "POST", "/api/keys", {"label": "own"})
    assert own.status_code == 201
    assert (await send(stack, own.json()["key"], "GET", "/api/me")).json()["role"] == "developer"
    for principal in ("bob", "nonesuch", "local"):
        refused = await send(stack, ada, "POST", "/api/keys", {"principal": principal})
        assert refused.status_code == 403
    for body in ({"role": "admin"}, {"grants": []}, {"principal": "ada", "scope": "x"}):
        assert (await send(stack, ada, "POST", "/api/keys", body)).status_code == 422
    assert (await send(stack, ada, "GET", "/api/keys?principal=bob")).status_code == 403
    listed = (await send(stack, ada, "GET", "/api/keys")).json()["keys"]
    assert {each["principal"] for each in listed} == {"ada"}
    assert (await send(stack, ada, "DELETE", f"/api/keys/{bobs}")).status_code == 404
    assert (await send(stack, bob, "GET", "/api/me")).status_code == 200
    assert (await send(stack, ada, "DELETE", f"/api/keys/{own.json()['id']}")).status_code == 204


async def test_an_administrator_whose_grants_choose_cannot_widen_them(stack):
    chosen = await stack.key("ada", Role.ADMIN, Grant(servers=("old",)))
    assert (await send(stack, chosen, "PUT", "/api/principals/ada", {"role": "admin"})).status_code == 403
    assert (await send(stack, chosen, "POST", "/api/keys", {"principal": "bob"})).status_code == 403
    assert (await send(stack, chosen, "PUT", "/api/fleet", {})).status_code == 403
    mine = await send(stack, chosen, "POST", "/api/keys", {})
    me = (await send(stack, mine.json()["key"], "GET", "/api/me")).json()
    assert me["grants"] == [{"effect": "allow", "servers": ["old"], "toolsets": ["*"], "tools": ["*"]}]


@pytest.mark.parametrize("name", ["local", "env", "oauth:ada", "A", "%2e%2e", "a%20b", "a" * 64, "a%00"])
async def test_names_that_could_be_mistaken(stack, name):
    made = await stack.rest("PUT", f"/api/principals/{name}", json={"role": "viewer"})
    assert made.status_code == 422
    assert (await stack.rest("POST", "/api/keys", json={"principal": "local"})).status_code == 404


async def test_whoever_is_not_kept_here_has_no_keys(stack):
    refused = await stack.rest("POST", "/api/keys", json={})
    assert refused.status_code == 404
    assert "'env'" in refused.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"role": "root"}, {"role": 4}, {"role": "viewer", "x": 1}, {"role": "viewer", "grants": {}},
        {"role": "viewer", "grants": [{"effect": "maybe"}]}, {"role": "viewer", "grants": [{"servers": []}]},
        {"role": "viewer", "grants": [{"servers": "old"}]}, {"role": "viewer", "grants": [{"servers": [""]}]},
    ],
)  # fmt: skip
async def test_bad_principals_change_nothing(stack, body):
    assert (await stack.rest("PUT", "/api/principals/ada", json=body)).status_code == 422
    assert (await stack.rest("GET", "/api/principals")).json() == {"principals": []}


@pytest.mark.parametrize("seconds", [0, -1, 1e12, "60", None])
async def test_the_end_of_a_key(stack, seconds):
    await stack.key("ada", Role.VIEWER)
    made = await stack.rest("POST", "/api/keys", json={"principal": "ada", "expiresIn": seconds})
    assert made.status_code == (201 if seconds is None else 422)


async def test_a_key_of_ones_own_ends_no_later_than_what_it_is_made_with(stack):
    await stack.key("ada", Role.ADMIN)
    ending = (await stack.rest("POST", "/api/keys", json={"principal": "ada", "expiresIn": 300})).json()
    for body in ({}, {"expiresIn": None}, {"expiresIn": 300}, {"expiresIn": 9000}, {"principal": "ada"}):
        refused = await send(stack, ending["key"], "POST", "/api/keys", body)
        assert refused.status_code == 422
        (error,) = refused.json()["errors"]
        assert error["where"] == "body.expiresIn"
        assert "outlive" in error["what"]
        assert "less than" in error["how"]
    made = await send(stack, ending["key"], "POST", "/api/keys", {"expiresIn": 60})
    assert made.json()["expires"] == pytest.approx(time.time() + 60, abs=30)
    keys = (await send(stack, ending["key"], "GET", "/api/keys?principal=ada")).json()["keys"]
    assert len(keys) == 3, "what was refused made none"
    await stack.key("bob", Role.VIEWER)
    for_bob = await send(stack, ending["key"], "POST", "/api/keys", {"principal": "bob"})
    assert for_bob.json()["expires"] is None


async def test_changes_are_events(stack):
    await stack.rest("PUT", "/api/principals/ada", json={"role": "viewer"})
    key = (await stack.rest("POST", "/api/keys", json={"principal": "ada"})).json()
    events = []
    async with asyncio.timeout(10):
        while len(events) < 2:
            page = await stack.rest("GET", "/api/events?type=access-changed")
            events = page.json()["events"]
    assert [event["data"]["change"] for event in events] == ["principal added", f"key {key['id']} added"]
    assert {event["data"]["by"] for event in events} == {"env"}
    assert key["key"] not in str(events)


# -- the end of what is open ---------------------------------------------------------------------------


async def test_a_revoked_key_ends_calls_streams_and_sessions(stack):
    await stack.key("ada", Role.DEVELOPER)
    roster = stack.system.access.roster
    doomed, other = [await roster.add_key("ada", by="t") for _ in range(2)]
    gateway = stack.system.gateway
    session = await stack.session(token=doomed.value)
    staying = await stack.session(token=other.value)
    modern = stack.modern(token=doomed.value)
    call = asyncio.create_task(modern.call("new__sleep", seconds=60))
    legacy_call = asyncio.create_task(session.call("old__sleep", seconds=60))
    wanted = {"toolsListChanged": True}
    async with hearing(session), hearing(staying), hearing(modern, wanted):
        await until(lambda: gateway.in_flight == 2)
        assert gateway.known_heads
        await roster.revoke_key(doomed.key.id, by="t")
        assert (await session.post(session.message("ping"))).status_code == 401
        assert (await modern.post(modern.message("tools/list"))).status_code == 401
        async with asyncio.timeout(5):
            assert "error" in await call
            assert "error" in await legacy_call
        await until(lambda: gateway.in_flight == 0)
        assert [each.id for each in gateway.sessions] == [staying.headers["Mcp-Session-Id"]]
        assert (await staying.ask("ping"))["result"] == {}


async def test_a_revoked_key_ends_requests_over_rest(stack):
    await stack.key("ada", Role.DEVELOPER)
    roster = stack.system.access.roster
    doomed, other = [await roster.add_key("ada", by="t") for _ in range(2)]
    params = {"name": "sleep", "arguments": {"seconds": 60}}
    call = {"server": "old", "method": "tools/call", "params": params}
    ended = asyncio.create_task(send(stack, doomed.value, "POST", "/api/request", call))
    staying = asyncio.create_task(send(stack, other.value, "POST", "/api/request", call))

    def in_flight() -> int:
        return sum(each.calls_in_flight for each in stack.system.fleet.server("old").instances)

    await until(lambda: in_flight() == 2)
    await roster.revoke_key(doomed.key.id, by="t")
    async with asyncio.timeout(5):
        assert (await ended).status_code == 401
        await until(lambda: in_flight() == 1)
    assert not staying.done()
    staying.cancel()


async def test_a_key_that_ends_by_itself_ends_what_it_opened(stack):
    await stack.key("ada", Role.DEVELOPER)
    roster = stack.system.access.roster
    ending = await roster.add_key("ada", by="t", expires=time.time() + 2.5)
    modern = stack.modern(token=ending.value)
    call = asyncio.create_task(modern.call("new__sleep", seconds=60))
    await until(lambda: stack.system.gateway.in_flight == 1)
    for _ in range(2):
        assert (await modern.post(modern.message("tools/list"))).status_code == 200
    modern.number = 0  # so that all requests have the very same head
    async with asyncio.timeout(10):
        while (await modern.post(modern.message("tools/list"))).status_code != 401:
            assert time.time() < ending.key.expires + 1.5, "a known head has outlived its key"
            modern.number = 0
            if time.time() < ending.key.expires - 0.5:
                heads = stack.system.gateway.known_heads.values()
                assert [head.principal for head in heads].count("ada") == 2  # the call's, the list's
            await asyncio.sleep(0.05)
        assert "error" in await call
    assert time.time() >= ending.key.expires


async def test_a_get_stream_of_a_revoked_key_ends_though_its_principal_stays(stack):
    await stack.key("ada", Role.DEVELOPER)
    roster = stack.system.access.roster
    first, second = [await roster.add_key("ada", by="t") for _ in range(2)]
    session = await stack.session(token=first.value)
    async with stack.http.stream("GET", session.url, headers=session.headers) as stream:
        session.headers["Authorization"] = f"Bearer {second.value}"
        assert (await session.ask("ping"))["result"] == {}  # the session goes on with the other key
        await roster.revoke_key(first.key.id, by="t")
        async with asyncio.timeout(5):
            async for _ in stream.aiter_bytes():
                pass
        assert (await session.ask("ping"))["result"] == {}


@pytest.mark.parametrize("path", ["/mcp", "/api/keys"])
async def test_a_body_that_comes_after_the_revocation_does_nothing(stack, path):
    """Whoever holds requests back, but for their last byte, could else use a key long after its end."""
    token = await stack.key("ada", Role.DEVELOPER)
    [key] = (await stack.rest("GET", "/api/keys?principal=ada")).json()["keys"]
    about = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
    calling = {"name": "old__echo", "arguments": {"text": "hi"}, "_meta": about}
    bodies = {
        "/mcp": json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": calling}).encode(),
        "/api/keys": b'{"label": "for ever"}',
    }
    body = bodies[path]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {stack.url.removeprefix('http://')}\r\n"
        f"Authorization: Bearer {token}\r\nAccept: application/json, text/event-stream\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: old__echo\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    # as a new head, with a part of the body, and cut
    held = [await opened(stack, first) for first in (head, head + body[:-1], head[:30])]
    reader, writer = await opened(stack, head + body)
    assert b" 40" not in await reader.readuntil(b"\r\n")  # a head is known now, where heads are
    held.append(await opened(stack, head + body[:-1]))
    before = len((await stack.rest("GET", "/api/keys?principal=ada")).json()["keys"])
    assert (await stack.rest("DELETE", f"/api/keys/{key['id']}")).status_code == 204
    for (late, sending), rest in zip(held, (body, body[-1:], head[30:] + body, body[-1:]), strict=True):
        sending.write(rest)
        async with asyncio.timeout(20):
            assert b" 401 " in await late.readuntil(b"\r\n")
        sending.close()
    writer.close()
    after, again = await opened(stack, head + body)
    assert b" 401 " in await after.readuntil(b"\r\n")
    again.close()
    assert len((await stack.rest("GET", "/api/keys?principal=ada")).json()["keys"]) == before


async def opened(stack, first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the service has taken these bytes."""
    host, _, port = stack.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first)
    await writer.drain()
    await stack.rest("GET", "/api/me")  # answered after what came before
    return reader, writer
