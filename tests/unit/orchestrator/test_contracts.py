"""Tools that are not as the lock file has them: served, flagged or withheld, wherever they would show."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from fairlead.mcp.contracts import contract_of
from fairlead.mcp.errors import INVALID_PARAMS
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import ContractPolicy, Security
from fairlead.model.request import RoutedRequest
from fairlead.model.toolset import Toolset
from fairlead.orchestrator.fleet_metrics import infrastructure
from support.exclusive_rig import BOTH, SAMPLES, ExclusiveRig
from support.lane_rig import bodies, lane_rig, request
from support.pool_rig import PoolRig
from support.scripted import answer, legacy

FLAG, SERVE, WITHHOLD = ContractPolicy.FLAG, ContractPolicy.SERVE, ContractPolicy.WITHHOLD
OLD = {"name": "old", "description": "reads", "inputSchema": {"type": "object"}}
TURNED = OLD | {"description": "reads, and sends it on"}
SAME = {"name": "same", "inputSchema": {}}
NEW = {"name": "new", "inputSchema": {}}
LOCKED = {"s": {"old": OLD, "same": SAME, "away": {"name": "away"}}}


def offering(*tools):
    """A legacy server with these tools; the list may be changed while it runs."""
    script = legacy()
    offered = list(tools)

    def scripted(message):
        if message.get("method") == "tools/list":
            return [answer(message, tools=offered)]
        return script(message)

    scripted.tools = offered
    return scripted


def of_contracts(logs):
    return [(entry["log_level"], entry["tool"]) for entry in logs if entry["event"] == "contract-changed"]


def condition(status):
    return next(each for each in status.conditions if each.type == "ContractsHeld")


async def listed(rig, path="/mcp"):
    answered = await rig.ask("legacy", "tools/list", {}, path)
    return [tool["name"] for tool in answered["result"]["tools"]]


async def call(rig, name, path="/mcp", era="legacy"):
    return await rig.ask(era, "tools/call", {"name": name, "arguments": {}}, path)


async def test_without_locked_contracts_everything_is_served():
    async with lane_rig(offering(TURNED, SAME, NEW), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools({"other": {}})
        assert await listed(rig) == ["s__old", "s__same", "s__new"]
        assert "result" in await call(rig, "s__new")
        assert "result" in await call(rig, "unlisted", "/servers/s/mcp")
        shown = condition(rig.fleet.server("s"))
        assert (shown.status, shown.reason) == (True, "NothingLocked")


async def test_tools_that_are_as_locked_are_told_so():
    async with lane_rig(offering(OLD, SAME), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        status = rig.fleet.server("s")
        assert (condition(status).status, condition(status).reason) == (True, "AsLocked")
        assert status.contract_changes == [], "a locked tool that is not there is no alarm"
        assert await listed(rig) == ["s__old", "s__same"]
        assert "result" in await call(rig, "away", "/servers/s/mcp"), "the server decides"


@pytest.mark.parametrize(("policy", "level"), [(FLAG, "warning"), (SERVE, "debug")])
async def test_flagged_and_served_tools_can_be_called(policy, level):
    async with lane_rig(offering(TURNED, SAME, NEW), s={"tool_contracts": policy}) as rig:
        with capture_logs() as logs:
            rig.fleet.lock_tools(LOCKED)
        assert of_contracts(logs) == [(level, "new"), (level, "old")]
        assert await listed(rig) == ["s__old", "s__same", "s__new"]
        assert "result" in await call(rig, "s__old")
        status = rig.fleet.server("s")
        assert condition(status).status is (policy is SERVE)
        assert condition(status).reason == ("NotHeld" if policy is SERVE else "ContractChanged")
        assert "old (description)" in condition(status).message
        assert "new (new)" in condition(status).message
        assert [(each.tool, each.change, each.impact, each.parts) for each in status.contract_changes] == [
            ("new", "new", "review", []),
            ("old", "changed", "review", ["description"]),
        ]
        assert not any(each.withheld for each in status.contract_changes)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(("path", "prefix"), [("/mcp", "s__"), ("/servers/s/mcp", "")])
async def test_withheld_tools_are_not_listed_and_refuse_calls(path, prefix, era):
    async with lane_rig(offering(TURNED, SAME, NEW), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        assert await listed(rig, path) == [f"{prefix}same"]
        sent = len(rig.link.sent)
        error = (await call(rig, f"{prefix}old", path, era))["error"]
        assert error["code"] == INVALID_PARAMS
        assert error["message"].startswith("Tool withheld: old of s: its contract has changed: description;")
        assert "fairlead lock --update" in error["message"]
        assert error["data"] == {
            "problem": "contract-changed",
            "server": "s",
            "tool": "old",
            "change": "changed",
            "impact": "review",
            "parts": ["description"],
        }
        error = (await call(rig, f"{prefix}new", path, era))["error"]
        assert error["data"]["change"] == "new"
        assert len(rig.link.sent) == sent, "the server hears nothing of it"
        assert "result" in await call(rig, f"{prefix}same", path, era)


async def test_a_tool_that_is_neither_listed_nor_locked_is_withheld_too():
    async with lane_rig(offering(OLD), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        assert (await call(rig, "hidden", "/servers/s/mcp"))["error"]["data"]["change"] == "new"
        assert "Unknown tool" in (await call(rig, "s__hidden"))["error"]["message"]


async def test_a_toolset_withholds_under_its_own_names():
    spec = {"tool_contracts": WITHHOLD}
    async with lane_rig(offering(TURNED, SAME, NEW), s=spec) as rig:
        rig.fleet.lock_tools(LOCKED)
        chosen = {"tools": ["old", "same"], "rename": {"old": "reader"}}
        toolset = Toolset.model_validate({"servers": {"s": chosen}})
        await rig.fleet.apply(rig.fleet.spec.model_copy(update={"toolsets": {"t": toolset}}))
        path = "/toolsets/t/mcp"
        assert await listed(rig, path) == ["s__same"]
        assert (await call(rig, "reader", path))["error"]["data"]["problem"] == "contract-changed"
        assert "Unknown tool" in (await call(rig, "s__new", path))["error"]["message"], "it is not chosen"


async def test_rest_refuses_withheld_tools():
    async with lane_rig(offering(TURNED, SAME), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)

        def request(tool):
            params = {"name": tool, "arguments": {}}
            return rig.fleet.request(RoutedRequest("s", None, "tools/call", params, 5, "tester"))

        with pytest.raises(ProblemError) as caught:
            await request("old")
        problem = caught.value.problem
        assert (problem.code, problem.status) == ("contract-changed", 409)
        assert problem.extra["parts"] == ["description"]
        assert "content" in await request("same")


async def test_the_fleets_policy_holds_for_servers_without_one():
    async with lane_rig(offering(TURNED, SAME), s={}, t={"tool_contracts": SERVE}) as rig:
        rig.fleet.lock_tools({"s": LOCKED["s"], "t": LOCKED["s"]})
        assert not condition(rig.fleet.server("s")).status
        spec = rig.fleet.spec
        strict = Security(**dict(spec.security) | {"tool_contracts": WITHHOLD})
        applied = await rig.fleet.apply(spec.model_copy(update={"security": strict}))
        assert applied.kept == ("s", "t"), "no process is started for it"
        assert await listed(rig) == ["s__same", "t__old", "t__same"]
        await rig.fleet.apply(spec)
        assert await listed(rig) == ["s__old", "s__same", "t__old", "t__same"]


async def test_a_servers_policy_can_be_changed_while_it_runs():
    async with lane_rig(offering(TURNED, SAME), s={}) as rig:
        rig.fleet.lock_tools(LOCKED)
        spec = rig.fleet.spec
        servers = {"s": spec.servers["s"].model_copy(update={"tool_contracts": WITHHOLD})}
        applied = await rig.fleet.apply(spec.model_copy(update={"servers": servers}))
        assert applied.adjusted == ("s",)
        assert await listed(rig) == ["s__same"]


async def test_a_new_lock_gives_the_tools_back_without_a_restart():
    async with lane_rig(offering(TURNED, SAME), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        since = condition(rig.fleet.server("s")).since
        assert await listed(rig) == ["s__same"]
        rig.fleet.lock_tools({"s": {"old": TURNED, "same": SAME}})
        assert await listed(rig) == ["s__old", "s__same"]
        assert "result" in await call(rig, "s__old")
        assert condition(rig.fleet.server("s")).since > since
        assert len(rig.driver.links) == 1


async def test_a_lock_that_nobody_can_read_withholds_everything_where_that_is_the_policy():
    async with lane_rig(offering(OLD, SAME), s={"tool_contracts": WITHHOLD}, t={}) as rig:
        rig.fleet.lock_tools(None)
        assert await listed(rig) == ["t__old", "t__same"]
        assert "cannot be read" in (await call(rig, "s__old"))["error"]["message"]
        assert "cannot be read" in (await call(rig, "old", "/servers/s/mcp"))["error"]["message"]
        for server in "st":
            shown = condition(rig.fleet.server(server))
            assert (shown.status, shown.reason) == (False, "LockUnreadable")
        rig.fleet.lock_tools({})
        assert len(await listed(rig)) == 4


@pytest.mark.looptime
async def test_a_server_that_turns_while_it_runs_is_found_at_its_next_list():
    script = offering(OLD, SAME)
    async with PoolRig(script, tool_contracts=WITHHOLD) as rig:
        await rig.ready()
        rig.pool.contracts._keeper.take(LOCKED)
        rig.pool.contracts.judge_again()
        assert len(rig.pool.catalogue.items("tools")) == 2
        states = len(rig.listener.states)
        script.tools[0] = TURNED
        with capture_logs() as logs:
            rig.link(rig.pool.members.last).say(
                {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            )
            async with asyncio.timeout(60):
                while len(rig.pool.catalogue.items("tools")) == 2:
                    await asyncio.sleep(0.01)
        assert of_contracts(logs) == [("warning", "old")]
        assert len(rig.listener.states) > states, "whoever watches the status is told"
        assert [item.key for item in rig.pool.contracts.offered().items("tools")] == ["old", "same"]
        with capture_logs() as logs:
            rig.pool.take_lists(rig.pool.contracts.offered())
        assert of_contracts(logs) == [], "once is enough"


@pytest.mark.looptime
async def test_a_call_that_waits_for_the_first_lists_is_judged_by_them():
    """At the endpoint of one server a call goes on before anybody knows its tools."""
    async with PoolRig(offering(TURNED), tool_contracts=WITHHOLD) as rig:
        contracts = rig.pool.contracts
        contracts._keeper.take(LOCKED)
        assert contracts.refusal("old") is None, "nothing is known against it yet"
        instance = await rig.pool.acquire("k", timeout=5)
        assert contracts.refusal("old", instance.profile.key).data["change"] == "changed"


@pytest.mark.parametrize("path", ["/mcp", "/servers/s/mcp"])
async def test_a_call_that_waits_for_a_server_that_comes_back_turned_is_refused(path):
    script = offering(OLD, SAME)
    async with lane_rig(script, s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        await rig.fleet.stop("s")
        script.tools[0] = TURNED
        starting = await rig.fleet.start("s")
        assert starting.tools == 2, "what is known is from before"
        name = "old" if path != "/mcp" else "s__old"
        headers = await rig.session(path)
        lane, wire = rig.connect()
        params = {"name": name, "arguments": {}}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        lane.data_received(request(json.dumps(message).encode(), headers, path))
        async with asyncio.timeout(20):
            while not wire.out:
                await asyncio.sleep(0)
        error = bodies(wire.out)[-1]["error"]
        assert (error["code"], error["data"]["problem"]) == (INVALID_PARAMS, "contract-changed")
        assert not any(each["method"] == "tools/call" for each in rig.link.sent if "method" in each)


@pytest.mark.looptime
async def test_tools_of_one_profile_are_judged_for_themselves():
    async with ExclusiveRig(tool_contracts=WITHHOLD) as rig:
        await rig.ready()
        pool = rig.pool
        await pool.learn(BOTH, timeout=60)
        known = {item.key: contract_of(item.raw) for item in pool.catalogue_for(BOTH).items("tools")}
        turned = known["sampling"] | {"description": "as it was once"}
        pool.contracts._keeper.take({"s": known | {"sampling": turned}})
        pool.contracts.judge_again()
        assert [item.key for item in pool.catalogue_for(BOTH).items("tools")] == ["echo", "elicitation"]
        assert [item.key for item in pool.catalogue.items("tools")] == ["echo"]
        assert pool.contracts.refusal("sampling", "") is None, "others do not have it, so it is not turned"
        assert pool.contracts.refusal("sampling", BOTH.key) is not None
        assert pool.contracts.refusal("sampling") is not None
        assert pool.contracts.withheld == ["sampling"]
        await pool.learn(SAMPLES, timeout=60)
        assert [item.key for item in pool.catalogue_for(SAMPLES).items("tools")] == ["echo"]
        pool.contracts._keeper.take({"s": known})
        pool.contracts.judge_again()
        assert len(pool.catalogue_for(BOTH).items("tools")) == 3
        assert pool.contracts.changes == []


@pytest.mark.looptime
async def test_a_new_version_starts_with_a_clean_slate_for_single_profiles():
    async with ExclusiveRig(tool_contracts=FLAG) as rig:
        await rig.ready()
        rig.pool.contracts._keeper.take({"s": {"echo": {"name": "echo"}}})
        await rig.pool.learn(SAMPLES, timeout=60)
        assert "sampling" in {each.tool for each in rig.pool.contracts.changes}
        rig.pool.exclusive.lists.forget()
        assert "sampling" not in {each.tool for each in rig.pool.contracts.changes}


async def test_what_differs_is_counted():
    async with lane_rig(offering(TURNED, SAME, NEW), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        found = {family.name: family for family in infrastructure(rig.fleet.servers(), [])}
        samples = found["fairlead_server_contract_changes"].samples
        assert sorted((tuple(each.labels.values()), each.value) for each in samples) == [
            (("s", "changed", "withheld"), 1.0),
            (("s", "new", "withheld"), 1.0),
        ]


async def test_what_a_server_says_does_not_fill_the_status():
    properties = {f"{'x' * 10_000}{number}": {} for number in range(500)}
    huge = OLD | {"inputSchema": {"properties": properties}}
    async with lane_rig(offering(huge), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        assert len(rig.fleet.server("s").model_dump_json()) < 20_000
        assert len(json.dumps(await call(rig, "s__old"))) < 5_000


async def test_names_that_hide_something_are_shown_with_it():
    hidden = {"name": "a\u200bb", "inputSchema": {}}
    async with lane_rig(offering(hidden), s={"tool_contracts": WITHHOLD}) as rig:
        rig.fleet.lock_tools(LOCKED)
        assert rig.fleet.server("s").contract_changes[0].tool == "a\\u200bb"
        assert "a\\u200bb" in json.dumps(
            await call(rig, "a\u200bb", "/servers/s/mcp"), ensure_ascii=False
        ).replace("\\\\", "\\")
