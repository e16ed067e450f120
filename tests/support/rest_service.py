"""A small HTTP service with answers laid out beforehand, for testing what speaks to ours."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from fairlead.model.status import ServerStatus
from support.threaded_http import ThreadedHttp


@dataclass
class Received:
    method: str
    path: str
    token: str
    body: Any
    if_match: str | None = None


@dataclass
class RestService(ThreadedHttp):
    """Answers `answers["GET /path"]`, a (status, body) pair; all else is a 404 problem.

    A body that is a list of objects is given piece by piece, one for each request.
    """

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                body = json.loads(content) if content else None
                service.received.append(
                    Received(self.command, self.path, token, body, self.headers["If-Match"])
                )
                missing = (
                    404,
                    {"type": "urn:fairlead:problem:not-found", "title": "Not found", "detail": "x"},
                )
                status, answer = service.answers.get(f"{self.command} {self.path}", missing)
                if isinstance(answer, list) and isinstance(answer[0], dict):
                    answer = answer.pop(0)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - names of the base class

            def log_message(self, *_: object) -> None:
                return

        return Handler


def server_status(name: str, state: str = "ready", message: str = "2 tools", **more: Any) -> dict[str, Any]:
    """A `ServerStatus` as REST shows it."""
    whole = {
        "id": name,
        "state": state,
        "message": message,
        "conditions": [],
        "instances": [],
        "source": f"npm:{name}@1.0.0",
        "sharing": "shared",
        "capabilities": [],
        "weight": 1.0,
        "tools": 2,
        **more,
    }
    return ServerStatus.model_validate(whole).model_dump(mode="json", by_alias=True)
