"""What an endpoint shows: the merged lists of many servers, or the plain lists of one.

A view keeps, for every server, the items as they leave (renamed, URIs wrapped), made once when the server's
catalogue changes, and joins them to pages on demand. Routing is a look-up of the name's JSON bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw

from fairlead.core.retry import is_safe_tool
from fairlead.mcp.contracts import annotations_of
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import decode_members, encode_json, join_members
from fairlead.mcp.names import exposed_name, unwrap_uri, wrap_uri
from fairlead.mcp.sealing import SealBrokenError, Sealer
from fairlead.orchestrator.catalogue import LISTINGS, Item
from fairlead.orchestrator.metrics import CallStats, MetricsCollector
from fairlead.orchestrator.pool import ServerPool

PAGE: Final = 1000  # items; many clients never ask for a second page


class Route:
    """Where a tool or prompt of the view leads. `json_name` is the server's own name as JSON."""

    __slots__ = ("exposed", "json_name", "name", "pool", "safe", "stats")

    def __init__(self, pool: ServerPool, name: str, exposed: str, stats: CallStats, *, safe: bool) -> None:
        self.pool = pool
        self.name = name
        self.exposed = exposed
        self.safe = safe  # it does no harm when it happens twice
        self.json_name = encode_json(name)
        self.stats = stats

    def __repr__(self) -> str:
        return f"<Route {self.exposed} -> {self.pool.spec.id}:{self.name}>"


class View:
    """One endpoint: `/mcp` (`merged`), or `/servers/{id}/mcp`."""

    def __init__(self, endpoint: str, sealer: Sealer, metrics: MetricsCollector) -> None:
        self.endpoint = endpoint  # "" for the merged one, else the server's id
        self.tools: dict[bytes, Route] = {}  # by the exposed name as JSON
        self.prompts: dict[bytes, Route] = {}
        self.pools: dict[str, ServerPool] = {}
        self._sealer = sealer
        self._metrics = metrics
        self._parts: dict[str, dict[str, list[tuple[str, bytes]]]] = {}  # server -> kind -> (key, item)
        self._pages: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"<View {self.endpoint or 'merged'} servers={len(self.pools)} tools={len(self.tools)}>"

    @property
    def merged(self) -> bool:
        return not self.endpoint

    # -- being kept up to date ---------------------------------------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that the view shows, in their order."""
        self.pools = {pool.spec.id: pool for pool in pools}
        self._parts = {server: {} for server in self.pools}
        self.tools.clear()
        self.prompts.clear()
        for pool in self.pools.values():
            self.refresh(pool)

    def refresh(self, pool: ServerPool) -> None:
        """One server's catalogue has changed: its own items and routes are made anew, the others' stay."""
        server = pool.spec.id
        before = self._parts[server]
        for key, _ in before.get("tools", ()):
            self.tools.pop(encode_json(key), None)
        for key, _ in before.get("prompts", ()):
            self.prompts.pop(encode_json(key), None)
        self._parts[server] = {
            kind: [self._expose(server, kind, item) for item in pool.catalogue.items(kind)]
            for kind in LISTINGS
        }
        self.tools.update(self._routes(pool, "tools", "tools/call"))
        self.prompts.update(self._routes(pool, "prompts", "prompts/get"))
        self._pages.clear()

    def _expose(self, server: str, kind: str, item: Item) -> tuple[str, bytes]:
        if not self.merged:
            return item.key, item.raw
        listing = LISTINGS[kind]
        key = (exposed_name if listing.key == "name" else wrap_uri)(server, item.key)
        members: dict[str, Raw | bytes] = dict(decode_members(item.raw))
        members[listing.key] = encode_json(key)
        return key, join_members(members)

    def _routes(self, pool: ServerPool, kind: str, method: str) -> Iterable[tuple[bytes, Route]]:
        stats = self._metrics.calls(pool.spec.id, method)
        shown = self._parts[pool.spec.id][kind]
        for item, (exposed, _) in zip(pool.catalogue.items(kind), shown, strict=True):
            safe = kind != "tools" or is_safe_tool(annotations_of(item.raw))
            yield encode_json(exposed), Route(pool, item.key, exposed, stats, safe=safe)

    def coming(self) -> list[ServerPool]:
        """The servers that start for the first time, so that nobody knows yet what they offer."""
        return [pool for pool in self.pools.values() if not pool.settled.is_set()]

    # -- being asked -------------------------------------------------------------------------------------

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
        for server, parts in self._parts.items():
            for key, raw in parts[kind]:
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
        if sealed_kind != kind or not any(key == k for k, _ in self._parts.get(server, {}).get(kind, ())):
            raise McpError(INVALID_PARAMS, "Invalid cursor: list again from the beginning")
        return after

    def resource(self, uri: str) -> tuple[ServerPool, str]:
        """The server that has a resource, and its own URI there. Raises McpError (-32602)."""
        if not self.merged:
            return self.pools[self.endpoint], uri
        found = unwrap_uri(uri)
        pool = self.pools.get(found[0]) if found else None
        if found is None or pool is None:
            raise McpError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        return pool, found[1]
