"""The whole orchestrator service in the test's own process, on a free port, over the light fixture."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from fairlead.app.compose import System
from fairlead.app.listening import addresses, listening
from fairlead.app.run import serving
from fairlead.app.settings import Settings
from fairlead.mcp.eras import NAME_MEMBER
from fairlead.model.access import Grant, Principal, Role
from fairlead.model.status import ServerState
from fairlead.stores.state import StateFolder

LIGHT = Path(__file__).with_name("light_server.py")
TOKEN = "flt_test-token-of-the-stack-0123456789"
LEGACY = "2025-11-25"
MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"


def light(*flags: str, **server: Any) -> dict[str, Any]:
    """A server entry of the fleet file that runs the light fixture, where tests see its pids and files."""
    open_to_tests = {"security": {"sandbox": "off"}}
    return {"command": sys.executable, "args": ["-S", "-E", str(LIGHT), *flags], **open_to_tests, **server}


def fleet(servers: dict[str, Any], **sections: Any) -> str:
    """A fleet file; JSON is YAML."""
    limits = {
        "maxConcurrentRequests": 1000,
        "rateLimiting": {"enabled": True, "requestsPerMinute": 1_000_000},
    }
    return json.dumps(
        {"version": "1", "servers": servers, "security": {"resourceLimits": limits}, **sections}
    )


@dataclass
class Stack:
    """The running service and ways to speak to it."""

    system: System
    url: str
    http: httpx.AsyncClient = field(repr=False)
    fleet_file: Path

    @property
    def port(self) -> int:
        return self.system.ports[0]

    async def ready(self, *servers: str) -> None:
        await until(
            lambda: all(self.system.fleet.server(name).state is ServerState.READY for name in servers),
            lambda: str(self.system.fleet),
        )

    def calls_in_flight(self, server: str) -> int:
        return sum(instance.calls_in_flight for instance in self.system.fleet.server(server).instances)

    async def key(self, name: str, role: Role = Role.ADMIN, *grants: Grant) -> str:
        """A new key of a principal, which is made or changed to be so."""
        roster = self.system.access.roster
        await roster.put_principal(Principal(name, role, grants), by="test")
        return (await roster.add_key(name, by="test")).value

    async def remove(self, name: str) -> None:
        """A principal, with all of its keys."""
        await self.system.access.roster.remove_principal(name, by="test")

    async def session(self, path: str = "/mcp", token: str = TOKEN) -> LegacySession:
        session = LegacySession(self, path, token)
        await session.initialize()
        return session

    def modern(self, path: str = "/mcp", token: str = TOKEN) -> ModernClient:
        return ModernClient(self, path, token)

    async def rest(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"} | kwargs.pop("headers", {})
        return await self.http.request(method, self.url + path, headers=headers, **kwargs)

    async def raw(self, data: bytes, *, half_close: bool = False, timeout: float = 20.0) -> bytes:  # noqa: ASYNC109
        """Everything that comes back for some bytes, until the service closes the connection."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(data)
                await writer.drain()
                if half_close:
                    writer.write_eof()
                return await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


class LegacySession:
    """A client of the era with sessions, at the level of messages."""

    def __init__(self, stack: Stack, path: str, token: str) -> None:
        self.stack = stack
        self.url = stack.url + path
        self.headers = {"Authorization": f"Bearer {token}", "Accept": ACCEPT}
        self.number = 0
        self.about: dict[str, Any] = {}

    async def initialize(self) -> None:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        answer = await self.post(self.message("initialize", hello))
        assert answer.status_code == 200, answer.text
        self.about = answer.json()["result"]
        self.headers |= {"Mcp-Session-Id": answer.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}
        assert (await self.note("notifications/initialized")).status_code == 202

    def message(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.number += 1
        return {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params or {}}

    async def post(self, message: Any) -> httpx.Response:
        return await self.stack.http.post(self.url, headers=self.headers, json=message)

    async def note(self, method: str, params: dict[str, Any] | None = None) -> httpx.Response:
        return await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}})

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer to a request: `result` or `error`."""
        answer = await self.post(self.message(method, params))
        if answer.headers["content-type"] == "text/event-stream":
            return events(answer.text)[-1]
        return answer.json()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def text(self, tool: str, **arguments: Any) -> str:
        answer = await self.call(tool, **arguments)
        return answer["result"]["content"][0]["text"]


class ModernClient(LegacySession):
    """A client of the stateless era."""

    def __init__(self, stack: Stack, path: str, token: str) -> None:
        super().__init__(stack, path, token)
        self.headers["MCP-Protocol-Version"] = MODERN
        self.meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }

    async def post(self, message: Any) -> httpx.Response:
        params = message.setdefault("params", {})
        params["_meta"] = self.meta | params.get("_meta", {})
        return await self.stack.http.post(self.url, headers=self.routed(message), json=message)

    def routed(self, message: dict[str, Any]) -> dict[str, str]:
        headers = self.headers | {"Mcp-Method": message["method"]}
        name = message["params"].get(NAME_MEMBER.get(message["method"], ""))
        return headers if name is None else headers | {"Mcp-Name": name}


def events(text: str) -> list[dict[str, Any]]:
    """The messages of an event stream."""
    return [json.loads(line[len("data: ") :]) for line in text.splitlines() if line.startswith("data: ")]


async def until(
    condition: Callable[[], bool], explain: Callable[[], str] = lambda: "", guard: float = 30.0
) -> None:
    """Wait until something holds; the guard is against hanging, not a measure."""
    deadline = asyncio.get_running_loop().time() + guard
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"it did not come true within {guard} s: {explain()}")
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    servers: dict[str, Any],
    *,
    settings: dict[str, Any] | None = None,
    wait: tuple[str, ...] | None = None,
    **sections: Any,
) -> AsyncIterator[Stack]:
    """The service over some servers; everything has ended when the block ends.

    `wait` names the servers that must be ready when it begins: all that are enabled, if None.
    """
    fleet_file = folder / "fleet.yml"
    fleet_file.write_text(fleet(servers, **sections))
    state = StateFolder(folder / "state")
    chosen = Settings(
        config=fleet_file,
        state_dir=state.root,
        workspace=folder / "workspace",
        port=0,
        token=SecretStr(TOKEN),
        **(settings or {}),
    )
    state.prepare()
    with listening(chosen) as listeners:
        async with (
            serving(chosen, state, listeners) as system,
            httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http,
        ):
            stack = Stack(system, addresses(listeners)["mcp"], http, fleet_file)
            enabled = tuple(name for name, spec in servers.items() if spec.get("enabled", True))
            await stack.ready(*(enabled if wait is None else wait))
            yield stack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
