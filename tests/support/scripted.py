"""A driver whose servers are Python functions: for tests of what happens on top of a link, in virtual time.

A script gets each message that is sent (decoded) and gives the messages that come back; none at all stand for
silence. A link can `hang` as a stopped process does, and `go_on`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fairlead.mcp.param_headers import Pairs
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import ServerSpec
from fairlead.model.launch import Launch, ProcessLaunch, RemoteLaunch
from fairlead.ports import Driver, LinkListener, LinkLost, LinkStatistics

Script = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]

INFO = {"name": "scripted", "version": "1"}


def answer(message: dict[str, Any], **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def refuse(message: dict[str, Any], code: int, text: str = "no", **data: Any) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": text}
    if data:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": message["id"], "error": error}


def legacy(tools: Iterable[str] = ("echo",), *, annotations: dict[str, Any] | None = None) -> Script:
    """A legacy server with some tools; a call gives its own arguments back."""
    more = {} if annotations is None else {"annotations": annotations}

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        method = message.get("method")
        if "id" not in message or method is None:
            return []
        if method == "initialize":
            return [
                answer(
                    message,
                    protocolVersion="2025-11-25",
                    capabilities={"tools": {"listChanged": True}},
                    serverInfo=INFO,
                    instructions="be kind",
                )
            ]
        if method == "ping":
            return [answer(message)]
        if method == "tools/list":
            return [answer(message, tools=[{"name": name, "inputSchema": {}, **more} for name in tools])]
        if method == "tools/call":
            text = json.dumps(message["params"])
            return [answer(message, content=[{"type": "text", "text": text}])]
        return [refuse(message, -32601)]

    return script


class ScriptedLink:
    """A link to a script. What was sent stands in `sent`; `lose` ends it as a crash would."""

    def __init__(self, script: Script, listener: LinkListener) -> None:
        self.script = script
        self.listener = listener
        self.sent: list[dict[str, Any]] = []
        self.versions: list[str] = []
        self.abandoned: list[int] = []
        self.queued = 0
        self.lost = False
        self.deliver_at_once = True
        self.held: list[dict[str, Any]] = []
        self.cpu_seconds: float | None = None
        self.memory_bytes: int | None = None
        self.close_delay = 0.0
        self._hangs = False
        self._unread: list[dict[str, Any]] = []

    def send(
        self,
        frame: bytes,
        method: str,
        request_id: int | None,
        name: str | None,
        parameters: Pairs = (),
    ) -> None:
        assert b"\n" not in frame
        assert b"\r" not in frame
        if self.lost:
            return
        message = json.loads(frame)
        self.sent.append(message)
        if self._hangs:
            self._unread.append(message)
        else:
            self._react(message)

    def _react(self, message: dict[str, Any]) -> None:
        for back in self.script(message):
            if self.deliver_at_once:
                asyncio.get_running_loop().call_soon(self.say, back)
            else:
                self.held.append(back)

    def hang(self) -> None:
        """Read nothing and say nothing from now on, as after SIGSTOP."""
        self._hangs = True

    def go_on(self) -> None:
        """React to all that came meanwhile, as after SIGCONT."""
        self._hangs = False
        unread, self._unread = self._unread, []
        for message in unread:
            self._react(message)

    def say(self, message: dict[str, Any]) -> None:
        if not self.lost:
            self.listener.frame_received(json.dumps(message).encode())

    def lose(self, reason: str = "exited with code 1", detail: str = "") -> None:
        self.lost = True
        self.listener.link_lost(LinkLost(reason, detail, exit_code=1))

    def abandon(self, request_id: int) -> bool:
        return False

    def negotiated(self, version: str) -> None:
        self.versions.append(version)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    async def close(self) -> None:
        if not self.lost:
            await asyncio.sleep(self.close_delay)
        if not self.lost:
            self.lost = True
            self.listener.link_lost(LinkLost("stopped", expected=True))

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(None, self.queued, self.memory_bytes, self.cpu_seconds)


class ScriptedDriver:
    """Opens scripts, after `delay` s. `refusals` are raised, one each, before links are opened again."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.links: list[ScriptedLink] = []
        self.refusals: list[ProblemError] = []
        self.delay = 0.0
        self.close_delay = 0.0
        self.opening = 0
        self.most = 0  # links at a time, those that are opened included

    async def open(self, launch: Launch, listener: LinkListener) -> ScriptedLink:
        self.opening += 1
        self.most = max(self.most, self.opening + len(self.running))
        try:
            await asyncio.sleep(self.delay)
            if self.refusals:
                raise self.refusals.pop(0)
            link = ScriptedLink(self.script, listener)
            link.close_delay = self.close_delay
            self.links.append(link)
            return link
        finally:
            self.opening -= 1

    @property
    def running(self) -> list[ScriptedLink]:
        return [link for link in self.links if not link.lost]

    async def sweep(self) -> list[str]:
        return []

    async def close(self) -> None:
        for link in self.links:
            await link.close()


def launch(instance_id: str) -> ProcessLaunch:
    return ProcessLaunch(instance_id, ("x",), {}, Path("/"), Path("/dev/null"))


class ScriptedLauncher:
    """Implements `ports.Launcher` over scripted drivers. `problems` are raised, one each."""

    def __init__(self, driver: ScriptedDriver) -> None:
        self.driver = driver
        self.versions: dict[str, ScriptedDriver] = {}  # by a spec's command, where it is not `driver`
        self.problems: list[ProblemError] = []
        self.prepared = 0

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        self.prepared += 1
        if self.problems:
            raise self.problems.pop(0)
        driver = self.versions.get(spec.command or "", self.driver)
        url = spec.url
        if url is not None:
            return lambda instance_id: (RemoteLaunch(instance_id, url), driver)
        return lambda instance_id: (launch(instance_id), driver)
