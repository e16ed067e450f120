"""The slots of a connection that are no exchange of the fast lane, see `lane.py`."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class AppTurn:
    """A slot of the ordinary lane: a request that the ASGI application answers when its turn comes."""

    __slots__ = ("app", "cycle", "started")

    def __init__(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.cycle = cycle
        self.app = app
        self.started = False

    @property
    def is_streaming(self) -> bool:
        """Its answer goes on without a length: an event stream."""
        return bool(self.cycle.response_started and self.cycle.chunked_encoding)


class Refusal:
    """A slot whose answer is ready, and after which the connection closes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data
