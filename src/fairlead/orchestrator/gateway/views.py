"""What an endpoint shows: the merged lists of many servers, or the plain lists of one.

A view keeps, for every server, the items as they leave (renamed, URIs wrapped), made once when the server's
catalogue changes, and joins them to pages on demand. Routing is a look-up of the name's JSON bytes.

Servers may offer more to clients that can be asked more. What clients of such a profile see is a *variant* of
the view: made when the first of them comes, sharing with the view itself whatever is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Final, Self

import msgspec

from fairlead.core.access import may_use
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import encode_json
from fairlead.mcp.names import unwrap_uri
from fairlead.mcp.profiles import Profile
from fairlead.mcp.sealing import SealBrokenError, Sealer
from fairlead.model.access import Grant
from fairlead.orchestrator.catalogue import LISTINGS
from fairlead.orchestrator.gateway.exposure import Exposure, Part, Route, Routes, Shown
from fairlead.orchestrator.pool import ServerPool

PAGE: Final = 1000  # items; many clients never ask for a second page
Audience = tuple[str, tuple[Grant, ...]]
"""An endpoint, and the grants of the callers that a view of it is for."""


def path_of(endpoint: str) -> bytes:
    """Where a `View.endpoint` is served."""
    if not endpoint:
        return b"/mcp"
    kind, mark, name = endpoint.partition(":")
    return f"/toolsets/{name}/mcp".encode() if mark else f"/servers/{kind}/mcp".encode()


class View:
    """One endpoint: `/mcp`, `/servers/{id}/mcp` or a toolset's."""

    def __init__(self, endpoint: str, exposure: Exposure, sealer: Sealer) -> None:
        self.endpoint = endpoint  # "" for all servers, a server's id, or toolset:NAME
        self.exposure = exposure
        self.description = ""  # what it is for, where somebody said so
        self.searches = False  # it lists two tools that find and call the others
        self.grants: tuple[Grant, ...] = ()  # of the callers that it is for, where theirs choose
        self.tools: Routes = {}  # by the exposed name as JSON
        self.prompts: Routes = {}
        self.pools: dict[str, ServerPool] = {}
        self._sealer = sealer
        self._parts: dict[str, Part] = {}
        self._pages: dict[tuple[str, str], bytes] = {}
        self._variants: dict[str, Self] = {}  # by the profile's key; itself where nothing differs

    def __repr__(self) -> str:
        return f"<View {self.endpoint or 'merged'} servers={len(self.pools)} tools={len(self.tools)}>"

    @property
    def merged(self) -> bool:
        """Whether names and URIs say whose they are; else there is one server."""
        return self.exposure.merges

    @property
    def toolset_name(self) -> str | None:
        """The name of the toolset whose endpoint it is."""
        kind, _, name = self.endpoint.partition(":")
        return name if kind == "toolset" else None

    @property
    def audience(self) -> Audience:
        """What tells it from all other views."""
        return self.endpoint, self.grants

    def granted(self, grants: tuple[Grant, ...], exposure: Exposure) -> Self:
        """The same endpoint for callers with these grants, which show it by `exposure`."""
        view = copy.copy(self)
        view.grants, view.exposure = grants, exposure
        view._parts = {}
        view.set_pools(self.pools.values())
        return view

    # -- being kept up to date ---------------------------------------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that the view shows, in their order."""
        grants, toolset = self.grants, self.toolset_name
        self.pools = {
            pool.spec.id: pool
            for pool in pools
            if not grants or may_use(grants, pool.spec.id, toolset=toolset)
        }
        parts = {server: self._part(pool) for server, pool in self.pools.items()}  # those of before live yet
        self._parts = {}
        self.tools, self.prompts = {}, {}
        self._take(parts)

    def refresh(self, pool: ServerPool) -> None:
        """One server's catalogue has changed: its own items and routes are made anew, the others' stay."""
        self._take({pool.spec.id: self._part(pool)})

    def _part(self, pool: ServerPool) -> Part:
        return self.exposure.part(pool, pool.catalogue)

    def _take(self, parts: Mapping[str, Part]) -> None:
        """Show these parts of their servers from now on."""
        for server, part in parts.items():
            before = self._parts.get(server)
            if before is not None:
                for name in before.tools:
                    self.tools.pop(name, None)
                for name in before.prompts:
                    self.prompts.pop(name, None)
            self._parts[server] = part
        for part in parts.values():
            self.tools.update(part.tools)
            self.prompts.update(part.prompts)
        self._pages = {}
        self._variants = {}

    def variant(self, profile: Profile) -> Self:
        """What clients of this profile see, as far as it is known. Cursors are good for all variants."""
        if not profile:
            return self
        variant = self._variants.get(profile.key)
        if variant is None:
            lists = {server: pool.catalogue_for(profile) for server, pool in self.pools.items()}
            own = {
                server: self.exposure.part(self.pools[server], catalogue)
                for server, catalogue in lists.items()
                if catalogue is not None and catalogue is not self.pools[server].catalogue
            }
            variant = self._with(own) if own else self
            if None not in lists.values() and all(pool.settled.is_set() for pool in self.pools.values()):
                self._variants[profile.key] = variant
        return variant

    def tells(self, kinds: frozenset[str]) -> frozenset[str]:
        """Of changed lists those that clients see."""
        return kinds

    def forget_variants(self) -> None:
        """Servers may have new versions, which offer other things."""
        self._variants = {}

    def _with(self, parts: Mapping[str, Part]) -> Self:
        variant = copy.copy(self)
        variant._parts = dict(self._parts)
        variant.tools, variant.prompts = dict(self.tools), dict(self.prompts)
        variant._take(parts)
        return variant

    def coming(self, profile: Profile) -> list[ServerPool]:
        """The servers of which nobody knows yet what they offer to clients of this profile."""
        if profile.key in self._variants:
            return []  # all of it is known
        return [
            pool
            for pool in self.pools.values()
            if not pool.settled.is_set() or (profile and pool.catalogue_for(profile) is None)
        ]

    # -- being asked -------------------------------------------------------------------------------------

    def items(self, kind: str) -> Iterable[Shown]:
        """All items of a list, in their order."""
        for part in self._parts.values():
            if part.pool.listed:
                yield from part.lists[kind]

    def count(self, kind: str) -> int:
        return sum(len(part.lists[kind]) for part in self._parts.values() if part.pool.listed)

    def route(self, method: str, json_name: bytes) -> Route | None:
        """Where a call of a tool, or a request for a prompt, leads."""
        return (self.tools if method == "tools/call" else self.prompts).get(json_name)

    def refusal(self, name: str) -> McpError | None:
        """Why there is no tool of this name, if it is withheld."""
        if not self.merged:
            may = self.exposure.may_call(self.endpoint, name)
            return self.pools[self.endpoint].contracts.refusal(name) if may else None
        for server, pool in self.pools.items():
            for tool in pool.contracts.withheld:
                if self.exposure.shown_as(server, tool) == name:
                    return pool.contracts.refusal(tool)
        return None

    def page(self, kind: str, cursor: str | None) -> bytes:
        """A page of a list as the members of a result, without braces. Raises McpError on a bad cursor.

        A cursor says after which item of which server the page begins, so that it stays good when other
        items come and go.
        """
        place = (kind, cursor or "")
        if cursor is not None or place not in self._pages:
            page = self._page(kind, None if cursor is None else self._open(kind, cursor))
            if cursor is not None:
                return page
            self._pages[place] = page
        return self._pages[place]

    def _page(self, kind: str, after: tuple[str, str] | None) -> bytes:
        items: list[bytes] = []
        last: tuple[str, str] | None = None
        skipping = after is not None
        more = False
        for server, part in self._parts.items():
            if not part.pool.listed:
                skipping = skipping and after is not None and server != after[0]
                continue
            for key, raw in part.lists[kind]:
                if skipping:
                    skipping = (server, key) != after
                    continue
                if len(items) == PAGE:
                    more = True
                    break
                items.append(raw)
                last = (server, key)
            if more:
                break
        body = b'"%b":[%b]' % (LISTINGS[kind].member.encode(), b",".join(items))
        if more:
            cursor = self._sealer.seal(f"cursor {self.endpoint}", msgspec.json.encode((kind, last)))
            body += b',"nextCursor":' + encode_json(cursor)
        return body

    def _open(self, kind: str, cursor: str) -> tuple[str, str]:
        try:
            payload = self._sealer.open(f"cursor {self.endpoint}", cursor)
            sealed_kind, after = msgspec.json.decode(payload, type=tuple[str, tuple[str, str]])
        except (SealBrokenError, msgspec.DecodeError):
            sealed_kind, after = "", ("", "")
        server, key = after
        part = self._parts.get(server)
        if sealed_kind != kind or part is None or not any(key == k for k, _ in part.lists[kind]):
            raise McpError(INVALID_PARAMS, "Invalid cursor: list again from the beginning")
        return after

    def resource(self, uri: str) -> tuple[ServerPool, str]:
        """The server that has a resource, and its own URI there. Raises McpError (-32602)."""
        found = unwrap_uri(uri) if self.merged else (self.endpoint, uri)
        pool = self.pools.get(found[0]) if found else None
        if found is None or pool is None or not self.exposure.may_read(*found):
            raise McpError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        return pool, found[1]
