"""Calls that reach an upstream server with their caller's own credential, through the whole service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from fairlead.orchestrator import apart
from fairlead.orchestrator.apart import DividedPool
from support.authorization_server import AuthorizationServer
from support.stack import TOKEN, LegacySession, Stack, light, running
from support.until import until
from support.who_server import WhoServer

SECRET = "up_secret-of-"


@contextlib.asynccontextmanager
async def stack_with(folder: Path, upstream: WhoServer, **spec: Any) -> AsyncIterator[Stack]:
    server = {"url": upstream.url, "credentials": "principal", "headers": {"Authorization": "for-lists"}}
    async with running(folder, {"who": server | spec, "plain": light()}) as stack:
        yield stack


async def key_of(stack: Stack, name: str) -> str:
    """An API key of a developer who is made for it."""
    made = await stack.rest("PUT", f"/api/principals/{name}", json={"role": "developer"})
    assert made.status_code < 300, made.text
    key = await stack.rest("POST", "/api/keys", json={"principal": name})
    assert key.status_code == 201, key.text
    return str(key.json()["key"])


async def give(stack: Stack, key: str, body: Any, server: str = "who") -> httpx.Response:
    path = f"{stack.url}/api/credentials/{server}"
    return await stack.http.put(path, json=body, headers={"Authorization": f"Bearer {key}"})


def headers(value: str) -> dict[str, Any]:
    return {"headers": {"authorization": value}}


async def as_client(stack: Stack, key: str, *, modern: bool = False) -> LegacySession:
    return stack.modern("/mcp", key) if modern else await stack.session("/mcp", token=key)


def pool(stack: Stack) -> DividedPool:
    found = stack.system.fleet._pools["who"]
    assert isinstance(found, DividedPool)
    return found


async def test_each_principals_calls_go_by_its_own_credential(tmp_path: Path):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            keys = {name: await key_of(stack, name) for name in ("ada", "bob", "eve")}
            for name in ("ada", "bob"):
                answer = await give(stack, keys[name], headers(SECRET + name))
                assert answer.status_code == 200, answer.text
                assert answer.json().keys() == {"server", "kind", "at"}
            for modern in (False, True):
                for name in ("ada", "bob", "ada"):
                    client = await as_client(stack, keys[name], modern=modern)
                    tools = [tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]]
                    assert "who__whoami" in tools
                    texts = await asyncio.gather(*(client.text("who__whoami") for _ in range(5)))
                    assert set(texts) == {SECRET + name}
                    read = await client.ask("resources/list")
                    uri = next(r["uri"] for r in read["result"]["resources"])
                    read = await client.ask("resources/read", {"uri": uri})
                    assert read["result"]["contents"][0]["text"] == SECRET + name
            body = {"server": "who", "method": "tools/call", "params": {"name": "whoami"}}
            for name in ("ada", "bob"):
                auth = {"Authorization": f"Bearer {keys[name]}"}
                answer = await stack.http.post(stack.url + "/api/request", json=body, headers=auth)
                assert answer.json()["result"]["content"][0]["text"] == SECRET + name
            # who has given none is told how to
            for modern in (False, True):
                client = await as_client(stack, keys["eve"], modern=modern)
                refused = await client.call("who__whoami")
                assert "PUT /api/credentials/who" in refused["error"]["message"]
                assert SECRET not in str(refused)
            assert set(pool(stack).owners) == {"ada", "bob", "eve"}
            assert (await client.call("plain__echo", text="hi"))["result"]
            # and each instance's session is of its own credential
            assert set(upstream.sessions.values()) == {"for-lists", SECRET + "ada", SECRET + "bob"}
        assert not upstream.sessions


async def test_it_is_shown_to_nobody(tmp_path: Path, capfd: Any):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            ada, bob = await key_of(stack, "ada"), await key_of(stack, "bob")
            assert (await give(stack, ada, headers(SECRET))).status_code == 200
            client = await as_client(stack, ada)
            await client.text("who__whoami")
            for key in (ada, bob, TOKEN):
                for path in ("/api/credentials/who", "/api/fleet", "/api/config", "/api/servers",
                             "/api/audit", "/metrics", "/api/events", "/api/keys"):  # fmt: skip
                    sent = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
                    answer = await stack.http.get(stack.url + path, headers=sent)
                    assert SECRET not in answer.text, path
            assert (
                await stack.http.get(
                    f"{stack.url}/api/credentials/who", headers={"Authorization": f"Bearer {bob}"}
                )
            ).status_code == 404
            mine = await stack.http.get(
                f"{stack.url}/api/credentials/who", headers={"Authorization": f"Bearer {ada}"}
            )
            assert (mine.status_code, mine.json()["kind"]) == (200, "headers")
            auth = {"Authorization": f"Bearer {ada}"}
            listed = (await stack.http.get(f"{stack.url}/api/credentials", headers=auth)).json()[
                "credentials"
            ]
            assert [(one["server"], one["kind"]) for one in listed] == [("who", "headers")]
            assert SECRET not in repr(pool(stack))
        for file in (tmp_path / "state").rglob("*"):
            if file.is_file():
                assert SECRET.encode() not in file.read_bytes(), file
        out = capfd.readouterr()
        assert SECRET not in out.out + out.err


async def test_a_change_and_a_removal_are_in_force_with_the_next_call(tmp_path: Path):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            client = await as_client(stack, key)
            assert "error" in await client.call("who__whoami")
            await give(stack, key, headers("first"))
            assert await client.text("who__whoami") == "first"
            await give(stack, key, headers("second"))
            assert await client.text("who__whoami") == "second"
            path = f"{stack.url}/api/credentials/who"
            auth = {"Authorization": f"Bearer {key}"}
            assert (await stack.http.delete(path, headers=auth)).status_code == 204
            assert (await stack.http.delete(path, headers=auth)).status_code == 404
            assert "PUT /api/credentials/who" in (await client.call("who__whoami"))["error"]["message"]
            await until(lambda: set(upstream.sessions.values()) == {"for-lists"})  # what was opened has ended


async def test_whoever_is_removed_leaves_nothing_open(tmp_path: Path):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            await give(stack, key, headers("first"))
            await (await as_client(stack, key)).text("who__whoami")
            assert (await stack.rest("DELETE", "/api/principals/ada")).status_code == 204
            await until(lambda: set(upstream.sessions.values()) == {"for-lists"})
            again = await key_of(stack, "ada")
            assert "error" in await (await as_client(stack, again)).call("who__whoami")


async def test_an_oauth_client_gets_its_tokens_and_new_ones_when_they_are_refused(tmp_path: Path):
    tokens: list[str] = []

    def grant(form: dict[str, str]) -> dict[str, Any]:
        tokens.append(f"at-{len(tokens) + 1}")
        return {"access_token": tokens[-1], "token_type": "Bearer", "expires_in": 600}

    with WhoServer() as upstream, AuthorizationServer(grants={"refresh_token": (200, grant)}) as server:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            body = {"tokenUrl": server.address + "/token", "clientId": "fl", "refreshToken": "rt-1"}
            assert (await give(stack, key, {"oauth": body})).status_code == 200
            client = await as_client(stack, key)
            assert await client.text("who__whoami") == "Bearer at-1"
            upstream.refused.add("Bearer at-1")
            for _ in range(100):  # the call that finds out fails, and soon one has the new token
                answer = await client.call("who__whoami")
                if "result" in answer:
                    break
                await asyncio.sleep(0.1)
            assert answer["result"]["content"][0]["text"] == f"Bearer {tokens[-1]}" != "Bearer at-1"
            # shortly before its end the next call has a new one
            [mine] = pool(stack)._owned.values()
            mine._launching.expires = apart.EARLY - 1
            await until(lambda: mine not in pool(stack)._owned.values())
            assert "result" in await client.call("who__whoami")


async def test_what_cannot_be_a_credential(tmp_path: Path):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            bad: list[tuple[Any, int]] = [
                ({}, 422), ({"headers": {}}, 422), ({"headers": {"X": ""}}, 422),
                ({"headers": {"X": 1}}, 422),
                ({"headers": {"X": "a\r\nY: b"}}, 422), ({"headers": {"Host": "x"}}, 422),
                ({"headers": {"mcp-session-id": "x"}}, 422), ({"headers": {"a b": "x"}}, 422),
                ({"headers": {"X": "1", "x": "2"}}, 422), ({"headers": {"X": "é\u0142"}}, 422),
                ({"headers": {f"X-{n}": "1" for n in range(30)}}, 422),
                ({"headers": {"X": "1"}, "oauth": {"tokenUrl": "https://x/t", "clientId": "c"}}, 422),
                ({"oauth": {"tokenUrl": "http://evil.example/t", "clientId": "c"}}, 422),
                ({"oauth": {"tokenUrl": "file:///etc/passwd", "clientId": "c"}}, 422),
                ({"oauth": {"tokenUrl": "https://x/t"}}, 422), ({"oauth": {"clientId": "c"}}, 422),
                ({"other": 1}, 422), ([], 422),
            ]  # fmt: skip
            for body, status in bad:
                answer = await give(stack, key, body)
                assert answer.status_code == status, (body, answer.text)
            assert (
                (await give(stack, key, headers("x"), "plain"))
                .json()["type"]
                .endswith("credential-not-taken")
            )
            assert (await give(stack, key, headers("x"), "none")).status_code == 404
            assert (await give(stack, "flk_nobody", headers("x"))).status_code == 401


async def test_a_developer_cannot_send_us_to_our_own_machine(tmp_path: Path):
    """The server is elsewhere, so its authorization server is, too."""
    with WhoServer() as upstream:
        away = {"url": "https://mcp.example/mcp", "credentials": "principal", "enabled": False}
        async with running(tmp_path, {"who": away, "near": {"url": upstream.url}}) as stack:
            body = {"tokenUrl": "https://127.0.0.1:1/t", "clientId": "c"}
            answer = await give(stack, TOKEN, {"oauth": body})
            assert answer.status_code == 422
            assert "on this machine" in answer.text


async def test_a_server_that_is_stopped_or_changed_takes_its_principals_along(tmp_path: Path):
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            await give(stack, key, headers("mine"))
            client = await as_client(stack, key)
            await client.text("who__whoami")
            assert (await stack.rest("POST", "/api/servers/who/stop")).status_code == 200
            assert not upstream.sessions
            assert "stopped" in (await client.call("who__whoami"))["error"]["message"]
            await stack.rest("POST", "/api/servers/who/start")
            await stack.ready("who")
            assert await client.text("who__whoami") == "mine"
            assert (await stack.rest("POST", "/api/servers/who/restart")).status_code == 200
            assert await client.text("who__whoami") == "mine"
            await until(lambda: sorted(upstream.sessions.values()) == ["for-lists", "mine"])


async def test_instances_that_nobody_uses_end(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(apart, "IDLE", 1.0)
    with WhoServer() as upstream:
        async with stack_with(tmp_path, upstream) as stack:
            key = await key_of(stack, "ada")
            await give(stack, key, headers("mine"))
            client = await as_client(stack, key)
            await client.text("who__whoami")
            await until(lambda: set(upstream.sessions.values()) == {"for-lists"})
            assert await client.text("who__whoami") == "mine"
