"""The search mode of a toolset: two tools in place of a long list.

`search_tools` finds the toolset's tools by words. `call_tool` calls one of them: its name and arguments take
the place of `call_tool`'s own, and from there the call goes the same way as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from fairlead.core.tool_search import Document, ToolIndex
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import decode_any, decode_members, encode_json, join_members, result
from fairlead.model.toolset import CALL_TOOL, SEARCH_TOOLS
from fairlead.orchestrator.gateway.exposure import Shown
from fairlead.orchestrator.gateway.params import text_member

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange

FOUND: Final = 10  # tools that a search gives, unless it says otherwise
MOST_FOUND: Final = 50
_WEIGHTS: Final = {"name": 4.0, "title": 3.0, "description": 1.0}
_PARAMETER: Final = 1.0  # weight of a parameter's name; its description has half of it
_SEARCH: Final = {
    "name": SEARCH_TOOLS,
    "title": "Search tools",
    "description": (
        "Find tools by words of what they do. Gives the best matches with their descriptions and input "
        f"schemas; call one of them with {CALL_TOOL}."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "A few words; an empty text gives the first tools"},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_FOUND,
                "default": FOUND,
                "description": "How many tools at most",
            },
        },
        "required": ["query"],
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "tools": {"type": "array", "items": {"type": "object"}, "description": "The best match first"},
            "total": {"type": "integer", "description": "How many tools there are in all"},
        },
        "required": ["tools", "total"],
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": False},
}
_CALL: Final = {
    "name": CALL_TOOL,
    "title": "Call a tool",
    "description": f"Call a tool that {SEARCH_TOOLS} has found.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": f"The tool's name, as {SEARCH_TOOLS} gives it"},
            "arguments": {"type": "object", "description": "What the tool's inputSchema asks for"},
        },
        "required": ["name"],
    },
}
TWO_TOOLS: Final = b'"tools":' + encode_json([_SEARCH, _CALL])


class Finder:
    """Searches some tools, in a thread: 20,000 take a second to index, and 50 ms to search.

    One search at a time: more would go no faster, and only take the processor from everything else.
    """

    def __init__(self, tools: Sequence[Shown]) -> None:
        self._tools = tools
        self._index: ToolIndex | None = None
        self._searching = asyncio.Lock()

    async def best(self, query: str, limit: int) -> list[bytes]:
        """The best matches as they are listed, best first."""
        async with self._searching:
            if self._index is None:
                self._index = await asyncio.to_thread(_index_of, self._tools)
            places = await asyncio.to_thread(self._index.best, query, limit)
        return [self._tools[place][1] for place in places]

    def __len__(self) -> int:
        return len(self._tools)


def _index_of(tools: Sequence[Shown]) -> ToolIndex:
    return ToolIndex([name for name, _ in tools], (_document(raw) for _, raw in tools))


def _document(raw: bytes) -> Document:
    """What a tool says of itself."""
    try:
        tool: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return []
    said = [(weight, tool.get(member)) for member, weight in _WEIGHTS.items()]
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, about in properties.items() if isinstance(properties, dict) else ():
        said.append((_PARAMETER, name))
        if isinstance(about, dict):
            said.append((_PARAMETER / 2, about.get("description")))
    return [(weight, text) for weight, text in said if isinstance(text, str)]


def unwrap_call(members: dict[str, Raw]) -> None:
    """Put the tool that `call_tool` names, and its arguments, in the place of `call_tool` and its own.

    What else stands in the params (`inputResponses`, say) stays. Raises McpError (-32602).
    """
    try:
        wrapped = decode_members(members.get("arguments", UNSET))
        text_member(wrapped, "name")
        arguments = wrapped.get("arguments", Raw(b"{}"))
        decode_members(arguments)
    except McpError:
        what = "its arguments must be an object with name, a string, and arguments, an object"
        raise McpError(INVALID_PARAMS, f"{CALL_TOOL}: {what}") from None
    members["name"], members["arguments"] = wrapped["name"], arguments


async def search(exchange: Exchange, finder: Finder, members: dict[str, Raw]) -> None:
    """Answer a call of `search_tools`; what is wrong with it is told to the model, which can mend it."""
    try:
        query, limit = _asked(members)
    except McpError as refused:
        answer: dict[str, Any] = {"content": [{"type": "text", "text": refused.message}], "isError": True}
    else:
        found = [Raw(_brief(raw)) for raw in await finder.best(query, limit)]
        structured = encode_json({"tools": found, "total": len(finder)})
        answer = {
            "content": [{"type": "text", "text": structured.decode()}],
            "structuredContent": Raw(structured),
        }
    if exchange.head.era is Era.MODERN:
        answer["resultType"] = "complete"
    exchange.finish(200, result(exchange.id, encode_json(answer)))


def _asked(members: dict[str, Raw]) -> tuple[str, int]:
    arguments = decode_any(members.get("arguments", Raw(b"{}")))
    if not isinstance(arguments, dict) or not isinstance(arguments.get("query"), str):
        raise McpError(INVALID_PARAMS, f"{SEARCH_TOOLS}: query must be a string")
    limit = arguments.get("limit", FOUND)
    if isinstance(limit, float) and limit.is_integer():
        limit = int(limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_FOUND:
        raise McpError(INVALID_PARAMS, f"{SEARCH_TOOLS}: limit must be a number from 1 to {MOST_FOUND}")
    return arguments["query"], limit


def _brief(raw: bytes) -> bytes:
    """A tool without what a model has no use for: icons, its own metadata."""
    members = decode_members(raw)
    return join_members({name: value for name, value in members.items() if name not in ("icons", "_meta")})
