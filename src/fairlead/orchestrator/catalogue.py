"""What one server offers: its lists, read whole and kept as the bytes that it sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw

from fairlead.core.retry import SAFE_METHODS, is_safe_tool
from fairlead.mcp.contracts import annotations_of, contract_digest
from fairlead.mcp.errors import METHOD_NOT_FOUND, McpError
from fairlead.mcp.messages import decode_members, one_line
from fairlead.orchestrator.instance import MCPServerInstance


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
class Catalogue:
    """The four lists of a server, in its order."""

    lists: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)

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

    def has_tool(self, name: object) -> bool:
        return any(item.key == name for item in self.items("tools"))


async def read_catalogue(instance: MCPServerInstance, *, timeout: float) -> Catalogue:  # noqa: ASYNC109
    """Read every list that the server declares. Raises McpError when a list cannot be read."""
    lists = {}
    for kind, listing in LISTINGS.items():
        if instance.supports(listing.capability):
            lists[kind] = await _read(instance, listing, timeout)
    return Catalogue(lists)


async def _read(instance: MCPServerInstance, listing: Listing, timeout: float) -> tuple[Item, ...]:  # noqa: ASYNC109
    try:
        raws = await instance.list_all(listing.method, listing.member, timeout=timeout)
    except McpError as error:
        if error.code == METHOD_NOT_FOUND:  # resources without templates, say
            return ()
        raise
    items: dict[str, Item] = {}
    for raw in raws:
        key = _key(raw, listing.key)
        if key is not None:
            items.setdefault(key, Item(key, one_line(bytes(raw))))
    return tuple(items.values())


def _key(raw: Raw, member: str) -> str | None:
    """The item's identity; None for an item without one, which nobody could use."""
    try:
        return msgspec.json.decode(decode_members(raw)[member], type=str)
    except (McpError, KeyError, msgspec.DecodeError):
        return None
