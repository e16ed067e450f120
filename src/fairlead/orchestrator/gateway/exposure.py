"""How an endpoint shows what one server has: under which names, and in which bytes.

The part of a server is made once for each of its catalogues, and shared by every view that shows it the same
way: the endpoint itself, its variants, and the toolsets that leave it as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from msgspec import Raw

from fairlead.core.retry import is_safe_tool
from fairlead.mcp.contracts import annotations_of
from fairlead.mcp.messages import decode_members, encode_json, join_members
from fairlead.mcp.names import SEPARATOR, exposed_name, wrap_uri
from fairlead.mcp.param_headers import Mirrored
from fairlead.orchestrator.catalogue import LISTINGS, Catalogue, Item
from fairlead.orchestrator.metrics import CallStats, MetricsCollector
from fairlead.orchestrator.pool import ServerPool

Shown = tuple[str, bytes]
"""What identifies an item at the endpoint, and the item as it leaves."""
METHODS: Final = {"tools": "tools/call", "prompts": "prompts/get"}


class Route:
    """Where a tool or prompt of the view leads. `json_name` is the server's own name as JSON."""

    __slots__ = ("exposed", "json_name", "mirrored", "name", "pool", "safe", "stats")

    def __init__(
        self,
        pool: ServerPool,
        name: str,
        exposed: str,
        stats: CallStats,
        *,
        safe: bool,
        mirrored: tuple[Mirrored, ...] = (),
    ) -> None:
        self.pool = pool
        self.name = name
        self.exposed = exposed
        self.safe = safe  # it does no harm when it happens twice
        self.mirrored = mirrored  # arguments that HTTP headers repeat
        self.json_name = encode_json(name)
        self.stats = stats

    def __repr__(self) -> str:
        return f"<Route {self.exposed} -> {self.pool.spec.id}:{self.name}>"


Routes = dict[bytes, Route]
"""By the exposed name as JSON."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Part:
    """What a view shows of one server."""

    pool: ServerPool
    catalogue: Catalogue  # that it was made of
    lists: Mapping[str, list[Shown]]
    tools: Routes
    prompts: Routes


class Exposure(ABC):
    """One way to show servers."""

    merges = True  # many servers in one list

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[int, int], Part] = WeakValueDictionary()

    def part(self, pool: ServerPool, catalogue: Catalogue) -> Part:
        """The server's part with these lists; the same one as long as anybody has it."""
        key = (id(pool), id(catalogue))  # a part keeps both, so while it is there nothing else has their ids
        part = self._known.get(key)
        if part is None:
            part = self._known[key] = self.make(pool, catalogue)
        return part

    @abstractmethod
    def make(self, pool: ServerPool, catalogue: Catalogue) -> Part: ...

    def may_have(self, server: str, name: str) -> bool:
        """Whether a tool or prompt of this name, in a merged list, would be that server's."""
        return name.startswith(server + SEPARATOR)

    def shown_as(self, server: str, tool: str) -> str | None:
        """The name of a server's tool in a merged list; None where it does not show such a tool."""
        return exposed_name(server, tool)

    def may_read(self, server: str, uri: str) -> bool:
        """Whether a URI of the server's own may be read."""
        return True

    def may_call(self, server: str, tool: str) -> bool:
        """Whether a tool, by the server's own name, may be called though no list has it (yet)."""
        return True

    def reads(self, server: str) -> bool:
        """Whether prompts of the server may be got though no list has them (yet)."""
        return True


class Plain(Exposure):
    """The server's own names and bytes."""

    merges = False

    def __init__(self, metrics: MetricsCollector) -> None:
        super().__init__()
        self._metrics = metrics

    def make(self, pool: ServerPool, catalogue: Catalogue) -> Part:
        lists = {
            kind: [self._expose(pool.spec.id, kind, item) for item in catalogue.items(kind)]
            for kind in LISTINGS
        }
        tools, prompts = (dict(self._routes(pool, catalogue, kind, lists[kind])) for kind in METHODS)
        return Part(pool, catalogue, lists, tools, prompts)

    def _expose(self, server: str, kind: str, item: Item) -> Shown:
        return item.key, item.raw

    def _routes(
        self, pool: ServerPool, catalogue: Catalogue, kind: str, shown: list[Shown]
    ) -> Iterable[tuple[bytes, Route]]:
        stats = self._metrics.calls(pool.spec.id, METHODS[kind])
        for item, (exposed, _) in zip(catalogue.items(kind), shown, strict=True):
            safe = kind != "tools" or is_safe_tool(annotations_of(item.raw))
            mirrored = catalogue.mirrored(item.key) if kind == "tools" else ()
            yield encode_json(exposed), Route(pool, item.key, exposed, stats, safe=safe, mirrored=mirrored)


class Prefixed(Plain):
    """Names and URIs that say whose they are."""

    merges = True

    def _expose(self, server: str, kind: str, item: Item) -> Shown:
        listing = LISTINGS[kind]
        key = (exposed_name if listing.key == "name" else wrap_uri)(server, item.key)
        return key, changed(item.raw, **{listing.key: key})


def changed(raw: bytes, **texts: str) -> bytes:
    """An item with some of its members replaced, each by a text; the others stay as they are."""
    members: dict[str, Raw | bytes] = dict(decode_members(raw))
    members |= {name: encode_json(text) for name, text in texts.items()}
    return join_members(members)
