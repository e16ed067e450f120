"""A `ports.LinkListener` that keeps what it hears, and lets a test wait for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from fairlead.ports import Link, LinkLost


class Recorder:
    """`events` has everything in order: ("frame", bytes), ("failed", id, reason, retry_after), and so on."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.on_frame: Callable[[bytes], None] | None = None
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def frames(self) -> list[bytes]:
        return [event[1] for event in self.events if event[0] == "frame"]

    @property
    def messages(self) -> list[Any]:
        """What the frames mean; one that is no JSON object counts as an empty message."""
        return [_decoded(frame) for frame in self.frames]

    @property
    def failures(self) -> dict[int, str]:
        return {event[1]: event[2] for event in self.events if event[0] == "failed"}

    @property
    def lost(self) -> LinkLost | None:
        found = [event[1] for event in self.events if event[0] == "lost"]
        assert len(found) < 2, "link_lost was called more than once"
        return found[0] if found else None

    def answer(self, request_id: int) -> Any:
        """The answer to this request, or None."""
        found = [m for m in self.messages if m.get("id") == request_id and "method" not in m]
        assert len(found) < 2, f"request {request_id} was answered more than once"
        return found[0] if found else None

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until `condition` holds; it is looked at whenever something is heard."""
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((lambda: bool(condition()), future))
        async with asyncio.timeout(20):
            await future

    async def answered(self, request_id: int) -> Any:
        await self.until(lambda: self.answer(request_id) or request_id in self.failures)
        assert request_id not in self.failures, self.failures[request_id]
        return self.answer(request_id)

    async def failed(self, request_id: int) -> str:
        await self.until(lambda: request_id in self.failures)
        return self.failures[request_id]

    async def ended(self) -> LinkLost:
        await self.until(lambda: self.lost)
        assert self.lost is not None
        return self.lost

    def _heard(self, *event: Any) -> None:
        assert self.lost is None, f"heard after the link was lost: {event}"
        self.events.append(event)
        if event[0] == "frame" and self.on_frame is not None:
            self.on_frame(event[1])
        for entry in tuple(self._waiting):
            condition, future = entry
            if condition():
                self._waiting.remove(entry)
                if not future.done():
                    future.set_result(None)

    def frame_received(self, frame: bytes, origin: int | None = None) -> None:
        assert frame
        assert frame == frame.strip()
        assert b"\n" not in frame
        assert b"\r" not in frame
        self._heard("frame", frame)

    def request_failed(self, request_id: int, reason: str, retry_after: float | None) -> None:
        self._heard("failed", request_id, reason, retry_after)

    def writable_changed(self, writable: bool) -> None:
        self._heard("writable", writable)

    def link_lost(self, lost: LinkLost) -> None:
        self._heard("lost", lost)


def _decoded(frame: bytes) -> Any:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def request(
    link: Link, number: int, method: str, params: dict[str, Any] | None = None, name: str | None = None
) -> None:
    """Send a request as an instance does."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    link.send(json.dumps(message).encode(), method, number, name)


def call(link: Link, number: int, tool: str, meta: dict[str, Any] | None = None, **arguments: Any) -> None:
    """Send a tools/call as an instance does."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta:
        params["_meta"] = meta
    request(link, number, "tools/call", params, tool)


async def shows(link: Link, text: str) -> None:
    """Wait until the link's repr has `text`; nothing else tells of the state of idle connections."""
    async with asyncio.timeout(20):
        while text not in repr(link):
            await asyncio.sleep(0)


def notify(link: Link, method: str, params: dict[str, Any] | None = None) -> None:
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    link.send(json.dumps(message).encode(), method, None, None)
