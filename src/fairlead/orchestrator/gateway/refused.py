"""What the audit says of requests that no server got."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fairlead.core.access import CALLS
from fairlead.mcp.errors import FORBIDDEN, McpError
from fairlead.model.access import Caller
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.orchestrator.gateway.head import Head
from fairlead.orchestrator.gateway.views import path_of

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange

MAX_TEXT: Final = 500  # characters of what a client says


def refused_request(exchange: Exchange, outcome: str) -> AuditRecord:
    """Of a request that was understood, and not let on."""
    head, lane = exchange.head, exchange.lane
    return _record(
        outcome,
        exchange.method,
        head.caller,
        lane.client[0] if lane is not None and lane.client else "",
        server="" if head.view.merged else head.view.endpoint,
        tool=exchange.exposed[:MAX_TEXT],
    )


def refused_head(
    outcome: str, known: Head | Caller | None, target: tuple[bytes, bytes] | None, peer: str
) -> AuditRecord:
    """Of a request that got no further than its head: `known` is what is known of it, if only who sends it.

    `target` is what the parser knows, a method and a URL.
    """
    caller = known.caller if isinstance(known, Head) else known
    if isinstance(known, Head):
        target = known.method, path_of(known.view.endpoint)
    method, url = target or (b"", b"")
    action = b"%b %b" % (method, url.partition(b"?")[0])
    return _record(outcome, action.decode("latin-1").strip(), caller, peer)


def too_weak(caller: Caller) -> McpError:
    """For whoever may look and not call; an answer of 403 in the modern era."""
    text = (
        f"Not allowed: {caller.name!r} has the role {caller.role.word}, and this takes {CALLS.word} or more"
    )
    return McpError(FORBIDDEN, text, {"problem": "forbidden"})


def word_of(refused: McpError) -> str:
    """The problem's code where the error is about a problem of ours, else its number."""
    problem = refused.data.get("problem") if isinstance(refused.data, dict) else None
    return problem if isinstance(problem, str) else str(refused.code)


def _record(
    outcome: str, action: str, caller: Caller | None, peer: str, *, server: str = "", tool: str = ""
) -> AuditRecord:
    return AuditRecord(
        time.time(),
        AuditKind.REFUSAL,
        principal=caller.name if caller is not None else "",
        credential=caller.credential if caller is not None else "",
        action=action[:MAX_TEXT],
        server=server,
        tool=tool,
        outcome=outcome,
        peer=peer,
    )
