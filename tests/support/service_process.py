"""An orchestrator in a process of its own, to be killed: with its REST, its MCP endpoint and its events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

from support.stack import ACCEPT, MODERN, TOKEN, fleet, light, until

READY = 60.0  # s
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class Service:
    """One installation in `folder`.

    `variables` are further settings, as of the environment; `sections` those of the fleet file.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "fleet.yml").write_text(fleet({"s": light()}, **self.sections))

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def url(self) -> str:
        address: str = json.loads((self.state / "run.json").read_text())["addresses"]["orchestrator"]
        return address

    async def start(self) -> None:
        """Start it and wait until its server is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        environment |= {"FAIRLEAD_TOKEN": TOKEN, **self.variables}
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fairlead.cli.main", "orchestrator", "--port", "0"),
                *("--state-dir", str(self.state), "--config", str(self.folder / "fleet.yml")),
                env=environment,
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        pid = self.process.pid
        await until(lambda: self._runs(pid), lambda: (self.folder / "log").read_text()[-3000:], guard=READY)
        self.http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {environment['FAIRLEAD_TOKEN']}"},
            timeout=30,
        )
        while (await self.get("/api/servers/s"))["state"] != "ready":
            await asyncio.sleep(0.05)

    def _runs(self, pid: int) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, (self.folder / "log").read_text()[-3000:]
        try:
            return bool(json.loads((self.state / "run.json").read_text())["pid"] == pid)
        except (OSError, ValueError):
            return False

    async def kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.http.aclose()

    async def stop(self) -> None:
        """As an operator does it; what hangs is killed, and fails the test."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(READY):
                assert await self.process.wait() == 0, (self.folder / "log").read_text()[-3000:]
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            await self.http.aclose()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.http.get(path, params=params, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def call(self, text: str, *, token: str = TOKEN) -> httpx.Response:
        """One call of `echo` in the modern era."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": ACCEPT,
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": "s__echo",
        }
        params = {"name": "s__echo", "arguments": {"text": text}, "_meta": META}
        message = {"jsonrpc": "2.0", "id": text, "method": "tools/call", "params": params}
        return await self.http.post("/mcp", headers=headers, json=message)

    async def events(self) -> list[dict[str, Any]]:
        """All events that are kept, in their order."""
        found: list[dict[str, Any]] = []
        while page := (await self.get("/api/events", since=len(found), limit=1000))["events"]:
            found += page
        return found


@dataclass
class Watcher:
    """A client of `/ws` that wants every event, whatever happens to the service."""

    service: Service
    seen: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    async def watch(self) -> None:
        """For ever: connect, subscribe from where it got to, read."""
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException, ValueError, KeyError):
                address = self.service.url.replace("http", "ws", 1) + "/ws"
                headers = {"Authorization": f"Bearer {TOKEN}"}
                async with websockets.connect(address, additional_headers=headers) as socket:
                    self.connections += 1
                    since = int(self.seen[-1]["sequence"]) if self.seen else 0
                    await socket.send(json.dumps({"type": "subscribe", "id": "all", "since": since}))
                    async for text in socket:
                        message = json.loads(text)
                        if message["type"] == "event":
                            self.seen.append(message["event"])
            await asyncio.sleep(0.05)

    @property
    def sequences(self) -> list[int]:
        return [int(event["sequence"]) for event in self.seen]
