"""How far a request may go. What bad servers can do is tested with the signing keys."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from fairlead.kit.fetch import LIMIT, FetchError, Reach, check_url, fetch
from support.threaded_http import ThreadedHttp


class Large(ThreadedHttp):
    """Answers with so many bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        size = self.size

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(b"x" * size)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


async def test_the_bound_of_a_body_is_the_callers():
    with Large(LIMIT + 1) as server:
        with pytest.raises(FetchError, match=f"larger than {LIMIT} bytes"):
            await fetch(server.address)
        answer = await fetch(server.address, reach=Reach(limit=LIMIT + 1))
    assert len(answer.body) == LIMIT + 1


def test_plain_http_to_other_machines_only_where_it_is_taken():
    with pytest.raises(ValueError, match="must begin with https"):
        check_url("http://orchestrator:3002/x")
    assert check_url("http://orchestrator:3002/x", plain=True).hostname == "orchestrator"
    assert check_url("http://127.0.0.1:3002/x").port == 3002
    with pytest.raises(ValueError, match="no credentials"):
        check_url("http://a:b@orchestrator/", plain=True)
