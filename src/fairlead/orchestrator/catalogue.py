"""What one server offers: its lists, read whole and kept as the bytes that it sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog
from msgspec import Raw

from fairlead.core.retry import SAFE_METHODS, is_safe_tool
from fairlead.mcp.caching import CacheHint
from fairlead.mcp.contracts import annotations_of, contract_digest
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import METHOD_NOT_FOUND, McpError
from fairlead.mcp.messages import decode_members, one_line
from fairlead.mcp.param_headers import AnnotationError, Mirrored, mirrored_by
from fairlead.orchestrator.instance import MCPServerInstance

LOG = structlog.get_logger("fairlead.pool")


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind of item is listed: method, member of the result, what identifies an item, capability."""

    method: str
    member: str
    key: str
    capability: str


LISTINGS: Final[Mapping[str, Listing]] = {
    "tools": Listing("tools/list", "tools", "name", "tools"),
    "prompts": Listing("prompts/list", "prompts", "name", "prompts"),
    "resources": Listing("resources/list", "resources", "uri", "resources"),
    "templates": Listing("resources/templates/list", "resourceTemplates", "uriTemplate", "resources"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One tool, prompt, resource or template: its identity and the object as the server wrote it."""

    key: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class ListHint:
    """How long a list may be kept. `until` is when it must be read again, infinite where it is told of."""

    kept: CacheHint
    until: float = float("inf")  # loop time, s


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The four lists of a server, in its order."""

    lists: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)
    hints: Mapping[str, ListHint] = field(default_factory=dict)  # of what a modern server said
    unread: Mapping[str, str] = field(default_factory=dict)  # kinds that could not be read, and why
    _mirrored: dict[str, tuple[Mirrored, ...]] = field(init=False, default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for item in self.items("tools"):
            with contextlib.suppress(AnnotationError):  # it repeats nothing that anybody could hold it to
                if mirrored := mirrored_by(item.raw):
                    self._mirrored[item.key] = mirrored

    def items(self, kind: str) -> tuple[Item, ...]:
        return self.lists.get(kind, ())

    def contract(self) -> str:
        """The digest of all tools: servers with the same one can stand in for each other."""
        return contract_digest(item.raw for item in self.items("tools"))

    def is_safe(self, method: str, tool: object) -> bool:
        """Whether a request does no harm when it happens twice."""
        if method != "tools/call":
            return method in SAFE_METHODS
        return any(i.key == tool and is_safe_tool(annotations_of(i.raw)) for i in self.items("tools"))

    def mirrored(self, tool: object) -> tuple[Mirrored, ...]:
        """The arguments of a tool that HTTP headers repeat."""
        return self._mirrored.get(tool, ()) if isinstance(tool, str) else ()

    def has_tool(self, name: object) -> bool:
        return any(item.key == name for item in self.items("tools"))


def differing(before: Catalogue, after: Catalogue) -> frozenset[str]:
    """The kinds of items in which they differ."""
    kinds = before.lists.keys() | after.lists.keys()
    return frozenset(kind for kind in kinds if before.items(kind) != after.items(kind))


async def read_catalogue(instance: MCPServerInstance, *, timeout: float) -> Catalogue:  # noqa: ASYNC109
    """Read every list that the server declares; raises McpError when none can be read, though there are."""
    lists: dict[str, tuple[Item, ...]] = {}
    hints: dict[str, ListHint] = {}
    unread: dict[str, str] = {}
    last: McpError | None = None
    for kind, listing in LISTINGS.items():
        if not instance.supports(listing.capability):
            continue
        try:
            lists[kind], hint = await _read(instance, listing, timeout)
        except McpError as error:
            last, unread[kind] = error, error.message
            LOG.warning("list unreadable", instance=instance.id, kind=kind, detail=error.message)
        else:
            if hint is not None:
                hints[kind] = hint
    if last is not None and not lists:
        raise last
    if instance.mirrors and "tools" in lists:
        lists["tools"] = tuple(item for item in lists["tools"] if _is_callable(instance, item))
    return Catalogue(lists, hints, unread)


async def _read(
    instance: MCPServerInstance,
    listing: Listing,
    timeout: float,  # noqa: ASYNC109
) -> tuple[tuple[Item, ...], ListHint | None]:
    try:
        raws, kept = await instance.list_all(listing.method, listing.member, timeout=timeout)
    except McpError as error:
        if error.code == METHOD_NOT_FOUND:  # resources without templates, say
            return (), None
        raise
    items: dict[str, Item] = {}
    for raw in raws:
        key = _key(raw, listing.key)
        if key is not None:
            items.setdefault(key, Item(key, one_line(bytes(raw))))
    return tuple(items.values()), _hint(instance, listing, kept)


def _hint(instance: MCPServerInstance, listing: Listing, kept: CacheHint | None) -> ListHint | None:
    if kept is None or instance.era is Era.LEGACY:
        return None
    if instance.declares(listing.capability, "listChanged"):
        return ListHint(kept)
    return ListHint(kept, asyncio.get_running_loop().time() + kept.ttl)


def _is_callable(instance: MCPServerInstance, tool: Item) -> bool:
    """Clients over HTTP must leave out tools whose annotations are wrong, and we are one."""
    try:
        mirrored_by(tool.raw)
    except AnnotationError as error:
        LOG.warning("tool left out", instance=instance.id, tool=tool.key[:100], reason=str(error))
        return False
    return True


def _key(raw: Raw, member: str) -> str | None:
    """The item's identity; None for an item without one, which nobody could use."""
    try:
        return msgspec.json.decode(decode_members(raw)[member], type=str)
    except (McpError, KeyError, msgspec.DecodeError):
        return None
