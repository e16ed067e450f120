"""A remote MCP server (2025-11-25, one JSON answer for each request) that tells who was let in by what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.threaded_http import ThreadedHttp


@dataclass
class WhoServer(ThreadedHttp):
    """Its tool `whoami` answers with the Authorization header of its call; those in `refused` get 401."""

    refused: set[str] = field(default_factory=set)
    seen: list[dict[str, str]] = field(default_factory=list)  # headers of all requests
    sessions: dict[str, str] = field(default_factory=dict)  # id -> who opened it

    @property
    def url(self) -> str:
        return self.address + "/mcp"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.seen.append(headers)
                who = headers.get("authorization", "nobody")
                if who in server.refused:
                    self._send(401, {"error": "invalid_token"})
                    return
                message = json.loads(body)
                if "id" not in message:
                    self._send(202, None)
                    return
                extra = {}
                if message["method"] == "initialize":
                    session = f"s{len(server.sessions) + 1}"
                    server.sessions[session] = who
                    extra = {"Mcp-Session-Id": session}
                elif server.sessions.get(headers.get("mcp-session-id", "")) != who:
                    self._send(404, {"error": "a session of somebody else"})
                    return
                result = _result(message, who)
                if result is None:
                    error = {"code": -32601, "message": "Method not found"}
                    self._send(200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
                else:
                    self._send(200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, extra)

            def do_GET(self) -> None:
                self._send(405, None)

            def do_DELETE(self) -> None:
                server.sessions.pop(self.headers.get("Mcp-Session-Id", ""), None)
                self._send(204, None)

            def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                content = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _result(message: dict[str, Any], who: str) -> dict[str, Any] | None:
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}, "resources": {}},
                "serverInfo": {"name": "who", "version": "1"},
            }
        case "ping":
            return {}
        case "tools/list":
            tool = {
                "name": "whoami",
                "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": True},
            }
            return {"tools": [tool]}
        case "resources/list":
            return {"resources": [{"uri": "who:me", "name": "me"}]}
        case "resources/templates/list":
            return {"resourceTemplates": []}
        case "resources/read":
            return {"contents": [{"uri": "who:me", "text": who}]}
        case "tools/call":
            return {"content": [{"type": "text", "text": who}]}
    return None
