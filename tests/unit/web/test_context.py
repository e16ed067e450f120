from __future__ import annotations

import asyncio

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from fairlead.core.admission import SECURITY_HEADERS
from fairlead.web.context import RequestContext
from support.web_services import TOKEN


@pytest.fixture
def logged():
    with capture_logs(processors=[merge_contextvars]) as entries:
        yield entries


async def test_security_headers_on_every_answer(http, stranger):
    for asked, path in ((http, "/api/servers"), (http, "/nowhere"), (stranger, "/health"), (stranger, "/x")):
        answer = await asked.get(path)
        for name, value in SECURITY_HEADERS:
            assert answer.headers.get_list(name.decode()) == [value.decode()]


async def test_an_answers_own_header_wins(stranger):
    answer = await stranger.get("/docs")
    assert answer.headers.get_list("cache-control") == ["no-cache"]
    assert len(answer.headers.get_list("content-security-policy")) == 1


@pytest.mark.parametrize("given", ["abc-123", "A.b_c:d", "x" * 64])
async def test_a_well_formed_request_id_is_taken(http, given):
    answer = await http.get("/nowhere", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given == answer.json()["instance"]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ä", '"', "<script>", "${jndi}"])
async def test_any_other_is_replaced(http, given):
    answer = await http.get("/nowhere", headers={"x-request-id": given.encode()})
    assert answer.headers["x-request-id"] == answer.json()["instance"] != given
    assert len(answer.headers["x-request-id"]) == 32


async def test_ids_differ(stranger):
    assert len({(await stranger.get("/health")).headers["x-request-id"] for _ in range(5)}) == 5


async def test_a_line_in_the_log_for_each_request(http, logged):
    await http.post("/api/config/reload?token=hidden", headers={"x-request-id": "r-1"})
    [line] = logged
    assert line["milliseconds"] >= 0
    line.pop("milliseconds")
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/api/config/reload",
        "status": 422,
        "principal": "ada",
        "request_id": "r-1",
    }
    assert TOKEN not in str(logged)


async def test_looking_is_no_news_unless_it_fails(http, logged):
    await http.get("/api/servers")
    await http.get("/nowhere")
    assert [(line["status"], line["log_level"]) for line in logged] == [(200, "debug"), (404, "info")]


async def test_a_strangers_line_has_no_principal(stranger, logged):
    await stranger.get("/api/servers", headers={"authorization": "Bearer a-guessed-secret"})
    assert logged[0]["principal"] is None
    assert "a-guessed-secret" not in str(logged)


async def test_an_unexpected_error_is_500_and_stays_in_the_log(http, logged):
    answer = await http.post("/api/request", json={"server": "filesystem", "method": "boom"})
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:fairlead:problem:internal"
    assert answer.json()["fault"] == "gateway"
    assert "secret detail" not in answer.text
    failed = next(line for line in logged if line["event"] == "request_failed")
    assert "RuntimeError: a secret detail of the inside" in failed["traceback"]
    assert "exc_info" not in failed
    assert failed["request_id"] == answer.headers["x-request-id"]
    assert [line["status"] for line in logged if line["event"] == "request"] == [500]
    assert TOKEN not in str(logged)


async def test_an_error_after_half_an_answer_closes_the_connection(behind, logged):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        msg = "too late"
        raise ValueError(msg)

    sent = []

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(ValueError, match="too late"):
        await RequestContext(app, behind.metrics)(scope, asyncio.Queue().get, send)
    assert sent == ["http.response.start"]


async def test_a_websocket_of_another_path_is_404(behind):
    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 1000, "reason": ""})  # the router's

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/nowhere", "headers": []}
    await RequestContext(app, behind.metrics)(scope, asyncio.Queue().get, send)
    start, body = sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert set(SECURITY_HEADERS) <= set(start["headers"])
    assert b"urn:fairlead:problem:not-found" in body["body"]


async def test_an_unexpected_error_ends_a_websocket(behind, logged):
    async def accepts(scope, receive, send):
        await send({"type": "websocket.accept"})
        raise ValueError(TOKEN[:3])

    async def fails(scope, receive, send):
        raise ValueError(TOKEN[:3])

    sent = []

    async def send(message):
        sent.append(message)

    for app in (accepts, fails):
        scope = {"type": "websocket", "path": "/ws", "headers": [(b"x-request-id", b"r-1")]}
        await RequestContext(app, behind.metrics)(scope, asyncio.Queue().get, send)
    accepted, closed, refused, _ = sent
    assert accepted == {"type": "websocket.accept", "headers": [(b"x-request-id", b"r-1")]}
    assert closed == {"type": "websocket.close", "code": 1011, "reason": "internal error"}
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 500)
    assert [line["event"] for line in logged] == ["request_failed", "request"] * 2
