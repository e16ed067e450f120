"""What the grants of a caller say of a request that REST routes to a server."""

from __future__ import annotations

from typing import Final

from fairlead.core import refusals
from fairlead.core.access import may_read, may_use
from fairlead.model.errors import ProblemError
from fairlead.model.request import RoutedRequest

_OF_TOOLS: Final = frozenset({"tools/list", "ping"})


def is_granted(request: RoutedRequest, server: str) -> bool:
    """Whether the request may go to a server."""
    grants = () if request.caller is None else request.caller.grants
    if not grants:
        return True
    if request.method == "tools/call":
        return may_use(grants, server, request.target)
    return may_use(grants, server) if request.method in _OF_TOOLS else may_read(grants, server)


def require_granted(request: RoutedRequest, server: str) -> None:
    """Raises ProblemError (403), whether there is such a server or not."""
    if not is_granted(request, server):
        raise ProblemError(refusals.not_granted(server))


def may_list(request: RoutedRequest, server: str, tool: str) -> bool:
    """Whether a tool is shown to whoever asks for a server's list."""
    return request.caller is None or may_use(request.caller.grants, server, tool)
