"""Every path and method that the running service has, tried with every credential that is no good for it.

The doors are read off the app and the gateway, what each takes off the permission table, and what needs no
token off `core.admission`: a route that somebody adds is tried, too, and one that no table knows fails here.
Everything goes over raw sockets, since well-behaved clients cannot send most of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.routing import iter_route_contexts

from fairlead.core.admission import PUBLIC, is_public
from fairlead.core.challenge import METADATA
from fairlead.model.access import Caller, Grant, Principal, Role
from fairlead.web.permissions import PERMISSIONS, Reach
from support.stack import ACCEPT, MODERN, TOKEN, Stack, light, running

ENDPOINTS = ("/mcp", "/servers/one/mcp", "/toolsets/all/mcp")
TWINS = ("/sse", "/servers/one/sse", "/toolsets/all/sse", "/messages")
ELSEWHERE = ("/", "/favicon.ico", "/robots.txt", "/docs/", "/docs/assets/", "/docs/assets/x", "/.well-known/")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
FILLED = {"{id}": "one", "{name}": "ada", "{server}": "one", "{toolset}": "all", "{file}": "docs.css"}
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SAFE = ("GET", "HEAD")


class Answer(NamedTuple):
    status: int
    head: str
    body: str


class Door(NamedTuple):
    """A method and a path; `route` is the template that the permission table has, "" for MCP."""

    method: str
    path: str
    route: str


async def ask(stack: Stack, method: str, target: str, body: bytes = b"", **headers: str | None) -> Answer:
    """One request, as it stands, on a connection of its own. Streams are left as soon as they begin.

    A header that is None is left out; `_` in names stands for `-`.
    """
    lines = {
        "Host": f"127.0.0.1:{stack.port}",
        "Accept": "application/json" if target.startswith("/api") else ACCEPT,
        "Connection": "close",
        "Content-Length": str(len(body)) if body or method not in ("GET", "HEAD") else None,
        "Content-Type": "application/json" if body else None,
    }
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    try:
        async with asyncio.timeout(20):
            writer.write(f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            streams = "text/event-stream" in head or head.startswith("HTTP/1.1 101")
            content = b"" if streams or method == "HEAD" else await reader.read()
    finally:
        writer.transport.abort()
    return Answer(int(head.split(" ", 2)[1]), head.lower(), content.decode(errors="replace"))


def refuse(wrong: dict[Any, Answer]) -> None:
    """Fail with what was not as it should be, the first of it."""
    lines = [f"{case}: {got.status} {got.body[:200]}" for case, got in wrong.items()]
    assert not wrong, "\n".join([f"{len(wrong)} are wrong", *lines[:30]])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def doors(stack: Stack) -> list[Door]:
    """All that there are: the app's routes with their paths filled in, and MCP's endpoints."""
    found = set()
    for context in iter_route_contexts(stack.system.app.routes):
        path = context.path
        for name, value in FILLED.items():
            path = path.replace(name, value)
        assert "{" not in path, f"{context.path}: say in FILLED what stands for its parameter"
        found |= {Door(method, path, context.path) for method in context.methods or {"GET"}}
    mcp = {Door(m, path, "") for path in (*ENDPOINTS, *TWINS) for m in ("GET", "POST", "DELETE")}
    return sorted(found | mcp)


def closed(stack: Stack) -> list[Door]:
    return [door for door in doors(stack) if not is_public(door.method.encode(), door.path.encode())]


class Credentials(NamedTuple):
    """What is no good anywhere, as headers; and a good browser's session."""

    bad: dict[str, dict[str, str]]
    cookie: dict[str, str]
    csrf: str


@contextlib.asynccontextmanager
async def service(tmp_path: Path) -> AsyncIterator[Stack]:
    servers, record = (
        {"one": light("--record", str(tmp_path / "record")), "two": light()},
        tmp_path / "record",
    )
    security = {
        "networkPolicies": {"allowedOrigins": ["https://console.example"]},
        "resourceLimits": {"rateLimiting": {"requestsPerMinute": 1_000_000}},
    }
    async with running(tmp_path, servers, toolsets={"all": {"servers": "*"}}, security=security) as stack:
        yield stack
    assert not record.exists() or b"tools/call" not in record.read_bytes(), "somebody got through"


async def credentials(stack: Stack) -> Credentials:
    roster, logins = stack.system.access.roster, stack.system.access.logins
    await stack.key("ada", Role.ADMIN)
    expired = (await roster.add_key("ada", by="t", expires=time.time() - 1)).value
    revoked = await roster.add_key("ada", by="t")
    await roster.revoke_key(revoked.key.id, by="t")
    disabled = await stack.key("off")
    await roster.put_principal(Principal("off", Role.ADMIN, disabled=True), by="t")
    removed = await stack.key("gone")
    await stack.remove("gone")
    code = await logins.make_code(Caller("ada", Role.ADMIN))
    used = await logins.make_code(Caller("ada", Role.ADMIN))
    over, good = await logins.begin(used.value.encode()), await logins.make_code(Caller("ada", Role.ADMIN))
    assert over is not None
    name = stack.system.gateway.policy.sign_in.cookie
    ended = over[0].value
    session = stack.system.access.keyring.identify_cookie(ended.encode())
    await logins.end(session.caller.credential.partition(":")[2])  # type: ignore[union-attr]
    begun = await logins.begin(good.value.encode())
    assert begun is not None
    cookie = begun[0].value
    browser = stack.system.access.keyring.identify_cookie(cookie.encode())
    csrf = browser.csrf_token.decode()  # type: ignore[union-attr]
    bad = {
        "nothing": {},
        "an unknown key": bearer("flk_" + "x" * 43),
        "an expired key": bearer(expired),
        "a revoked key": bearer(revoked.value),
        "the key of a disabled principal": bearer(disabled),
        "the key of a principal that is gone": bearer(removed),
        "an empty token": {"Authorization": "Bearer "},
        "another scheme": {"Authorization": f"Basic {TOKEN}"},
        "no scheme": {"Authorization": TOKEN},
        "a token and a half": bearer(f"{TOKEN} x"),
        "the id of a key": bearer(revoked.key.id),
        "the digest of a key": bearer(revoked.key.digest.hex()),
        "the name of a principal": bearer("ada"),
        "a login code as a token": bearer(code.value),
        "a cookie as a token": bearer(cookie),
        "a CSRF token as a token": bearer(csrf),
        "a JWT of nobody": bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJyb2xlIjoiYWRtaW4ifQ."),
        "a token in another header": {"X-API-Key": TOKEN, "Proxy-Authorization": f"Bearer {TOKEN}"},
        "a token in a cookie": {"Cookie": f"{name}={TOKEN}; token={TOKEN}"},
        "a login code in a cookie": {"Cookie": f"{name}={code.value}", "X-CSRF-Token": csrf},
        "an ended session": {"Cookie": f"{name}={ended}", "X-CSRF-Token": csrf},
        "two sessions": {"Cookie": f"{name}={cookie}; {name}={ended}", "X-CSRF-Token": csrf},
        "a bad token beside a good session": {**bearer("x"), "Cookie": f"{name}={cookie}"},
    }
    return Credentials(bad, {"Cookie": f"{name}={cookie}"}, csrf)


async def test_no_door_opens_without_a_good_credential(tmp_path: Path) -> None:
    async with service(tmp_path) as stack:
        bad = (await credentials(stack)).bad
        wrong = {}
        for door in closed(stack):
            for why, headers in bad.items():
                got = await ask(stack, door.method, door.path, **headers)
                if got.status != (400 if why == "two sessions" and door.route else 401):
                    wrong[door, why] = got
                elif got.status == 401 and "www-authenticate: bearer" not in got.head:
                    wrong[door, why, "challenge"] = got
            for name in ("access_token", "token", "key", "authorization", "code"):
                got = await ask(stack, door.method, f"{door.path}?{name}={TOKEN}")
                if got.status != 401:
                    wrong[door, f"?{name}="] = got
            if door.path in ("/ws", *ENDPOINTS) and door.method == "GET":
                for why, headers in bad.items():
                    got = await ask(stack, "GET", door.path, **HANDSHAKE, **headers)
                    if got.status not in (400, 401, 403):
                        wrong[door, "upgrade", why] = got
        refuse(wrong)


async def test_what_needs_no_credential_is_one_list(tmp_path: Path) -> None:
    """Every path with every method: what `is_public` names is answered, and there, and nothing else is."""
    async with service(tmp_path) as stack:
        every = {door.path for door in doors(stack)} | set(ELSEWHERE)
        wrong = {}
        for path in sorted(every):
            for method in METHODS:
                got = await ask(stack, method, path)
                public = is_public(method.encode(), path.encode())
                if (got.status == 401) == public:
                    wrong[method, path] = got
        refuse(wrong)
        there = {(door.method.encode(), door.path.encode()) for door in doors(stack)}
        assets = {each for each in PUBLIC if each[1].startswith(b"/docs/assets/")}
        assert there | assets >= PUBLIC
        for method, path in PUBLIC - {(b"POST", b"/login")}:
            wanted = 400 if path == b"/login" else 200  # without a code
            assert (await ask(stack, method.decode(), path.decode())).status == wanted, path
        exempt = {door.path for door in doors(stack)} - {door.path for door in closed(stack)}
        assert exempt - {path.decode() for _, path in PUBLIC} == {
            METADATA + endpoint for endpoint in ("", *ENDPOINTS)
        }


def spellings(path: str) -> list[str]:
    """Other ways to write a path, of which some servers make the same one."""
    first, rest = path[1], path[2:]
    return [
        f"/{path}", f"{path}/", f"/%{ord(first):02x}{rest}", f"/{first.upper()}{rest}", f"/.{path}",
        f"/x/..{path}", f"{path}?x", f"{path}?/health", f"{path}%2f", f"{path}%00", f"{path};x", f"{path}/.",
        f"{path}%20", f"{path}/%2e", f"/health/..{path}", f"/docs/assets/..%2f..{path}", f"/login/..{path}",
        f"/docs/../{path}", f"{METADATA}/..{path}", f"/health%2f..{path}", path.replace("/", "%5c"),
        path.replace("/", "/\\"), f"{path}%23/health", f"{path}#/health",
    ]  # fmt: skip


async def test_another_spelling_of_a_path_opens_nothing(tmp_path: Path) -> None:
    async with service(tmp_path) as stack:
        host = f"127.0.0.1:{stack.port}"
        viewer = bearer(await stack.key("vera", Role.VIEWER))
        wrong = {}
        for door in doors(stack):
            absolute = [f"http://{host}{door.path}", f"HTTP://{host}{door.path}"]
            for target in (*spellings(door.path), *absolute):
                path = (
                    target.partition("?")[0]
                    .partition("#")[0]
                    .removeprefix(absolute[0].removesuffix(door.path))
                )
                path = path.removeprefix(absolute[1].removesuffix(door.path))
                public = is_public(door.method.encode(), path.encode())
                got = await ask(stack, door.method, target)
                if got.status not in (400, 401) and not public:
                    wrong[door, target] = got
                needed = PERMISSIONS.get((door.method, door.route))
                if needed and needed.role > Role.VIEWER:
                    got = await ask(stack, door.method, target, **viewer)
                    unread = got.status == 422 and "?" in target  # before anything is looked at
                    if got.status not in (400, 403, 404, 405) and not unread:
                        wrong[door, target, "viewer"] = got
            for target in (f"http://evil.example{door.path}", f"https://evil.example:443{door.path}"):
                got = await ask(stack, door.method, target, **bearer(TOKEN))
                if got.status not in (400, 421):
                    wrong[door, target] = got
        refuse(wrong)


async def test_a_foreign_host_or_origin_is_refused_at_every_door(tmp_path: Path) -> None:
    """The public ones, too, and whatever the credential; and a foreign page learns nothing of it."""
    async with service(tmp_path) as stack:
        known = await credentials(stack)
        local = f"127.0.0.1:{stack.port}"
        hosts = [
            "evil.example",
            "evil.example:80",
            f"127.0.0.1:{stack.port + 1}",
            f"{local}.evil.example",
            "127.0.0.1",
        ]
        origins = [
            "https://evil.example",
            "null",
            "file://",
            f"http://{local}.evil.example",
            "https://console.example.evil",
        ]
        shown: list[dict[str, str]] = [
            {},
            bearer("x"),
            bearer(TOKEN),
            {**known.cookie, "X-CSRF-Token": known.csrf},
        ]
        wrong = {}
        for door in doors(stack):
            upgrades = [HANDSHAKE] if door.path in ("/ws", "/mcp") and door.method == "GET" else []
            for headers in [*shown, *({**each, **bearer(TOKEN)} for each in upgrades)]:
                for host in hosts:
                    got = await ask(stack, door.method, door.path, **headers, Host=host)
                    if got.status != 421 or "access-control" in got.head:
                        wrong[door, host] = got
                for origin in origins:
                    got = await ask(stack, door.method, door.path, **headers, Origin=origin)
                    why = door.method == "HEAD" or "foreign-origin" in got.body
                    if got.status != 403 or not why or "access-control" in got.head:
                        wrong[door, origin] = got
            two = await ask(stack, door.method, door.path, **bearer(TOKEN), host="localhost")
            if two.status != 400:
                wrong[door, "two hosts"] = two
        refuse(wrong)


async def test_a_preflight_tells_allowed_origins_alone_and_runs_nothing(tmp_path: Path) -> None:
    async with service(tmp_path) as stack:
        allowed = ("https://console.example", f"http://127.0.0.1:{stack.port}")
        wrong = {}
        for path in sorted({door.path for door in doors(stack)} | set(ELSEWHERE)):
            for asked in ("GET", "POST", "DELETE", "TRACE"):
                for origin in (*allowed, "https://evil.example", "null"):
                    request = {"Origin": origin, "Access-Control-Request-Method": asked}
                    got = await ask(stack, "OPTIONS", path, **request)
                    told = f"access-control-allow-origin: {origin}\r\n" in got.head
                    credentialed = "access-control-allow-credentials" in got.head
                    if (got.status, told) != (
                        (204, True) if origin in allowed else (403, False)
                    ) or credentialed:
                        wrong[path, asked, origin] = got
                    if got.status == 204 and got.body:
                        wrong[path, asked, origin, "body"] = got
            other = await ask(stack, "GET", path, **bearer("x"), Origin=allowed[0])
            if (
                f"access-control-allow-origin: {allowed[0]}" not in other.head
                or "access-control-allow-credentials" in other.head
            ):
                wrong[path, "answer"] = other
        refuse(wrong)


async def test_a_browsers_session_counts_only_where_it_may(tmp_path: Path) -> None:
    """Never for MCP; for a change only with its CSRF token; for a WebSocket only with an Origin of ours."""
    async with service(tmp_path) as stack:
        known = await credentials(stack)
        own = f"http://127.0.0.1:{stack.port}"
        full = {**known.cookie, "X-CSRF-Token": known.csrf}
        wrong = {}
        for door in closed(stack):
            if not door.route:
                for headers in (
                    known.cookie,
                    full,
                    {**full, "Origin": own},
                    {**full, **HANDSHAKE, "Origin": own},
                ):
                    if (got := await ask(stack, door.method, door.path, **headers)).status != 401:
                        wrong[door] = got
            elif door.method not in SAFE:
                for token in (None, "", "x", known.csrf[:-1], known.csrf + "x"):
                    got = await ask(stack, door.method, door.path, **known.cookie, X_CSRF_Token=token)
                    if got.status != 403 or "csrf" not in got.body:
                        wrong[door, token] = got
        assert (await ask(stack, "GET", "/api/me", **known.cookie)).status == 200
        assert (await ask(stack, "POST", "/api/fleet/release", **full)).status == 200
        sockets: dict[str | None, int] = {None: 403, own: 101, "https://evil.example": 403, "null": 403}
        for origin, status in sockets.items():
            got = await ask(stack, "GET", "/ws", **HANDSHAKE, **known.cookie, Origin=origin)
            if got.status != status:
                wrong["/ws", origin] = got
        refuse(wrong)


def named(path: str) -> dict[str, Any]:
    """How each route whose handler sees to the grants is asked about the server `one`."""
    return {
        "/api/health/check": {"body": b'{"server": "one"}'},
        "/api/circuit-breakers/{id}/reset": {},
        "/api/metrics/trends": {"query": "?server=one"},
    }[path]


async def test_too_weak_a_role_and_grants_that_do_not_reach_are_refused(tmp_path: Path) -> None:
    async with service(tmp_path) as stack:
        keys = {role: bearer(await stack.key(role.word, role)) for role in Role}
        elsewhere = bearer(await stack.key("away", Role.ADMIN, Grant(servers=("two",))))
        wrong = {}
        for door in (each for each in closed(stack) if each.route and each.method != "HEAD"):
            assert (door.method, door.route) in PERMISSIONS, "give it an entry"
            permission = PERMISSIONS[door.method, door.route]
            for role, key in keys.items():
                if role < permission.role:
                    got = await ask(stack, door.method, door.path, **key)
                    if got.status != 403 or permission.role.word not in got.body:
                        wrong[door, role] = got
            if permission.reach in (Reach.SERVER, Reach.FLEET, Reach.NAMED):
                form = named(door.route) if permission.reach is Reach.NAMED else {}
                got = await ask(
                    stack, door.method, door.path + form.get("query", ""), form.get("body", b""), **elsewhere
                )
                if got.status != 403 or "forbidden" not in got.body:
                    wrong[door, "granted another"] = got
            elif permission.reach is Reach.GRANTED and door.method == "GET":
                got = await ask(stack, "GET", door.path, **elsewhere)
                if '"one"' in got.body:
                    wrong[door, "shows what was not granted"] = got
        refuse(wrong)


def call(name: str, method: str = "tools/call") -> tuple[bytes, dict[str, str]]:
    """A modern request and its headers."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = (
        {"_meta": meta}
        if method == "tools/list"
        else {"name": name, "arguments": {"text": "x"}, "_meta": meta}
    )
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    routed = {"Mcp-Name": name} if method != "tools/list" else {}
    return body, {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **routed}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_no_tool_is_called_by_whom_it_is_not_for(tmp_path: Path, path: str) -> None:
    """By any endpoint, also through REST; `service` sees to it that the server heard nothing of it."""
    name = "echo" if path.startswith("/servers") else "one__echo"
    async with service(tmp_path) as stack:
        weak = {
            "viewer": await stack.key("vera", Role.VIEWER),
            "granted another": await stack.key("away", Role.ADMIN, Grant(servers=("two",))),
            "granted another tool": await stack.key("tool", Role.ADMIN, Grant(tools=("pi*",))),
            "granted another toolset": await stack.key("set", Role.ADMIN, Grant(toolsets=("none",))),
        }
        for why, key in weak.items():
            for target in (path, path + "?x", path.replace("/mcp", "/%6dcp")):
                body, headers = call(name)
                got = await ask(stack, "POST", target, body, **headers, **bearer(key))
                assert '"result"' not in got.body, (why, target, got)
                assert got.status in (200, 400, 403, 404, 405), (why, target, got)
            if why != "viewer":
                body, headers = call("", "tools/list")
                got = await ask(stack, "POST", path, body, **headers, **bearer(key))
                assert name not in got.body, (why, got)
            routed = {
                "server": "one",
                "method": "tools/call",
                "params": {"name": "echo", "arguments": {"text": "x"}},
            }
            got = await ask(stack, "POST", "/api/request", json.dumps(routed).encode(), **bearer(key))
            assert got.status in (403, 404, 502), (why, got)
            assert '"result"' not in got.body
