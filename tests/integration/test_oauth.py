"""Access tokens and browsers' sessions through the whole service, in both lanes, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.authorization_server import RESOURCE, AuthorizationServer, ec
from support.stack import TOKEN, Stack, light, running
from support.until import until
from support.who_server import WhoServer

FLEET = RESOURCE
WELL_KNOWN = "/.well-known/oauth-protected-resource"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "0"},
    },
}


@contextlib.asynccontextmanager
async def stack_with(
    folder: Path, server: AuthorizationServer, servers: dict[str, Any] | None = None, **oauth: Any
) -> AsyncIterator[Stack]:
    settings = {"oauth": {"issuer": server.issuer, "jwks": server.jwks} | oauth, "public_url": FLEET}
    async with running(folder, servers or {"s": light()}, settings=settings) as stack:
        yield stack


async def ask(stack: Stack, token: bytes | str, path: str = "/mcp", **headers: str) -> httpx.Response:
    """The first request of an MCP client, or a GET."""
    value = token.decode() if isinstance(token, bytes) else token
    sent = {"Accept": "application/json, text/event-stream"} | headers
    if value:
        sent["Authorization"] = f"Bearer {value}"
    if path.endswith("/mcp"):
        return await stack.http.post(stack.url + path, json=INITIALIZE, headers=sent)
    return await stack.http.get(stack.url + path, headers=sent)


async def let_in(stack: Stack, token: bytes) -> None:
    """The keys have been read."""
    async with asyncio.timeout(30):
        while (await ask(stack, token)).status_code == 503:
            await asyncio.sleep(0.05)


async def test_a_client_finds_its_way_from_the_challenge_to_a_call(tmp_path: Path):
    with AuthorizationServer() as server:
        async with stack_with(tmp_path, server) as stack:
            for path, endpoint in (
                ("/mcp", "/mcp"),
                ("/servers/s/mcp", "/servers/s/mcp"),
                ("/api/servers", ""),
            ):
                answer = await ask(stack, "", path)
                assert answer.status_code == 401
                challenge = answer.headers["www-authenticate"]
                assert f'resource_metadata="{FLEET}{WELL_KNOWN}{endpoint}"' in challenge
                assert 'scope="fairlead:developer"' in challenge
                document = (await stack.http.get(stack.url + WELL_KNOWN + endpoint)).json()
                assert document["resource"] == FLEET + endpoint
                assert document["authorization_servers"] == [server.issuer]
                token = server.token(aud=document["resource"])
                await let_in(stack, token)
                assert (await ask(stack, token, path)).status_code == 200
            session = await stack.session(token=server.token().decode())
            assert (await session.call("s__echo", text="hi"))["result"]
            assert (await ask(stack, server.token(aud="https://other.example"))).status_code == 401
            # behind the proxy the host is the public one
            assert (await ask(stack, server.token(), Host="fairlead.example")).status_code == 200
            assert (await ask(stack, server.token(), Host="evil.example")).status_code == 421


async def test_keys_are_rotated_under_running_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.access.jwks.COOLDOWN", 0.5)
    with AuthorizationServer() as server:
        async with stack_with(tmp_path, server) as stack:
            old = server.token()
            await let_in(stack, old)
            fresh = ec("k2")
            server.keys.append(fresh)
            new = server.token(fresh)
            answer = await ask(stack, new)
            assert (answer.status_code, answer.json()["type"]) == (
                503,
                "urn:fairlead:problem:keys-unavailable",
            )
            assert int(answer.headers["retry-after"]) >= 1
            assert "www-authenticate" not in answer.headers
            await let_in(stack, new)
            assert (await ask(stack, new)).status_code == 200
            assert (await ask(stack, old)).status_code == 200
            server.keys.remove(server.keys[0])
            oauth = stack.system.access.oauth
            assert oauth is not None
            await oauth.keys.read()
            assert (await ask(stack, old)).status_code == 401
            assert (await ask(stack, new)).status_code == 200


async def test_roles_and_audiences_are_held_to(tmp_path: Path):
    with AuthorizationServer() as server:
        async with stack_with(tmp_path, server, {"a": light(), "b": light()}) as stack:
            token = server.token(scope="openid")
            await let_in(stack, token)
            answer = await ask(stack, token)
            assert answer.status_code == 403
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
            admin = server.token(scope="fairlead:admin").decode()
            stop = stack.url + "/api/servers/a/stop"
            developer = {"Authorization": f"Bearer {server.token().decode()}"}
            assert (await stack.http.post(stop, headers=developer)).status_code == 403
            # an audience of one server is no way to another, nor to the fleet, whatever the scope
            narrow = server.token(scope="fairlead:admin", aud=FLEET + "/servers/a/mcp").decode()
            assert (
                await stack.http.post(stop, headers={"Authorization": f"Bearer {narrow}"})
            ).status_code == 403
            session = await stack.session("/mcp", token=narrow)
            tools = [tool["name"] for tool in (await session.ask("tools/list"))["result"]["tools"]]
            assert tools
            assert all(name.startswith("a__") for name in tools)
            assert "error" in await session.call("b__echo", text="hi")
            assert (
                await stack.http.post(stop, headers={"Authorization": f"Bearer {admin}"})
            ).status_code == 200


async def test_a_clients_token_is_never_passed_on(tmp_path: Path):
    with AuthorizationServer() as server, WhoServer() as upstream:
        async with stack_with(tmp_path, server, {"who": {"url": upstream.url}}) as stack:
            token = server.token()
            await let_in(stack, token)
            for path, name in (("/mcp", "who__whoami"), ("/servers/who/mcp", "whoami")):
                for client in (
                    await stack.session(path, token=token.decode()),
                    stack.modern(path, token.decode()),
                ):
                    assert await client.text(name) == "nobody"
            body = {"server": "who", "method": "tools/call", "params": {"name": "whoami"}}
            headers = {"Authorization": f"Bearer {token.decode()}"}
            answer = await stack.http.post(stack.url + "/api/request", json=body, headers=headers)
            assert answer.status_code == 200
            for seen in upstream.seen:
                assert "authorization" not in seen
                assert not any(token.decode() in value or TOKEN in value for value in seen.values())


async def test_a_browser_logs_in_and_its_cookie_stays_off_mcp(tmp_path: Path):
    async with running(tmp_path, {"s": light()}) as stack:
        origin = stack.url
        made = await stack.rest("POST", "/api/login-links")
        url = made.json()["url"]
        assert url.startswith(origin + "/login?code=")
        async with httpx.AsyncClient(base_url=origin) as browser:
            assert (await browser.get(url)).status_code == 200
            form = {"code": url.partition("code=")[2]}
            answer = await browser.post("/login", data=form, headers={"origin": origin})
            assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
            assert list(browser.cookies) == [f"fairlead_session_{stack.port}"]
            assert (await browser.get("/api/servers")).status_code == 200
            accept = {"Accept": "application/json, text/event-stream"}
            csrf = {"x-csrf-token": (await browser.get("/api/session")).json()["csrfToken"]}
            for path in ("/mcp", "/servers/s/mcp", "/sse", "/servers/s/sse", "/messages"):
                for headers in (accept, accept | csrf | {"origin": origin}):
                    for answer in (
                        await browser.post(path, json=INITIALIZE, headers=headers),
                        await browser.get(path, headers=headers),
                        await browser.delete(path, headers=headers),
                    ):
                        assert answer.status_code == 401, path
            assert (await browser.post("/api/servers/s/stop")).status_code == 403
            assert (await browser.post("/api/servers/s/stop", headers=csrf)).status_code == 200
            assert (await browser.post("/logout", headers=csrf)).status_code == 204
            assert (await browser.get("/api/servers")).status_code == 401


@pytest.mark.parametrize("failure", ["slow", "huge", "html", "redirect"])
async def test_a_bad_authorization_server_shuts_nobody_else_out(tmp_path: Path, failure: Any):
    with AuthorizationServer(failure=failure) as server:
        async with stack_with(tmp_path, server) as stack:
            answer = await ask(stack, server.token())
            assert answer.status_code == 503
            assert (await stack.rest("GET", "/api/servers")).status_code == 200
            session = await stack.session()
            assert (await session.call("s__echo", text="hi"))["result"]
            await until(lambda: server.asked)
