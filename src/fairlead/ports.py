"""The small interfaces between the services and the world: `model` is data, doing lives behind these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead.mcp.param_headers import Pairs
from fairlead.model.launch import Launch


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Why a link ended. `expected` is true after our own `close`.

    `reason` is for a person ("exited with code 1", "killed by SIGKILL", "memory 612 MiB over the limit
    of 512 MiB", "connection refused"); `detail` holds the last lines of stderr, or is empty.
    """

    reason: str
    detail: str = ""
    expected: bool = False
    exit_code: int | None = None  # negative: the signal's number
    refused: frozenset[int] = frozenset()  # requests that were certainly not carried out


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What a link can say of itself, from memory alone (no system calls)."""

    pid: int | None
    queued_bytes: int  # accepted by `send`, not yet taken by the other side
    memory_bytes: int | None = None  # resident, whole tree, as last sampled
    cpu_seconds: float | None = None  # whole tree, as last sampled


class LinkListener(Protocol):
    """Gets what a link brings in. Called from the event loop; must neither block nor raise."""

    def frame_received(self, frame: bytes, origin: int | None = None) -> None:
        """One whole JSON-RPC message: neither newline nor padding, not yet parsed or trusted.

        `origin` is the request on whose own stream it came, where the transport has such streams.
        """
        ...

    def request_failed(self, request_id: int, reason: str, retry_after: float | None) -> None:
        """The transport could not deliver this one request (HTTP 502, broken stream); the link lives on."""
        ...

    def writable_changed(self, writable: bool) -> None:
        """Backpressure: while False, send no new requests."""
        ...

    def link_lost(self, lost: LinkLost) -> None:
        """The link is gone; called exactly once, after the last frame."""
        ...


class Link(Protocol):
    """A transport to one running MCP server, at the level of whole messages."""

    def send(
        self,
        frame: bytes,
        method: str,
        request_id: int | None,
        name: str | None,
        parameters: Pairs = (),
    ) -> None:
        """Queue one message, in order; never blocks.

        `frame` is one JSON-RPC message without CR or LF. `request_id` is None for a notification or an
        answer. `name` is what `Mcp-Name` carries, `parameters` are the names and values of `Mcp-Param-*`,
        not yet encoded (both HTTP, modern era). A lost link drops it: the listener was or will be told
        through `link_lost`.
        """
        ...

    def abandon(self, request_id: int) -> bool:
        """Cancel by closing the request's own HTTP stream (modern era). False: send a notification."""
        ...

    def negotiated(self, version: str) -> None:
        """The era is settled: later messages carry what this protocol version wants in headers."""
        ...

    def pause_reading(self) -> None:
        """Stop bringing in frames until `resume_reading` (bounded buffering)."""
        ...

    def resume_reading(self) -> None: ...

    async def close(self) -> None:
        """Stop gracefully, then by force. Nothing of it is left: no process, descriptor or task."""
        ...

    def statistics(self) -> LinkStatistics: ...


class Driver(Protocol):
    """Starts instances somewhere. One driver object serves all instances of its kind."""

    async def open(self, launch: Launch, listener: LinkListener) -> Link:
        """Start it and return as soon as messages can be sent; no MCP is spoken here.

        Raises `ProblemError` (fault UPSTREAM) with what is missing: no such command, not executable,
        connection refused.
        """
        ...

    async def sweep(self) -> list[str]:
        """End what an earlier, killed orchestrator with the same state folder left running.

        Returns a line for each thing that was ended. Called once, before the first `open`.
        """
        ...

    async def close(self) -> None:
        """End every link that is still open, and the driver's own tasks."""
        ...


class CallSpan(Protocol):
    """One call, as tracing sees it: open until `end`."""

    def context(self) -> Mapping[str, str]:
        """What makes it the parent of what the server does: `traceparent`, perhaps `tracestate`."""
        ...

    def end(self, error: str | None = None, message: str = "", *, code: int | None = None) -> None:
        """`error` is the class of a failure, None for none; `code` is JSON-RPC's, where there is one."""
        ...


class Tracer(Protocol):
    """Records calls as spans. Called from the event loop; must neither block nor raise."""

    def start(self, name: str, attributes: Mapping[str, str], parent: Mapping[str, str]) -> CallSpan:
        """A span that begins now; `parent` is the caller's trace context as it came, perhaps none or bad."""
        ...


class SecretSource(Protocol):
    """Where `${NAME}` in a fleet spec comes from."""

    def get(self, name: str) -> str | None:
        """The value, or None when it is not set. Never logged."""
        ...


class PackageInstaller(Protocol):
    """Resolves, pins and installs the packages that servers come in."""

    async def ensure(self, package: str, entry: str | None) -> tuple[str, ...]:
        """Install what `npm:...` or `pypi:...` names, unless it is there, and return the argv that runs it.

        The argv starts with an absolute path (of node, of the environment's python or script) and has no
        `npx`, `uvx` or shell in it. Raises `ProblemError` that says what failed and how to mend it.
        """
        ...
