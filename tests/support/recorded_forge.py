"""A forge that answers as one was recorded to: each request must be the next one of the recording."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.threaded_http import ThreadedHttp


@dataclass
class RecordedForge(ThreadedHttp):
    """`headers` must be in each request, by their lower-case names; `below` is the path of the API."""

    exchanges: list[dict[str, Any]]
    headers: dict[str, str]
    below: str = ""
    wrong: list[str] = field(default_factory=list)

    def take(self, request: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """The recorded response; what is not as recorded is noted, and ends in 599."""
        lacking = {name: value for name, value in self.headers.items() if headers.get(name) != value}
        if not self.exchanges or lacking or request != self.exchanges[0]["request"]:
            self.wrong.append(f"{request} lacks {list(lacking)}; next: {self.exchanges[:1]}")
            return 599, {}, None
        response = self.exchanges.pop(0)["response"]
        return response["status"], response["headers"], response["body"]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                parts = urlsplit(self.path)
                request: dict[str, Any] = {
                    "method": self.command,
                    "path": parts.path.removeprefix(forge.below),
                    "query": dict(parse_qsl(parts.query)),
                }
                if size := int(self.headers.get("Content-Length") or 0):
                    request["body"] = json.loads(self.rfile.read(size))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more, body = forge.take(request, headers)
                content = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler
