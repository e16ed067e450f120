"""Who may do what: decisions about a caller that is known already.

A role says what kind of thing a caller may do; grants say with which servers, toolsets and tools. A denial
wins over any allowance, and whoever has an allowance at all may use only what is allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from fairlead.core import refusals
from fairlead.core.toolset import is_named
from fairlead.model.access import Caller, Effect, Grant, Role
from fairlead.model.errors import Problem

EVERY: Final = "*"
CALLS: Final = Role.DEVELOPER
"""From this role on tools may be called, prompts got and resources read; below it lists are all there is."""


class Browser(NamedTuple):
    """A browser that has logged in. `csrf_token` goes with each change that it asks for."""

    caller: Caller
    csrf_token: bytes


class Identities(Protocol):
    """Who comes by what. Asked on the event loop; must neither block nor raise."""

    def identify(self, token: bytes) -> Caller | Problem:
        """Whose a bearer token is. A Problem says why it is refused (401), or to come again (503)."""
        ...

    def identify_cookie(self, value: bytes) -> Browser | Problem:
        """Whose the cookie of a browser's session is; a Problem (401) when it is nobody's."""
        ...

    def is_valid(self, caller: Caller) -> bool:
        """Whether what it came by is still good: what was opened by it ends when it is not."""
        ...

    def knows(self, principal: str) -> bool:
        """Whether there is such a principal: its sessions end when there is not."""
        ...


class KnownTokens:
    """Identities that never change: digest (SHA-256) of each token to its caller."""

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._callers = dict(callers)

    def __repr__(self) -> str:
        return f"KnownTokens({sorted(caller.name for caller in self._callers.values())})"

    def identify(self, token: bytes) -> Caller | Problem:
        return self._callers.get(hashlib.sha256(token).digest(), refusals.INVALID_TOKEN)

    def identify_cookie(self, value: bytes) -> Browser | Problem:
        return refusals.SESSION_OVER

    def is_valid(self, caller: Caller) -> bool:
        return caller in self._callers.values()

    def knows(self, principal: str) -> bool:
        return any(caller.name == principal for caller in self._callers.values())


def may_use(
    grants: tuple[Grant, ...], server: str, tool: str | None = None, toolset: str | None = None
) -> bool:
    """Whether grants let their owner use a server (and of it a tool), by a toolset if one is given.

    With `tool` None: whether there may be anything of the server that it may use. All names are the fleet's
    and the server's own, whatever a toolset calls them.
    """
    allowing = [grant for grant in grants if grant.effect is Effect.ALLOW]
    if allowing and not any(_covers(grant, server, tool, toolset) for grant in allowing):
        return False
    denying = (grant for grant in grants if grant.effect is Effect.DENY)
    if tool is None:  # only a denial of everything closes a server
        return not any(EVERY in grant.tools and _covers(grant, server, None, toolset) for grant in denying)
    return not any(_covers(grant, server, tool, toolset) for grant in denying)


def may_read(grants: tuple[Grant, ...], server: str, toolset: str | None = None) -> bool:
    """The same of what is no tool: prompts and resources. Where grants choose tools, those are all."""
    allowing = [grant for grant in grants if grant.effect is Effect.ALLOW]
    whole = not allowing or any(
        EVERY in grant.tools and _covers(grant, server, None, toolset) for grant in allowing
    )
    return whole and may_use(grants, server, None, toolset)


def _covers(grant: Grant, server: str, tool: str | None, toolset: str | None) -> bool:
    return (
        is_named(server, grant.servers)
        and (tool is None or is_named(tool, grant.tools))
        and (EVERY in grant.toolsets or (toolset is not None and is_named(toolset, grant.toolsets)))
    )
