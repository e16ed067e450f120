"""What an endpoint shows."""

import json

import pytest

from fairlead.mcp.errors import McpError
from fairlead.mcp.sealing import Sealer
from fairlead.model.fleet import LoadBalancing, ServerSpec
from fairlead.orchestrator.catalogue import Catalogue, Item
from fairlead.orchestrator.gateway.exposure import Plain, Prefixed
from fairlead.orchestrator.gateway.views import PAGE, View
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.pool import ServerPool

SEALER = Sealer(b"k" * 32)


def pool(server, tools=(), resources=()):
    made = ServerPool(ServerSpec(id=server, command="x"), LoadBalancing(), None, None)
    made.catalogue = Catalogue(
        {
            "tools": tuple(Item(name, json.dumps({"name": name, "x": 1.0}).encode()) for name in tools),
            "resources": tuple(Item(uri, json.dumps({"uri": uri}).encode()) for uri in resources),
        }
    )
    return made


def view(*pools, endpoint=""):
    metrics = MetricsCollector(list)
    made = View(endpoint, Plain(metrics) if endpoint else Prefixed(metrics), SEALER)
    made.set_pools(pools)
    return made


def names(page):
    return [tool["name"] for tool in json.loads(b"{" + page + b"}")["tools"]]


async def test_the_merged_list_has_the_order_of_the_fleet_and_keeps_what_it_does_not_know():
    merged = view(pool("b", ["two", "one"]), pool("a", ["one"]))
    assert names(merged.page("tools", None)) == ["b__two", "b__one", "a__one"]
    assert json.loads(b"{" + merged.page("tools", None) + b"}")["tools"][0]["x"] == 1.0
    assert b"nextCursor" not in merged.page("tools", None)
    assert merged.page("tools", None) is merged.page("tools", None), "the page is made once"


async def test_one_server_alone_is_shown_as_it_is():
    single = view(pool("a", ["one"], ["x://1"]), endpoint="a")
    assert names(single.page("tools", None)) == ["one"]
    assert single.resource("anything")[1] == "anything"


async def test_routes_lead_to_their_own_server():
    first, second = pool("a", ["one"]), pool("b", ["one"])
    merged = view(first, second)
    assert merged.tools[b'"a__one"'].pool is first
    assert merged.tools[b'"b__one"'].pool is second
    assert merged.tools[b'"b__one"'].json_name == b'"one"'


async def test_long_lists_come_in_pages_without_gap_or_double():
    tools = [f"t{n:05}" for n in range(PAGE * 2 + 5)]
    merged = view(pool("a", tools[: PAGE + 1]), pool("b", tools[PAGE + 1 :]))
    seen, cursor = [], None
    while True:
        page = merged.page("tools", cursor)
        seen += names(page)
        cursor = json.loads(b"{" + page + b"}").get("nextCursor")
        if cursor is None:
            break
    assert [name.partition("__")[2] for name in seen] == tools


async def test_a_cursor_survives_changes_elsewhere():
    tools = [f"t{n:05}" for n in range(PAGE + 5)]
    changing = pool("z", ["x"])
    merged = view(changing, pool("a", tools))
    cursor = json.loads(b"{" + merged.page("tools", None) + b"}")["nextCursor"]
    rest = names(merged.page("tools", cursor))
    changing.catalogue = pool("z", ["x", "y", "z"]).catalogue
    merged.refresh(changing)
    assert names(merged.page("tools", cursor)) == rest


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é"])
async def test_a_made_up_cursor_is_refused(cursor):
    with pytest.raises(McpError, match="cursor") as refused:
        view(pool("a", ["one"])).page("tools", cursor)
    assert refused.value.code == -32602


async def test_a_cursor_of_another_list_or_endpoint_is_refused():
    tools = [f"t{n:05}" for n in range(PAGE + 5)]
    merged, single = view(pool("a", tools)), view(pool("a", tools), endpoint="a")
    cursor = json.loads(b"{" + merged.page("tools", None) + b"}")["nextCursor"]
    for other, kind in ((merged, "prompts"), (single, "tools")):
        with pytest.raises(McpError):
            other.page(kind, cursor)


async def test_resources_are_found_behind_their_wrapper():
    first = pool("a", resources=["x://1"])
    merged = view(first)
    assert b"fairlead://a/x://1" in merged.page("resources", None)
    assert merged.resource("fairlead://a/x://1") == (first, "x://1")
    for unknown in ("x://1", "fairlead://b/x://1", "fairlead://"):
        with pytest.raises(McpError, match="not found"):
            merged.resource(unknown)
