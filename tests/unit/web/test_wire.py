"""The app on a real server (uvicorn with httptools on uvloop): what only shows on the wire."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from fairlead.core.ratelimit import Gcra, Rate
from fairlead.web.app import create_app
from support.web_services import TOKEN, policy, services

GUARD = 20.0  # s
BODY_SECONDS = 0.3


class Served:
    """A server in a thread of its own, on a free port."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        admits = policy(self.port, body_bytes=200_000, body_seconds=BODY_SECONDS, header_bytes=4096)
        self.services = services(admits=admits, limiter=self._limiter)
        self.bucket: Gcra | None = None
        config = uvicorn.Config(
            create_app(self.services),
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def _limiter(self, _: str) -> Gcra | None:
        return self.bucket


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served()
    running.thread.start()
    yield running
    running.server.should_exit = True
    running.thread.join(GUARD)
    running.socket.close()
    assert not running.thread.is_alive()


class Wire:
    """One TCP connection, and the answers that came over it."""

    def __init__(self, served: Served) -> None:
        self._socket = socket.create_connection(("127.0.0.1", served.port), timeout=GUARD)
        self._file = self._socket.makefile("rb")
        self._host = f"host: 127.0.0.1:{served.port}\r\n"

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(
        self, line: str, *headers: str, body: bytes = b"", token: bool = True, version: str = "1.1"
    ) -> None:
        """Send a request; `line` is method and target."""
        authorization = f"authorization: Bearer {TOKEN}\r\n" if token else ""
        extra = "".join(f"{header}\r\n" for header in headers)
        self.send(f"{line} HTTP/{version}\r\n{self._host}{authorization}{extra}\r\n".encode() + body)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: status, headers, and the body as JSON if it is that."""
        status = int(self._file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name] = value
        if status < 200:
            return status, headers, None
        body = self._file.read(int(headers.get("content-length", 0)))
        return status, headers, json.loads(body) if "json" in headers.get("content-type", "") else body

    def is_closed(self) -> bool:
        """Whether the server closed the connection; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def wire(served: Served) -> Iterator[Wire]:
    with closing(Wire(served)) as connection:
        yield connection


CALL = b'{"server":"filesystem","method":"echo","params":{"a":1}}'
JSON = "content-type: application/json"


def test_a_call_and_another_on_the_same_connection(wire):
    for _ in range(2):
        wire.ask("POST /api/request", JSON, f"content-length: {len(CALL)}", body=CALL)
        status, headers, body = wire.answer()
        assert (status, body) == (200, {"result": {"echo": {"a": 1}}})
        assert "connection" not in headers


def test_pipelined_requests_are_answered_in_order(wire):
    for name in ("filesystem", "nope", "magic"):
        wire.ask(f"GET /api/servers/{name}", f"x-request-id: {name}")
    answers = [wire.answer() for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 404, 200]
    assert [headers["x-request-id"] for _, headers, _ in answers] == ["filesystem", "nope", "magic"]


@pytest.mark.parametrize(
    "target",
    ["/api/servers", "//health", "/%68ealth", "/health/", "/health/..", "/docs/assets/../../api/servers"],
)
def test_no_spelling_passes_without_a_token(wire, target):
    wire.ask(f"GET {target}", token=False)
    status, headers, _ = wire.answer()
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer ")


def test_health_in_absolute_form_is_judged_by_the_host_header(wire):
    wire.ask("GET http://evil.example/health", token=False)
    assert wire.answer()[0] == 200


def test_http_1_0_gets_an_answer_and_the_end(wire):
    wire.ask("GET /health", token=False, version="1.0")
    assert wire.answer()[0] == 200
    assert wire.is_closed()


def test_http_1_0_without_host_is_refused(wire):
    wire.send(b"GET /health HTTP/1.0\r\n\r\n")
    status, _, body = wire.answer()
    assert (status, body["type"]) == (400, "urn:fairlead:problem:missing-host")


@pytest.mark.parametrize("name", ["host: 127.0.0.1", f"authorization: Bearer {TOKEN}"])
def test_repeated_headers(wire, name):
    wire.ask("GET /health", name, token=True)
    status, _, body = wire.answer()
    assert (status, body["type"]) == (400, "urn:fairlead:problem:repeated-header")


def test_headers_over_the_limit(wire):
    wire.ask("GET /health", f"x-large: {'x' * 5000}")
    assert wire.answer()[0] == 431


def test_a_declared_body_over_the_limit_is_answered_though_it_was_sent_whole(wire):
    """Closing with unread bytes would reset the connection and lose the answer."""
    wire.ask("POST /api/request", JSON, "content-length: 5000000", body=b"x" * 5_000_000)
    status, headers, body = wire.answer()
    assert (status, body["type"]) == (413, "urn:fairlead:problem:body-too-large")
    assert headers["connection"] == "close"
    assert wire.is_closed()


def test_a_chunked_body_is_cut_at_the_limit(wire):
    wire.ask("POST /api/request", JSON, "transfer-encoding: chunked")
    for _ in range(21):
        wire.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
    status, headers, _ = wire.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert wire.is_closed()


def test_a_chunked_call(wire):
    wire.ask("POST /api/request", JSON, "transfer-encoding: chunked")
    for part in (CALL[:10], CALL[10:], b""):
        wire.send(b"%x\r\n" % len(part) + part + b"\r\n")
    assert wire.answer()[0] == 200


def test_a_refused_body_is_not_read(wire):
    wire.ask("POST /api/request", JSON, "content-length: 100", token=False)
    status, headers, _ = wire.answer()
    assert (status, headers["connection"]) == (401, "close")
    assert wire.is_closed()


def test_a_slow_body_times_out(wire):
    wire.ask("POST /api/request", JSON, "content-length: 100", body=b"{")
    status, headers, body = wire.answer()
    assert (status, headers["connection"]) == (408, "close")
    assert "0.3 s" in body["detail"]
    assert wire.is_closed()


def test_expect_is_continued_only_for_who_is_let_in(wire, served):
    wire.ask("POST /api/request", JSON, "expect: 100-continue", f"content-length: {len(CALL)}")
    assert wire.answer()[0] == 100
    wire.send(CALL)
    assert wire.answer()[0] == 200
    for token, length, status in ((False, 10, 401), (True, 999_999, 413)):
        with closing(Wire(served)) as other:
            other.ask(
                "POST /api/request", JSON, "expect: 100-continue", f"content-length: {length}", token=token
            )
            assert other.answer()[0] == status


def test_content_length_beside_chunked(wire):
    wire.ask("POST /api/request", JSON, "content-length: 5", "transfer-encoding: chunked", body=b"0\r\n\r\n")
    assert wire.answer()[0] == 400


def test_a_client_that_vanishes_leaves_nothing(served):
    with closing(Wire(served)) as gone:
        gone.ask("POST /api/request", JSON, "content-length: 100", body=b"{")
    with closing(Wire(served)) as wire:
        wire.ask("GET /health", token=False)
        assert wire.answer()[0] == 200


def test_a_preflight(wire):
    wire.ask(
        "OPTIONS /mcp", "origin: https://dash.example", "access-control-request-method: POST", token=False
    )
    status, headers, body = wire.answer()
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == "https://dash.example"


def test_the_rate_limit(wire, served):
    served.bucket = Gcra(Rate(1, burst=1))
    try:
        statuses = []
        for _ in range(2):
            wire.ask("GET /api/servers")
            status, headers, _ = wire.answer()
            statuses.append(status)
        assert statuses == [200, 429]
        assert 1 <= int(headers["retry-after"]) <= 60
    finally:
        served.bucket = None


def test_head_has_no_body(wire):
    wire.ask("HEAD /health", token=False)
    assert wire._file.readline().split()[1] == b"200"
    while wire._file.readline().strip():
        pass
    wire.ask("GET /health", token=False)
    assert wire.answer()[0] == 200


def test_an_unexpected_error_keeps_the_connection(wire):
    call = CALL.replace(b"echo", b"boom")
    wire.ask("POST /api/request", JSON, f"content-length: {len(call)}", body=call)
    status, _, body = wire.answer()
    assert (status, body["type"]) == (500, "urn:fairlead:problem:internal")
    wire.ask("GET /health", token=False)
    assert wire.answer()[0] == 200
