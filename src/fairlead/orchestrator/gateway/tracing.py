"""Calls as spans of OpenTelemetry: below the client's span, above the server's.

Trace context travels in `_meta` (`traceparent`, `tracestate`). With tracing off it passes through as it is.
With tracing on each call that goes to a server becomes a span; its parent is what the client sent, and what
the server gets names the span as its own parent. `baggage` passes through either way. Names and attributes
are OpenTelemetry's conventions for MCP.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import decode_members, encode_json, join_members
from fairlead.orchestrator.metrics import Outcome
from fairlead.ports import CallSpan, Tracer

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange

CONTEXT: Final = ("traceparent", "tracestate")
MAX_TEXT: Final = 500  # characters of what others say: thousands of spans may wait for their collector
_TARGETS: Final = {
    "tools/call": "gen_ai.tool.name",
    "prompts/get": "gen_ai.prompt.name",
    "resources/read": "mcp.resource.uri",
}
_ERRORS: Final = {
    Outcome.TOOL_ERROR: "tool_error",
    Outcome.RPC_ERROR: "rpc_error",
    Outcome.UPSTREAM_FAILED: "upstream_failed",
    Outcome.TIMEOUT: "timeout",
    Outcome.CANCELLED: "cancelled",
    Outcome.REFUSED: "refused",
}


class TracedCall:
    """The span of one call in flight."""

    __slots__ = ("_error", "_span")

    def __init__(self, span: CallSpan) -> None:
        self._span = span
        self._error: McpError | None = None

    def failed(self, error: McpError) -> None:
        """The error that it is about to end with."""
        self._error = error

    def end(self, outcome: Outcome) -> None:
        error = self._error
        if error is not None:
            self._span.end(str(error.code), error.message[:MAX_TEXT], code=error.code)
        else:
            self._span.end(_ERRORS.get(outcome))


def trace(tracer: Tracer, exchange: Exchange) -> None:
    """Open a span for a call that begins, and have the server take it for its parent."""
    meta = exchange.meta
    members: dict[str, Raw | bytes] = dict(decode_members(b"{%b}" % meta.others))
    parent = {name: text for name in CONTEXT if (text := _text(members.pop(name, None))) is not None}
    target = exchange.exposed[:MAX_TEXT] if exchange.method in ("tools/call", "prompts/get") else ""
    span = tracer.start(f"{exchange.method} {target}".rstrip(), _attributes(exchange), parent)
    members |= {name: encode_json(text) for name, text in span.context().items()}
    exchange.meta = replace(meta, others=join_members(members)[1:-1])
    exchange.span = TracedCall(span)


def _attributes(exchange: Exchange) -> dict[str, str]:
    head, method = exchange.head, exchange.method
    session = head.session
    found = {
        "mcp.method.name": method,
        "mcp.protocol.version": head.routing.version or "" if session is None else session.version,
        "jsonrpc.request.id": exchange.id.decode().strip('"'),
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }
    if session is not None:
        found["mcp.session.id"] = session.key.partition(":")[2]  # tells sessions apart, opens none
    if exchange.pool is not None:
        found["fairlead.server"] = exchange.pool.spec.id
    if method == "tools/call":
        found["gen_ai.operation.name"] = "execute_tool"
    if (name := _TARGETS.get(method)) is not None:
        found[name] = exchange.exposed[:MAX_TEXT]
    return found


def _text(raw: Raw | bytes | None) -> str | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return None
