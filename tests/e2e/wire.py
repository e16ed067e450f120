"""MCP over HTTP by hand, for what no SDK lets a test see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from e2e.programs import MODERN

LEGACY = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
META = "io.modelcontextprotocol/"
CLIENT = {"name": "fairlead-e2e", "version": "1"}


def messages(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON-RPC messages of an answer, be it JSON or an event stream (as they come)."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        response.read()
        yield response.json()
        return
    data: list[str] = []
    for line in response.iter_lines():
        if line.startswith("data:"):
            data.append(line[5:].strip())
        elif not line and data:
            text, data = "".join(data), []
            if text:
                yield json.loads(text)


class Wire:
    """One client on one endpoint. `last` is the latest HTTP response."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(headers={"Authorization": f"Bearer {token}", "Accept": ACCEPT}, timeout=30)
        self.url = url
        self.headers: dict[str, str] = {}

    def close(self) -> None:
        self.http.close()

    @contextmanager
    def post(self, message: dict[str, Any], **headers: str) -> Iterator[httpx.Response]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"jsonrpc": "2.0", **message}
        with self.http.stream("POST", self.url, json=body, headers={**self.headers, **named}) as response:
            yield response

    def ask(self, method: str, params: dict[str, Any] | None = None, *, number: Any = 1) -> dict[str, Any]:
        """A legacy request; answers the whole response message."""
        message = {"id": number, "method": method} | ({"params": params} if params else {})
        with self.post(message) as response:
            assert response.status_code == 200, (response.status_code, response.read())
            return list(messages(response))[-1]

    def initialize(self) -> dict[str, Any]:
        """Open a legacy session; later requests belong to it."""
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        with self.post({"id": 1, "method": "initialize", "params": params}) as response:
            assert response.status_code == 200, (response.status_code, response.read())
            answer = list(messages(response))[-1]
            self.headers = {
                "Mcp-Session-Id": response.headers["mcp-session-id"],
                "MCP-Protocol-Version": LEGACY,
            }
        with self.post({"method": "notifications/initialized"}) as response:
            assert response.status_code == 202
        return answer["result"]

    @contextmanager
    def modern(
        self, method: str, params: dict[str, Any] | None = None, *, number: Any, name: str = ""
    ) -> Iterator[httpx.Response]:
        """A modern request, with all that its era asks for."""
        meta = {
            f"{META}protocolVersion": MODERN,
            f"{META}clientCapabilities": {},
            f"{META}clientInfo": CLIENT,
        }
        headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method} | (
            {"Mcp_Name": name} if name else {}
        )
        message = {"id": number, "method": method, "params": {**(params or {}), "_meta": meta}}
        with self.post(message, **headers) as response:
            yield response
