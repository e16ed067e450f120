"""A toolset never shows two tools with one name or a hidden one, and its pages cover its list exactly."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.tool_search import ToolIndex, words
from fairlead.core.toolset import is_named
from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import decode_members
from fairlead.mcp.names import exposed_name
from fairlead.mcp.sealing import Sealer
from fairlead.model.fleet import LoadBalancing, ServerSpec
from fairlead.model.toolset import Toolset, ToolsetServer, misfits
from fairlead.orchestrator.catalogue import Catalogue, Item
from fairlead.orchestrator.gateway import views
from fairlead.orchestrator.gateway.exposure import Prefixed
from fairlead.orchestrator.gateway.tool_search import unwrap_call
from fairlead.orchestrator.gateway.toolsets import ToolsetView
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.pool import ServerPool

TOOLS = st.sampled_from(["read", "write", "a b", "x" * 70, "read_file", "b__read", "é"])
GLOBS = st.lists(st.sampled_from(["*", "read*", "?", "write", "x*"]), max_size=2).map(tuple)
NEW = st.sampled_from(["read", "a__read", "b__write", "b__b__read", "n-1", "n.2"])
SERVERS = ["a", "b", "c"]


@st.composite
def toolsets(draw: st.DrawFn) -> Toolset:
    servers = {}
    for server in draw(st.lists(st.sampled_from([*SERVERS, "*"]), max_size=4, unique=True)):
        rename = {} if server == "*" else draw(st.dictionaries(TOOLS, NEW, max_size=3))
        servers[server] = ToolsetServer(
            tools=draw(st.none() | GLOBS),
            hide=draw(GLOBS),
            rename=rename,
            descriptions=draw(st.dictionaries(TOOLS, st.text(max_size=3), max_size=2)),
            prompts=draw(st.none() | GLOBS),
            resources=draw(st.none() | GLOBS),
        )
    return Toolset(servers=servers, mode=draw(st.sampled_from(["list", "search"])))


def made_pool(server: str, tools: list[str]) -> ServerPool:
    pool = ServerPool(ServerSpec(id=server, command="x"), LoadBalancing(), None, None)  # type: ignore[arg-type]
    items = tuple(Item(tool, json.dumps({"name": tool, "y": [1.50]}).encode()) for tool in tools)
    pool.catalogue = Catalogue({"tools": items, "prompts": items})
    return pool


def listed(view: ToolsetView, kind: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found, cursor = [], None
    while True:
        page = json.loads(b"{" + views.View.page(view, kind, cursor) + b"}")
        found += page[kind]
        cursor = page.get("nextCursor")
        if cursor is None:
            return found


@given(
    toolsets().filter(lambda toolset: not list(misfits({"t": toolset}))),
    st.fixed_dictionaries({server: st.lists(TOOLS, max_size=6, unique=True) for server in SERVERS}),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_what_is_shown_is_what_was_chosen(toolset: Toolset, tools: dict[str, list[str]], page: int) -> None:
    async def check() -> None:
        view = ToolsetView("t", toolset, Prefixed(MetricsCollector(list)), Sealer(b"k" * 32))
        view.set_pools([made_pool(server, names) for server, names in tools.items()])
        expected = set()
        for server, names in tools.items():
            choice = toolset.choice(server)
            for tool in names if choice else ():
                chosen = choice.tools is None or is_named(tool, choice.tools)
                if chosen and not is_named(tool, choice.hide):
                    expected.add((server, tool))
        shown = listed(view, "tools")
        names = [item["name"] for item in shown]
        assert len(set(names)) == len(names)
        routes = [view.tools[json.dumps(name, ensure_ascii=False).encode()] for name in names]
        assert len(routes) == len(view.tools), "what is not listed cannot be called"
        reached = {(route.pool.spec.id, route.name) for route in routes}
        assert reached <= expected
        for item, route in zip(shown, routes, strict=True):
            choice = toolset.choice(route.pool.spec.id)
            assert route.exposed == item["name"]
            assert item["name"] == choice.rename.get(route.name, exposed_name(route.pool.spec.id, route.name))
            assert item.get("description") == choice.descriptions.get(route.name)
            assert item["y"] == [1.5]
        new = {name for choice in toolset.servers.values() for name in choice.rename.values()}
        assert {exposed_name(*lacking) for lacking in expected - reached} <= new, (
            "only who lost its name lacks"
        )
        prompts = [item["name"] for item in listed(view, "prompts")]
        assert len(set(prompts)) == len(prompts) == len(view.prompts)

    before, views.PAGE = views.PAGE, page  # type: ignore[misc] # small pages, so that there are many
    try:
        asyncio.run(check())
    finally:
        views.PAGE = before  # type: ignore[misc]


@given(st.lists(st.text(max_size=30), max_size=20), st.text(max_size=40), st.integers(1, 10))
def test_a_search_gives_places_that_are_there_each_once(texts: list[str], query: str, limit: int) -> None:
    index = ToolIndex(texts, [[(1.0, text)] for text in texts])
    places = index.best(query, limit)
    assert len(places) == len(set(places)) <= limit
    assert all(0 <= place < len(texts) for place in places)
    if query in texts and query == query.strip() and words(query):
        assert texts[index.best(query, 1)[0]].lower() == query.lower()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "arguments", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_wrapped_is_a_call_or_refused(arguments: Any) -> None:
    params = decode_members(json.dumps({"name": "call_tool", "arguments": arguments, "keep": [1.5]}).encode())
    wrapped = isinstance(arguments, dict) and isinstance(arguments.get("name"), str)
    if not wrapped or not isinstance(arguments.get("arguments", {}), dict):
        with pytest.raises(McpError, match="call_tool: "):
            unwrap_call(params)
        return
    unwrap_call(params)
    call = {name: json.loads(bytes(raw)) for name, raw in params.items()}
    assert call == {"name": arguments["name"], "arguments": arguments.get("arguments", {}), "keep": [1.5]}
