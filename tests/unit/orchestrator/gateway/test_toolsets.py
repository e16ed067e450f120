"""Toolsets as views: what they list, where their names lead, what they say of themselves."""

import json

import pytest
from structlog.testing import capture_logs

from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import decode_members
from fairlead.mcp.profiles import NOBODY, read_profile
from fairlead.mcp.sealing import Sealer
from fairlead.model.access import Grant
from fairlead.model.fleet import LoadBalancing, ServerSpec
from fairlead.model.toolset import Toolset
from fairlead.orchestrator.catalogue import Catalogue, Item
from fairlead.orchestrator.gateway.exposure import Prefixed
from fairlead.orchestrator.gateway.granted import Granted
from fairlead.orchestrator.gateway.tool_search import Finder, unwrap_call
from fairlead.orchestrator.gateway.toolsets import ToolsetView
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.pool import ServerPool
from support.lane_rig import lane_rig

SAMPLER = read_profile(b'{"sampling":{}}')


class Pool(ServerPool):
    """With other lists for some profiles; a profile that is None there is not known."""

    own: dict[str, Catalogue | None]

    def catalogue_for(self, profile):
        return self.own.get(profile.key, self.catalogue)


def catalogue(tools=(), prompts=(), resources=(), templates=()):
    def items(key, names, **more):
        return tuple(Item(name, json.dumps({key: name, "z": 1, **more}).encode()) for name in names)

    return Catalogue(
        {
            "tools": items("name", tools, description="old", inputSchema={"type": "object"}),
            "prompts": items("name", prompts),
            "resources": items("uri", resources),
            "templates": items("uriTemplate", templates),
        }
    )


def pool(server, *tools, settled=True, **lists):
    made = Pool(ServerSpec(id=server, command="x"), LoadBalancing(), None, None)
    made.catalogue, made.own = catalogue(tools, **lists), {}
    if settled:
        made.settled.set()
    return made


@pytest.fixture
def prefixed():
    return Prefixed(MetricsCollector(list))


def view(prefixed, pools, mode="list", **servers):
    toolset = Toolset(servers={name.replace("_", "-"): choice for name, choice in servers.items()}, mode=mode)
    made = ToolsetView("t", toolset, prefixed, Sealer(b"k" * 32))
    made.set_pools(pools)
    return made


def listed(of, kind="tools", member=None):
    return json.loads(b"{" + of.page(kind, None) + b"}")[member or kind]


def names(of, kind="tools"):
    return [item["name"] for item in listed(of, kind)]


async def test_servers_come_in_the_fleets_order_and_others_not_at_all(prefixed):
    pools = [pool("b", "one"), pool("a", "one"), pool("c", "one")]
    made = view(prefixed, pools, a={}, b={})
    assert names(made) == ["b__one", "a__one"]
    assert made.endpoint == "toolset:t"
    assert made.merged
    assert set(made.pools) == {"a", "b"}


async def test_a_renamed_tool_leads_to_the_servers_own(prefixed):
    made = view(
        prefixed, [pool("a", "one", "two")], a={"rename": {"one": "uno"}, "descriptions": {"two": "zwei"}}
    )
    first, second = listed(made)
    assert (first["name"], first["description"], first["z"]) == ("uno", "old", 1)
    assert (second["name"], second["description"]) == ("a__two", "zwei")
    assert list(second) == ["name", "z", "description", "inputSchema"], "the order of members stays"
    route = made.tools[b'"uno"']
    assert (route.name, route.json_name, route.exposed) == ("one", b'"one"', "uno")
    assert b'"a__one"' not in made.tools
    assert made.exposure.may_have("a", "uno")
    assert not made.exposure.may_have("b", "uno")
    assert made.exposure.may_have("b", "b__x")


async def test_what_is_hidden_has_no_route(prefixed):
    made = view(prefixed, [pool("a", "one", "two", prompts=["p"])], a={"hide": ["o*"]})
    assert names(made) == ["a__two"]
    assert list(made.tools) == [b'"a__two"']
    assert names(made, "prompts") == ["a__p"], "tools that are hidden say nothing of prompts"


async def test_prompts_and_resources_of_who_chooses_tools(prefixed):
    there = pool(
        "a", "t", prompts=["p", "q"], resources=["x://1", "y://1"], templates=["x://{id}", "y://{id}"]
    )
    bare = view(prefixed, [there], a={"tools": ["t"]})
    assert (listed(bare, "prompts"), listed(bare, "resources"), bare.prompts) == ([], [], {})
    with pytest.raises(McpError, match="not found"):
        bare.resource("fairlead://a/x://1")
    chosen = view(prefixed, [there], a={"tools": ["t"], "prompts": ["p"], "resources": ["x:*"]})
    assert names(chosen, "prompts") == ["a__p"]
    assert list(chosen.prompts) == [b'"a__p"']
    assert [r["uri"] for r in listed(chosen, "resources")] == ["fairlead://a/x://1"]
    templates = listed(chosen, "templates", "resourceTemplates")
    assert [t["uriTemplate"] for t in templates] == ["fairlead://a/x://{id}"]
    assert chosen.resource("fairlead://a/x://unlisted") == (there, "x://unlisted")
    for uri in ("fairlead://a/y://1", "fairlead://b/x://1", "x://1"):
        with pytest.raises(McpError, match="not found"):
            chosen.resource(uri)


async def test_what_is_not_changed_is_shared_with_the_merged_endpoint(prefixed):
    tools = [f"t{n}" for n in range(20_000)]
    there = pool("a", *tools, prompts=["p"])
    merged = View("", prefixed, Sealer(b"k" * 32))
    merged.set_pools([there])
    bytes_of = dict(merged.items("tools"))
    whole = view(prefixed, [there], a={})
    assert whole._parts["a"] is merged._parts["a"]
    part = view(prefixed, [there], a={"tools": ["t1*"], "rename": {"t10": "ten"}})
    kept = [(name, raw) for name, raw in part.items("tools") if name != "ten"]
    assert len(kept) > 10_000
    assert all(raw is bytes_of[name] for name, raw in kept)
    assert all(part.tools[f'"{name}"'.encode()] is merged.tools[f'"{name}"'.encode()] for name, _ in kept)


async def test_a_refresh_changes_what_is_shown(prefixed):
    there = pool("a", "one")
    made = view(prefixed, [there], a={"rename": {"two": "zwei"}})
    there.catalogue = catalogue(["two"])
    made.refresh(there)
    assert names(made) == ["zwei"]
    assert list(made.tools) == [b'"zwei"']


async def test_a_changed_toolset_is_the_same_view(prefixed):
    there = [pool("a", "one", "two"), pool("b", "one")]
    made = view(prefixed, there, a={})
    made.change(Toolset(servers={"*": {"tools": ["one"]}}, mode="search", description="new"), there)
    assert [name for name, _ in made.items("tools")] == ["a__one", "b__one"]
    assert (made.searches, made.description) == (True, "new")
    assert made.tells(frozenset({"tools", "prompts"})) == {"prompts"}


async def test_problems_are_told_and_logged_once(prefixed):
    there = pool("a", "one", "two", "b__x")
    spec = Toolset(
        servers={"a": {"hide": ["gone"], "rename": {"one": "a__two", "nope": "n"}}, "off": {}},
        description="d",
    )
    made = ToolsetView("t", spec, prefixed, Sealer(b"k" * 32))
    with capture_logs() as logs:
        made.set_pools([there])
        made.refresh(there)
    expected = [
        "hide: nothing there is named 'gone'",
        "rename: there is no tool 'nope'",
        "the tool 'two' is not shown, since another one was given its name",
    ]
    assert [log["problem"] for log in logs] == expected
    assert {(log["toolset"], log["server"], log["log_level"]) for log in logs} == {("t", "a", "warning")}
    status = made.status()
    assert status.problems == ["off: the server is disabled", *(f"a: {problem}" for problem in expected)]
    assert (status.name, status.description, status.mode) == ("t", "d", "list")
    assert (status.path, status.servers, status.tools) == ("/toolsets/t/mcp", ["a"], 2)


async def test_a_server_that_has_shown_nothing_yet_has_no_problems(prefixed):
    there = pool("a")
    there.catalogue = Catalogue()
    assert view(prefixed, [there], a={"tools": ["x"]}).status().problems == []


# -- variants --------------------------------------------------------------------------------------------


async def test_clients_that_can_be_asked_more_see_more_with_the_same_rules(prefixed):
    there, other = pool("a", "one"), pool("b", "one")
    there.own["sampling"] = catalogue(["one", "ask", "ask_hidden"])
    made = view(prefixed, [there, other], a={"hide": ["*_hidden"], "rename": {"ask": "please"}}, b={})
    variant = made.variant(SAMPLER)
    assert names(made) == ["a__one", "b__one"]
    assert names(variant) == ["a__one", "please", "b__one"]
    assert variant.route("tools/call", b'"please"').name == "ask"
    assert made.route("tools/call", b'"please"') is None
    assert variant._parts["b"] is made._parts["b"]
    assert variant.endpoint == made.endpoint
    assert made.variant(SAMPLER) is variant
    assert made.variant(NOBODY) is made
    there.own["sampling"] = catalogue(["one"])
    made.refresh(there)
    assert names(made.variant(SAMPLER)) == ["a__one", "b__one"]


async def test_where_nothing_differs_the_variant_is_the_view_itself(prefixed):
    made = view(prefixed, [pool("a", "one")], a={})
    assert made.variant(SAMPLER) is made
    assert made.coming(SAMPLER) == []


async def test_what_is_not_known_is_waited_for_and_not_kept(prefixed):
    there, new = pool("a", "one"), pool("b", settled=False)
    there.own["sampling"] = None
    made = view(prefixed, [there, new], a={}, b={})
    assert made.coming(NOBODY) == [new]
    assert made.coming(SAMPLER) == [there, new]
    assert made.variant(SAMPLER) is made
    there.own["sampling"] = catalogue(["one", "ask"])
    assert names(made.variant(SAMPLER)) == ["a__one", "a__ask"]
    assert made.coming(SAMPLER) == [new], "it has not even started"
    new.settled.set()
    kept = made.variant(SAMPLER)
    assert made.variant(SAMPLER) is kept
    made.forget_variants()
    assert made.variant(SAMPLER) is not kept


# -- search mode -----------------------------------------------------------------------------------------


async def test_a_search_lists_two_tools_and_knows_all(prefixed):
    there = pool("a", "read_file", "write_file", prompts=["p"])
    there.own["sampling"] = catalogue(["ask_file"])
    made = view(prefixed, [there], mode="search", a={"rename": {"write_file": "store"}})
    assert names(made) == ["search_tools", "call_tool"]
    assert listed(made)[0]["annotations"]["readOnlyHint"] is True
    assert names(made, "prompts") == ["a__p"]
    with pytest.raises(McpError, match="cursor"):
        made.page("tools", "x")
    assert sorted(made.tools) == [b'"a__read_file"', b'"store"']
    assert [json.loads(raw)["name"] for raw in await made.finder.best("store", 5)] == ["store"]
    assert [json.loads(raw)["name"] for raw in await made.finder.best("reading", 5)] == ["a__read_file"]
    variant = made.variant(SAMPLER)
    assert [json.loads(raw)["name"] for raw in await variant.finder.best("file", 5)] == ["a__ask_file"]
    assert len(made.finder) == 2
    there.catalogue = catalogue(["new_file"])
    made.refresh(there)
    assert [json.loads(raw)["name"] for raw in await made.finder.best("file", 5)] == ["a__new_file"]


async def test_parameters_are_searched_and_odd_tools_do_no_harm(prefixed):
    odd = [
        {"name": "n1", "inputSchema": {"properties": {"recipient": {"description": "an address"}, "x": 1}}}
    ]
    odd += [
        {"name": "n2", "inputSchema": {"properties": 3}, "description": 4},
        {"name": "n3", "inputSchema": 5},
    ]
    there = pool("a")
    items = tuple(Item(tool["name"], json.dumps(tool).encode()) for tool in odd)
    huge = Item("n4", b'{"name":"n4","x":1e999}')  # no number that anybody could read
    there.catalogue = Catalogue({"tools": (*items, huge)})
    finder = view(prefixed, [there], mode="search", a={}).finder
    for query in ("recipients", "address"):
        assert [json.loads(raw)["name"] for raw in await finder.best(query, 5)] == ["a__n1"]


def test_what_a_call_wraps_takes_its_place():
    params = decode_members(
        b'{"name":"call_tool","arguments":{"name":"a__x","arguments":{"k":[1.0]}},"requestState":"s"}'
    )
    unwrap_call(params)
    assert {name: bytes(raw) for name, raw in params.items()} == {
        "name": b'"a__x"',
        "arguments": b'{"k":[1.0]}',
        "requestState": b'"s"',
    }
    params = decode_members(b'{"name":"call_tool","arguments":{"name":"a__x"}}')
    unwrap_call(params)
    assert bytes(params["arguments"]) == b"{}"


@pytest.mark.parametrize(
    "arguments",
    ["{}", '{"name":1}', '{"name":"x","arguments":[]}', '{"name":"x","arguments":null}', "[]", '"x"', "null"],
)
def test_a_call_that_wraps_nothing_is_refused(arguments):
    with pytest.raises(McpError, match="call_tool: its arguments must be") as refused:
        unwrap_call(decode_members(b'{"name":"call_tool","arguments":%b}' % arguments.encode()))
    assert refused.value.code == -32602


async def test_a_part_stays_the_same_when_the_fleet_changes(prefixed):
    there = pool("a", "one", "two")
    made = view(prefixed, [there], a={"hide": ["two"]})
    route = made.tools[b'"a__one"']
    made.set_pools([there, pool("b", "x")])
    assert made.tools[b'"a__one"'] is route, "nothing of it was made anew"


async def test_a_fault_of_ours_while_a_request_waits_is_told_to_its_client(monkeypatch):
    async def broken(*_, **__):
        raise ValueError("a fault of ours")

    async with lane_rig() as rig:
        rig.gateway.set_toolsets({"t": Toolset(servers="*", mode="search")})
        monkeypatch.setattr(Finder, "best", broken)
        monkeypatch.setattr(ServerPool, "pick", lambda *_: None)
        monkeypatch.setattr(ServerPool, "acquire", broken)
        for name in ("search_tools", "s__echo"):
            asked = {"name": name, "arguments": {"query": "x"}}
            answer = await rig.ask("legacy", "tools/call", asked, path="/toolsets/t/mcp")
            assert answer["error"]["code"] == -32603
        assert rig.gateway.in_flight == 0


async def test_what_was_not_granted_is_no_problem_of_the_toolset(prefixed):
    """Its status must not name, as a server that is disabled, what the caller may not know of."""
    pools = [pool("a", "one"), pool("secret", "two")]
    whole = view(prefixed, pools, a={}, secret={"hide": ["nothing"]}, gone={})
    grants = (Grant(servers=("a",)),)
    seen = whole.granted(grants, Granted(whole.exposure, grants, whole.toolset_name)).status()
    assert (seen.servers, seen.problems) == (["a"], [])
    assert whole.status().problems == [
        "gone: the server is disabled",
        "secret: hide: nothing there is named 'nothing'",
    ]
