"""The door of the REST lane over ASGI: verdicts become answers, bodies are bounded, rates are kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fairlead.core.ratelimit import Gcra, Rate
from fairlead.web.app import create_app
from support.web_services import AUTHORIZED, HOST, TOKEN, MemoryFleet, client, policy, server, services

DASH = "https://dash.example"
JSON = {"content-type": "application/json"}


async def test_a_refusal_is_a_problem_with_all_headers(stranger):
    answer = await stranger.get("/api/servers")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fairlead"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["type"] == "urn:fairlead:problem:missing-token"
    assert body["instance"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/mcp", "/servers/x/mcp", "/nowhere", "/api/config", "/api/system/info", "/"]
)
async def test_every_path_is_behind_the_door(stranger, path):
    for method in ("GET", "POST", "DELETE", "OPTIONS", "BREW"):
        assert (await stranger.request(method, path)).status_code == 401


async def test_a_foreign_host_is_421(http):
    answer = await http.get("/health", headers={"host": "evil.example:3002"})
    assert (answer.status_code, answer.json()["type"]) == (421, "urn:fairlead:problem:foreign-host")


async def test_cors_headers_on_answers_and_refusals(http, stranger):
    for asked in (http, stranger):
        answer = await asked.get("/api/servers", headers={"origin": DASH})
        assert answer.headers["access-control-allow-origin"] == DASH
        assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in (await http.get("/api/servers")).headers
    foreign = await http.get("/api/servers", headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


async def test_cors_headers_also_where_the_app_fails(http):
    answer = await http.post(
        "/api/request", json={"server": "filesystem", "method": "boom"}, headers={"origin": DASH}
    )
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == DASH


async def test_preflight(stranger):
    asks = {"origin": DASH, "access-control-request-method": "POST"}
    answer = await stranger.options("/api/request", headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == DASH
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_options_with_a_token_reach_the_router(http):
    assert (await http.options("/api/servers")).status_code == 405


async def test_the_rate_is_kept_for_each_principal():
    buckets: dict[str, Gcra] = {}
    of = services(limiter=lambda principal: buckets.setdefault(principal, Gcra(Rate(60, burst=2))))
    async with client(of, **AUTHORIZED) as http:
        answers = [await http.get("/api/servers") for _ in range(3)]
        public = await http.get("/health")
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].json()["retryAfter"] == 1
    assert list(buckets) == ["ada"]
    assert public.status_code == 200
    assert of.metrics.summary()["refused"] == {"rate-limited": 1}


async def test_without_a_token_no_bucket_is_touched():
    def limiter(principal: str) -> Gcra:
        raise AssertionError(principal)

    async with client(services(limiter=limiter)) as http:
        assert (await http.get("/api/servers")).status_code == 401
        assert (await http.get("/health")).status_code == 200


@pytest.fixture
async def narrow():
    async with client(services(admits=policy(body_bytes=100)), **AUTHORIZED) as http:
        yield http


async def test_a_declared_body_over_the_limit(narrow):
    answer = await narrow.post("/api/request", content=b"x" * 101)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert "100 bytes" in answer.json()["detail"]


async def test_a_chunked_body_over_the_limit(narrow):
    async def chunks():
        for _ in range(11):
            yield b"x" * 10

    answer = await narrow.post("/api/request", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:fairlead:problem:body-too-large")


async def test_a_chunked_body_within_the_limit(narrow):
    async def chunks():
        for part in (b'{"server":"files', b'ystem","method":"echo"', b"}"):
            yield part

    answer = await narrow.post("/api/request", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"result": {"echo": {}}})


async def test_a_public_path_takes_no_chunked_body(stranger):
    async def chunks():
        yield b"x"

    answer = await stranger.request("GET", "/health", content=chunks())
    assert answer.status_code == 413


class Exchange:
    """One ASGI exchange by hand: what the client sends, and when, is up to the test."""

    def __init__(self, app: Any, *headers: tuple[bytes, bytes], path: str = "/api/request") -> None:
        self.sent: list[dict[str, Any]] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", HOST.encode()), (b"authorization", f"Bearer {TOKEN}".encode()), *headers],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 3002),
        }

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        await self._app(self._scope, self.incoming.get, self._send)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.looptime
async def test_a_body_that_does_not_end_is_408_after_the_setting(looptime):
    exchange = Exchange(create_app(services(admits=policy(body_seconds=7.0))), CHUNKED)
    exchange.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    await exchange.run()
    assert exchange.status == 408
    assert exchange.headers[b"connection"] == b"close"
    assert b"FAIRLEAD_EDGE_BODY_TIMEOUT" in exchange.sent[1]["body"]
    assert looptime == 8.0  # a second more, to let the client read the answer


@pytest.mark.looptime
async def test_trickling_does_not_extend_the_time(looptime):
    exchange = Exchange(create_app(services(admits=policy(body_seconds=7.0))), CHUNKED)

    async def trickle() -> None:
        while True:
            await asyncio.sleep(1)
            exchange.incoming.put_nowait({"type": "http.request", "body": b" ", "more_body": True})

    trickling = asyncio.ensure_future(trickle())
    await exchange.run()
    trickling.cancel()
    assert (exchange.status, looptime) == (408, 8.0)


@pytest.mark.looptime
async def test_an_early_answer_is_complete_before_the_rest_is_thrown_away(looptime):
    exchange = Exchange(create_app(services()), (b"content-length", b"99999999999"))
    running = asyncio.ensure_future(exchange.run())
    await asyncio.sleep(0.5)
    assert exchange.status == 413
    assert len(exchange.sent[1]["body"]) == int(exchange.headers[b"content-length"])
    assert exchange.sent[1]["more_body"] is True
    exchange.incoming.put_nowait({"type": "http.request", "body": b"x" * 10, "more_body": True})
    exchange.incoming.put_nowait({"type": "http.request", "body": b"x" * 10, "more_body": False})
    await running
    assert exchange.sent[2:] == [{"type": "http.response.body", "body": b"", "more_body": False}]
    assert looptime == 0.5


async def test_a_client_that_leaves_gets_no_answer():
    of = services()
    exchange = Exchange(create_app(of), CHUNKED)
    exchange.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    exchange.incoming.put_nowait({"type": "http.disconnect"})
    await exchange.run()
    assert exchange.sent == []
    assert of.fleet.requests == []
    [counted] = [
        s
        for f in of.metrics.snapshot().collect()
        for s in f.samples
        if s.name == "fairlead_http_requests_total"
    ]
    assert counted.labels["status"] == "499"


async def test_the_policy_is_asked_at_each_request():
    """A token that is revoked is refused at once, on the same connection."""
    current = [policy()]
    of = services(MemoryFleet(server("a")))
    changing = replace(of, policy=lambda: current[0])
    async with client(changing, **AUTHORIZED) as http:
        assert (await http.get("/api/servers")).status_code == 200
        current[0] = type(current[0]).compile({}, 3002)
        assert (await http.get("/api/servers")).status_code == 401
