"""The handshake of a WebSocket, as admission sees it, and the subprotocol that is spoken.

A program sends its token in `Authorization`, as everywhere. A browser cannot set headers: it offers two
subprotocols, `fairlead.v1` and `fairlead.bearer.TOKEN`, the token in base64url without padding. That is a
request header as well, so it stands in no URL, history or access log, and a page of another origin can
neither know it nor send it for the user. It is never repeated in the answer. Or the browser has the cookie
of a login, which counts only together with an allowed Origin.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from starlette.types import Scope

from fairlead.core.admission import RequestHead
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.web.live_messages import PROTOCOL

BEARER: Final = "fairlead.bearer."
_UNKNOWN_SUBPROTOCOL: Final = Problem(
    "unknown-subprotocol",
    "Unknown subprotocol",
    f"Offer the subprotocol {PROTOCOL}, or none at all; {BEARER}TOKEN only carries a token.",
    400,
    Fault.CLIENT,
)


def request_head(scope: Scope) -> RequestHead:
    """What `admit` looks at, of an HTTP request or of a WebSocket's handshake."""
    client = scope.get("client")
    headers = list(scope["headers"])
    if scope["type"] == "websocket":
        offered = [name for name in scope["subprotocols"] if name.startswith(BEARER)]
        headers += [(b"authorization", b"Bearer " + _token(name.removeprefix(BEARER))) for name in offered]
    method = scope.get("method", "GET").encode()
    return RequestHead(method, scope["raw_path"], headers, client[0] if client else None)


def chosen_subprotocol(scope: Scope) -> str | None:
    """The one that is spoken; None where none is offered. Raises ProblemError when ours is not among them."""
    if not scope["subprotocols"]:
        return None
    if PROTOCOL not in scope["subprotocols"]:
        raise ProblemError(_UNKNOWN_SUBPROTOCOL)
    return PROTOCOL


def _token(encoded: str) -> bytes:
    """What is not base64url stays as it is, and is no token that is known."""
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True) or b"-"
    except (binascii.Error, ValueError):
        return b"-"
