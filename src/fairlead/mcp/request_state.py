"""`requestState`: what a modern client carries from one round of a call to the next, sealed by the gateway.

It binds what a server said to the caller it said it to: another principal, endpoint or request cannot use it,
and neither can the same one too late.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.sealing import SealBrokenError, Sealer

_PURPOSE = "request state"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may use a state, and for what."""

    principal: str
    endpoint: str
    method: str
    name: str  # as the client says it: of a tool, prompt or resource


@dataclass(frozen=True, slots=True)
class RequestState:
    """`expires` is Unix time in seconds. Either a server's own state, or the number of a parked call."""

    caller: Caller
    expires: float
    node: str  # which start of which gateway sealed it
    instance: str = ""  # the server's instance that said it
    parked: int = 0
    inner: str | None = None  # the server's own


_decode = msgspec.json.Decoder(RequestState).decode


def seal_state(sealer: Sealer, state: RequestState) -> str:
    return sealer.seal(_PURPOSE, msgspec.json.encode(state))


def open_state(sealer: Sealer, sealed: object, caller: Caller, now: float) -> RequestState:
    """The state, if it is this caller's and still good; `now` is Unix time. Raises McpError (-32602)."""
    if not isinstance(sealed, str):
        raise McpError(INVALID_PARAMS, "params.requestState must be a string")
    try:
        state = _decode(sealer.open(_PURPOSE, sealed))
    except (SealBrokenError, msgspec.DecodeError):
        raise _refused("it is not one that this gateway gave out") from None
    if state.caller != caller:
        raise _refused("it belongs to another request")
    if state.expires <= now:
        raise _refused("it has expired")
    return state


def _refused(why: str) -> McpError:
    return McpError(INVALID_PARAMS, f"Invalid requestState: {why}; call again without it")
