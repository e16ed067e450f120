"""The audit of the real service: each call, each change and each refusal is in it, and says who it was."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.model.access import Role
from support.stack import TOKEN, Stack, light, running

Record = dict[str, Any]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"a": light(), "b": light()}) as stack:
        yield stack


async def found(stack: Stack, count: int = 1, **wanted: str) -> list[Record]:
    """The records that fit, oldest first, as soon as there are so many."""
    for _ in range(600):
        answer = await stack.rest("GET", "/api/audit", params=wanted)
        assert answer.status_code == 200, answer.text
        records = answer.json()["records"]
        if len(records) >= count:
            assert len(records) == count, records
            return records[::-1]
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {count} records of {wanted}: {records}")


def of(record: Record, *names: str) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in names)


WHO = ("principal", "credential")
WHAT = ("kind", "action", "server", "tool", "outcome")


async def test_calls_of_both_eras_and_of_rest_are_recorded(stack):
    key = await stack.key("ada", Role.DEVELOPER)
    legacy, modern = await stack.session(token=key), stack.modern("/servers/b/mcp", token=key)
    await legacy.call("a__echo", text="hi")
    await legacy.call("a__fail")
    await modern.call("echo", text="hi")
    body = {"server": "b", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}
    assert (await stack.rest("POST", "/api/request", json=body)).status_code == 200

    records = await found(stack, 4, kind="call")
    assert [of(r, "server", "tool", "outcome") for r in records] == [
        ("a", "echo", "ok"),
        ("a", "fail", "tool_error"),
        ("b", "echo", "ok"),
        ("b", "echo", "ok"),
    ]
    assert [r["principal"] for r in records] == ["ada", "ada", "ada", "env"]
    assert records[0]["credential"].startswith("key:")
    digest = "sha256:" + sha256(b'{"text":"hi"}').hexdigest()
    assert [r.get("arguments") for r in (records[0], records[2], records[3])] == [digest] * 3
    for record in records:
        assert record["instance"].startswith(record["server"] + "-")
        assert record["action"] == "tools/call"
        assert record["node"] == stack.system.state.id()
        assert 0 < record["seconds"] < 60
        assert record["requestBytes"] > 10
        assert record["answerBytes"] > 10
        assert key not in json.dumps(record)


async def test_other_requests_to_servers_are_recorded_with_what_they_are_about(stack):
    client = stack.modern("/servers/a/mcp")
    resources = (await client.ask("resources/list"))["result"]["resources"]
    await client.ask("resources/read", {"uri": resources[0]["uri"]})
    prompts = (await client.ask("prompts/list"))["result"]["prompts"]
    await client.ask("prompts/get", {"name": prompts[0]["name"], "arguments": {}})
    records = await found(stack, 2, kind="call")
    assert [of(r, "action", "tool") for r in records] == [
        ("resources/read", resources[0]["uri"]),
        ("prompts/get", prompts[0]["name"]),
    ]


async def test_changes_by_rest_are_recorded_whether_they_succeed_or_not(stack):
    assert (await stack.rest("POST", "/api/servers/a/restart")).status_code == 200
    assert (await stack.rest("POST", "/api/servers/nope/stop")).status_code == 404
    assert (await stack.rest("PUT", "/api/fleet", json={"version": 7})).status_code in (409, 412, 422, 428)
    assert (await stack.rest("GET", "/api/servers")).status_code == 200
    restart, stop, put = await found(stack, 3, kind="change")
    assert of(restart, *WHAT, *WHO) == (
        "change",
        "POST /api/servers/a/restart",
        "a",
        None,
        "ok",
        "env",
        restart["credential"],
    )
    assert re.fullmatch("env:[0-9a-f]{8}", restart["credential"])
    assert of(stop, "action", "outcome") == ("POST /api/servers/nope/stop", "unknown-server")
    assert put["action"] == "PUT /api/fleet"
    assert put["outcome"] not in ("ok", str(put["detail"]["status"]))
    assert put["requestBytes"] == len(b'{"version":7}')
    assert restart["peer"] == "127.0.0.1"
    assert len(restart["requestId"]) == 32


@pytest.mark.parametrize("path", ["/api/servers", "/mcp"])
async def test_whoever_is_not_let_in_is_recorded_by_either_lane(stack, path):
    async with httpx.AsyncClient() as http:
        bad = {"Authorization": "Bearer flk_not-a-key-0123456789"}
        assert (await http.post(stack.url + path)).status_code == 401
        assert (await http.post(stack.url + path, headers=bad)).status_code == 401
        assert (await http.post(stack.url + path, headers={"Host": "evil.example"})).status_code == 421
    records = await found(stack, 3, kind="refusal")
    assert [r["outcome"] for r in records] == ["missing-token", "invalid-token", "foreign-host"]
    for record in records:
        assert of(record, "action", "peer", *WHO) == (f"POST {path}", "127.0.0.1", None, None)
        assert "not-a-key" not in json.dumps(record)


async def test_what_a_principal_may_not_do_is_recorded_with_its_name(stack):
    key = await stack.key("bob", Role.VIEWER)
    headers = {"Authorization": f"Bearer {key}"}
    assert (await stack.rest("POST", "/api/servers/a/stop", headers=headers)).status_code == 403
    client = await stack.session(token=key)
    assert "error" in await client.call("a__echo", text="hi")
    records = await found(stack, 2, kind="refusal", principal="bob")
    assert [r["action"] for r in records] == ["POST /api/servers/a/stop", "tools/call"]
    assert records[1]["tool"] == "a__echo"
    assert all(r["credential"].startswith("key:") for r in records)
    assert await found(stack, 0, kind="call") == []


async def test_a_request_that_no_server_can_get_is_a_refusal(stack):
    client = stack.modern()
    assert "error" in await client.call("nope")
    assert "error" in await client.ask("no/such/method")
    json_headers = client.headers | {"Content-Type": "application/json"}
    answer = await client.stack.http.post(client.url, headers=json_headers, content=b"{")
    assert "error" in answer.json()
    records = await found(stack, 3, kind="refusal")
    assert [of(r, "action", "tool", "principal") for r in records] == [
        ("tools/call", "nope", "env"),
        ("no/such/method", None, "env"),
        (None, None, "env"),
    ]


async def test_a_flood_of_refusals_becomes_few_records_that_count_all(stack):
    async with httpx.AsyncClient() as http:
        for _ in range(60):
            await http.get(stack.url + "/api/servers")
    await stack.system.kept.audit._flush(last=True)
    records = await found(stack, 21, kind="refusal")
    assert sum(record["detail"].get("count", 1) for record in records) == 60


async def test_start_and_stop_are_recorded(tmp_path):
    for _ in range(2):
        async with running(tmp_path, {"a": light()}) as stack:
            records = await stack.rest("GET", "/api/audit", params={"kind": "system", "limit": 10})
    told = [record["action"] for record in records.json()["records"]]
    assert told[-2:] == ["service stopped", "service started"]
    assert "run not ended" not in told


async def test_the_audit_is_for_administrators(stack):
    key = await stack.key("olga", Role.OPERATOR)
    answer = await stack.rest("GET", "/api/audit", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403
    assert TOKEN not in (await stack.rest("GET", "/api/audit")).text


async def test_searches_are_bounded_and_checked(stack):
    for query in ({"limit": 0}, {"limit": 1001}, {"kind": "x"}, {"since": -1}, {"since": "nan"}, {"what": 1}):
        answer = await stack.rest("GET", "/api/audit", params=query)
        assert answer.status_code == 422, query


async def test_large_and_many_arguments_leave_no_memory_behind(stack):
    client = stack.modern("/servers/a/mcp")
    for _ in range(5):
        answer = await client.call("echo", text="x" * 1_000_000)
        assert "result" in answer
    records = await found(stack, 5, kind="call")
    assert {r["arguments"] for r in records} == {
        "sha256:" + sha256(b'{"text":"%b"}' % (b"x" * 1_000_000)).hexdigest()
    }
    assert stack.system.kept.audit.statistics()["bytes"] == 0
