"""Tasks of servers that are far away, and servers that make a mess of them. Over a lane without a socket."""

from __future__ import annotations

import json
from collections.abc import Iterable
from time import monotonic
from typing import Any

import pytest

from fairlead.orchestrator.gateway import tasks
from support.lane_rig import lane_rig, request
from support.scripted import answer, refuse

TASKS = "io.modelcontextprotocol/tasks"
CAPABILITIES = {"extensions": {TASKS: {}}}
META = {"_meta": {"io.modelcontextprotocol/clientCapabilities": CAPABILITIES}}
HINTS = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
FAR = {"command": None, "url": "http://far.example/mcp", "strategy": "round-robin"}


class Tasks:
    """A modern server; `made` is what a call gives."""

    def __init__(self, **made: Any) -> None:
        self.made = {"resultType": "task", "taskId": "t/1 ü", "status": "working", "ttlMs": None} | made
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        method = message["method"]
        if method == "server/discover":
            about = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, **CAPABILITIES}}
            return [answer(message, **about, **HINTS)]
        if method == "tools/list":
            return [answer(message, tools=[{"name": "work", "inputSchema": {}}], **HINTS)]
        if method == "tools/call":
            return [answer(message, **self.made)]
        if method.startswith("tasks/"):
            self.asked.append((method, message["params"]))
            told = {"taskId": message["params"]["taskId"], "status": "completed", "result": {"content": []}}
            return [answer(message, resultType="complete", **told)]
        return [refuse(message, -32601)] if "id" in message else []


async def begin(rig: Any) -> dict[str, Any]:
    return (await rig.ask("modern", "tools/call", {"name": "far__work", **META}))["result"]


async def test_tasks_behind_a_url_are_found_over_any_connection_and_after_a_restart():
    server = Tasks()
    for _ in range(2):  # the second gateway has the key of the first
        async with lane_rig(server, far=FAR | {"scaling": {"minInstances": 2, "maxInstances": 2}}) as rig:
            pool = rig.gateway.endpoints.at(b"/mcp").pools["far"]
            while len(pool.members.ready()) < 2:
                await rig.settle()
            if not server.asked:
                task_id = (await begin(rig))["taskId"]
            for _ in range(4):
                found = (await rig.ask("modern", "tasks/get", {"taskId": task_id, **META}))["result"]
                assert (found["taskId"], found["status"]) == (task_id, "completed")
            assert not any(instance.tasks for instance in pool.members)
            if len(server.asked) == 4:
                assert all(
                    any(sent["method"] == "tasks/get" for sent in link.sent) for link in rig.driver.links
                )
    assert [params["taskId"] for _, params in server.asked] == ["t/1 ü"] * 8


async def test_the_server_hears_what_the_client_said():
    server = Tasks()
    async with lane_rig(server, far=FAR) as rig:
        task_id = (await begin(rig))["taskId"]
        answers = {"q": {"action": "accept", "content": {"n": 2**70}}}
        asked = {"taskId": task_id, "inputResponses": answers, "x-unknown": 1, **META}
        await rig.ask("modern", "tasks/update", asked)
        ((method, params),) = server.asked
        assert method == "tasks/update"
        assert params.pop("_meta")["io.modelcontextprotocol/clientCapabilities"] == CAPABILITIES
        assert params == {"taskId": "t/1 ü", "inputResponses": answers, "x-unknown": 1}


@pytest.mark.parametrize("made", [{"taskId": 5}, {"taskId": None}])
async def test_a_task_without_an_id_is_the_servers_own_affair(made):
    async with lane_rig(Tasks(**made), far=FAR) as rig:
        assert await begin(rig) == Tasks(**made).made


async def test_a_result_that_only_speaks_of_a_task_is_left_alone():
    made = {"resultType": "complete", "content": [], "structuredContent": {"taskId": "t"}, "taskId": "t"}
    async with lane_rig(Tasks(**made), far=FAR) as rig:
        assert (await begin(rig))["taskId"] == "t"


@pytest.mark.parametrize(("ttl", "kept"), [(1000, 1.0), (None, 3600.0), (1e12, 3600.0), ("x", 3600.0)])
async def test_an_instance_is_kept_for_as_long_as_the_task_lives_but_not_for_ever(ttl, kept):
    async with lane_rig(Tasks(ttlMs=ttl), far={"strategy": "round-robin"}) as rig:
        await begin(rig)
        (instance,) = rig.gateway.endpoints.at(b"/mcp").pools["far"].members
        (until,) = instance.tasks.values()
        assert until - monotonic() == pytest.approx(kept, abs=0.5)


async def test_the_extension_is_taken_from_servers_that_say_it_well():
    server = Tasks()

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if message["method"] == "server/discover":
            about = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": [TASKS]},
            }
            return [answer(message, **about, **HINTS)]
        return server(message)

    async with lane_rig(script, far=FAR) as rig:
        about = (await rig.ask("modern", "server/discover", {}))["result"]
        assert "extensions" not in about["capabilities"]
        refused = await rig.ask("modern", "tasks/get", {"taskId": "x", **META})
        assert refused["error"]["code"] == -32601


async def test_only_tools_and_tasks_have_task_ids():
    server = Tasks()

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if message["method"] == "completion/complete":
            more = {"taskId": "its own", "status": "completed", "resultType": "complete"}
            return [answer(message, completion={"values": []}, **more)]
        return server(message)

    async with lane_rig(script, far=FAR) as rig:
        params = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}, **META}
        params["ref"] = {"type": "ref/resource", "uri": "fairlead://far/x://1"}
        answered = await rig.ask("modern", "completion/complete", params)
        assert answered["result"]["taskId"] == "its own"


async def test_what_a_server_tells_badly_of_tasks_harms_nothing():
    server = Tasks()

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return [] if message["method"] == "subscriptions/listen" else server(message)

    async with lane_rig(script, far={}) as rig:
        task_id = (await begin(rig))["taskId"]
        lane, wire = rig.connect()
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"} | META["_meta"]
        params = {"notifications": {"taskIds": [task_id]}, "_meta": meta}
        asked = {"jsonrpc": "2.0", "id": 9, "method": "subscriptions/listen", "params": params}
        lane.data_received(request(json.dumps(asked).encode(), headers))
        await rig.settle()
        about = {"io.modelcontextprotocol/subscriptionId": rig.link.sent[-1]["id"]}
        for told in ({}, {"taskId": 5}, {"taskId": "x"}, {"taskId": "t/1 ü", "status": "working"}):
            params = {**told, "_meta": about}
            rig.link.say({"jsonrpc": "2.0", "method": "notifications/tasks", "params": params})
        lines = [line[6:] for line in wire.out.splitlines() if line.startswith(b"data: ")]
        said = [json.loads(line)["params"] for line in lines[1:]]  # the first one acknowledges
        assert [(each["taskId"], each["status"]) for each in said] == [(task_id, "working")]


async def test_tasks_that_nobody_fetches_are_forgotten(monkeypatch):
    monkeypatch.setattr(tasks, "_SWEEP", 4)
    server = Tasks(ttlMs=0)
    async with lane_rig(server, far={}) as rig:
        for number in range(20):
            server.made["taskId"] = f"t{number}"
            await begin(rig)
        (instance,) = rig.gateway.endpoints.at(b"/mcp").pools["far"].members
        assert len(instance.tasks) <= 4
