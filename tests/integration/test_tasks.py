"""Tasks through the gateway: their ids, whose they are, where they live, and what is told of them."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.model.access import Grant, Role
from support.stack import TOKEN, ModernClient, Stack, light, running, until

SERVER = Path(__file__).parents[1] / "support" / "task_server.py"
TASKS = "io.modelcontextprotocol/tasks"
NEEDED = {"requiredCapabilities": {"extensions": {TASKS: {}}}}


def jobs(**spec: Any) -> dict[str, Any]:
    open_to_tests = {"security": {"sandbox": "off"}}  # they tell processes apart by their pids
    return {"command": sys.executable, "args": ["-S", "-E", str(SERVER)], **open_to_tests, **spec}


def client(stack: Stack, path: str = "/mcp", token: str = TOKEN) -> ModernClient:
    """One that takes tasks."""
    found = stack.modern(path, token)
    found.meta["io.modelcontextprotocol/clientCapabilities"] = {"extensions": {TASKS: {}}, "elicitation": {}}
    return found


async def begin(who: ModernClient, tool: str, **arguments: Any) -> dict[str, Any]:
    task = (await who.call(tool, **arguments))["result"]
    assert task["resultType"] == "task"
    return task


async def result_of(who: ModernClient, task_id: str) -> dict[str, Any]:
    while True:
        found = (await who.ask("tasks/get", {"taskId": task_id}))["result"]
        assert found["taskId"] == task_id
        assert found["resultType"] == "complete"
        if found["status"] in ("completed", "failed", "cancelled"):
            return found
        await asyncio.sleep(0.01)


async def test_a_task_is_begun_followed_and_fetched(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        for path, tool in (("/mcp", "jobs__slow_compute"), ("/servers/jobs/mcp", "slow_compute")):
            ada = client(stack, path)
            task = await begin(ada, tool, seconds=0.1, label="it")
            assert task["status"] == "working"
            assert task["ttlMs"] == 60_000
            found = await result_of(ada, task["taskId"])
            assert found["result"]["content"][0]["text"].startswith("computed it in ")


async def test_the_id_is_good_on_every_endpoint_that_shows_the_server(tmp_path):
    async with running(tmp_path, {"jobs": jobs(), "other": jobs()}) as stack:
        task = await begin(client(stack), "jobs__slow_compute", seconds=0)
        assert (await result_of(client(stack, "/servers/jobs/mcp"), task["taskId"]))["status"] == "completed"
        refused = await client(stack, "/servers/other/mcp").ask("tasks/get", {"taskId": task["taskId"]})
        assert refused["error"]["code"] == -32602


async def test_questions_of_a_task_are_answered(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        task_id = (await begin(ada, "jobs__multi_input"))["taskId"]
        asked = (await ada.ask("tasks/get", {"taskId": task_id}))["result"]
        assert asked["status"] == "input_required"
        assert set(asked["inputRequests"]) == {"q0", "q1"}
        answer = {"action": "accept", "content": {"confirm": True}}
        for key in ("q0", "q1"):
            told = await ada.ask("tasks/update", {"taskId": task_id, "inputResponses": {key: answer}})
            assert told["result"] == {"resultType": "complete"}
        assert (await result_of(ada, task_id))["result"]["content"][0]["text"] == "both"


async def test_rounds_may_come_before_a_task(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        first = (await ada.call("jobs__test_tool_with_task"))["result"]
        assert first["resultType"] == "input_required"
        more = {
            "name": "jobs__test_tool_with_task",
            "arguments": {},
            "inputResponses": {"user_name": {"action": "accept", "content": {"name": "Ada"}}},
            "requestState": first["requestState"],
        }
        task = (await ada.ask("tools/call", more))["result"]
        assert "requestState" not in task
        assert "Ada" in json.dumps((await result_of(ada, task["taskId"]))["result"])


async def test_a_task_is_cancelled(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        task_id = (await begin(ada, "jobs__slow_compute", seconds=60))["taskId"]
        assert (await ada.ask("tasks/cancel", {"taskId": task_id}))["result"] == {"resultType": "complete"}
        assert (await result_of(ada, task_id))["status"] == "cancelled"


async def test_links_in_the_result_of_a_task_are_wrapped(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        merged, single = client(stack), client(stack, "/servers/jobs/mcp")
        task = await begin(merged, "jobs__link_job")
        assert (await result_of(merged, task["taskId"]))["result"]["content"][0]["uri"] == (
            "fairlead://jobs/task://one"
        )
        task = await begin(single, "link_job")
        assert (await result_of(single, task["taskId"]))["result"]["content"][0]["uri"] == "task://one"


async def test_nobody_else_finds_a_task(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        eve = client(stack, token=await stack.key("eve"))
        task_id = (await begin(client(stack), "jobs__slow_compute", seconds=0))["taskId"]
        mine = (await begin(eve, "jobs__slow_compute", seconds=0))["taskId"]
        assert (await result_of(eve, mine))["status"] == "completed"
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for stolen in (task_id, task_id[:-1], "x", ""):
                answer = await eve.post(eve.message(method, {"taskId": stolen, "inputResponses": {}}))
                assert answer.status_code == 400
                assert answer.json()["error"]["code"] == -32602
                assert "not found" in answer.json()["error"]["message"]


@pytest.mark.parametrize("task_id", [None, 5, ["x"]])
async def test_an_id_must_be_a_string(tmp_path, task_id):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        message = ada.message("tasks/get", {"taskId": task_id})
        ada.headers["Mcp-Name"] = "x"
        message["params"]["_meta"] = ada.meta
        headers = ada.headers | {"Mcp-Method": "tasks/get"}
        answer = await stack.http.post(ada.url, headers=headers, json=message)
        assert answer.json()["error"]["code"] == -32602


async def test_headers_must_repeat_the_id(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        task_id = (await begin(ada, "jobs__slow_compute", seconds=0))["taskId"]
        message = ada.message("tasks/get", {"taskId": task_id, "_meta": ada.meta})
        for name in ({}, {"Mcp-Name": "another"}):
            headers = ada.headers | {"Mcp-Method": "tasks/get"} | name
            answer = await stack.http.post(ada.url, headers=headers, json=message)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_who_does_not_take_tasks_gets_none(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        task_id = (await begin(client(stack), "jobs__slow_compute", seconds=0))["taskId"]
        plain = stack.modern()
        assert (await plain.call("jobs__slow_compute"))["result"]["resultType"] == "complete"
        answer = await plain.post(plain.message("tasks/get", {"taskId": task_id}))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == -32021
        assert answer.json()["error"]["data"] == NEEDED
        refused = await plain.call("jobs__failing_job")
        assert (refused["error"]["code"], refused["error"]["data"]) == (-32021, NEEDED)
        legacy = await stack.session()
        assert await legacy.text("jobs__slow_compute") == "slow_compute done at once"
        assert (await legacy.ask("tasks/get", {"taskId": task_id}))["error"]["code"] == -32601


async def test_the_extension_is_told_where_it_works(tmp_path):
    async with running(tmp_path, {"jobs": jobs(), "light": light()}) as stack:

        async def discovered(path: str) -> dict[str, Any]:
            answer = await stack.modern(path).ask("server/discover")
            return answer["result"]["capabilities"].get("extensions")

        assert await discovered("/mcp") == {TASKS: {}}
        assert await discovered("/servers/jobs/mcp") == {TASKS: {}, "com.example/own": {"a": 1}}
        assert await discovered("/servers/light/mcp") is None
        assert "extensions" not in (await stack.session()).about["capabilities"]
        own = (await stack.session("/servers/jobs/mcp")).about["capabilities"]["extensions"]
        assert own == {"com.example/own": {"a": 1}}
        refused = await client(stack, "/servers/light/mcp").post(
            client(stack).message("tasks/get", {"taskId": "x"})
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, -32601)


async def test_a_task_parameter_of_the_legacy_era_is_not_heeded(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        for who in (await stack.session(), client(stack)):
            params = {"name": "jobs__greet", "arguments": {"name": "Ada"}, "task": {"ttl": 1000}}
            told = (await who.ask("tools/call", params))["result"]
            assert told["content"][0]["text"] == "Hello, Ada!"


async def test_follow_ups_reach_the_instance_that_has_the_task(tmp_path):
    scaling = {"minInstances": 3, "maxInstances": 3}
    async with running(tmp_path, {"jobs": jobs(scaling=scaling, strategy="round-robin")}) as stack:
        pool = stack.system.gateway.endpoints.at(b"/mcp").pools["jobs"]
        await until(lambda: len(pool.members.ready()) == 3)
        ada = client(stack)
        tasks = [await begin(ada, "jobs__slow_compute", seconds=0, label=str(n)) for n in range(12)]
        found = [await result_of(ada, task["taskId"]) for task in tasks]
        texts = [each["result"]["content"][0]["text"] for each in found]
        assert [text.split()[1] for text in texts] == [str(n) for n in range(12)]
        assert len({text.split()[-1] for text in texts}) == 3


async def test_an_instance_stays_for_its_tasks_when_another_version_takes_over(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        pool = stack.system.gateway.endpoints.at(b"/mcp").pools["jobs"]
        (old,) = pool.members
        task_id = (await begin(ada, "jobs__confirm_delete"))["taskId"]
        changed = jobs(environment={"NEW": "1"})
        stack.fleet_file.write_text(
            stack.fleet_file.read_text().replace(json.dumps(jobs()), json.dumps(changed))
        )
        await until(lambda: any(i is not old for i in pool.members), lambda: str(pool))
        await until(lambda: old.state.value == "draining")
        answer = {"action": "accept", "content": {"confirm": True}}
        await ada.ask("tasks/update", {"taskId": task_id, "inputResponses": {"q0": answer}})
        assert (await result_of(ada, task_id))["status"] == "completed"
        await until(lambda: old not in pool.members)
        gone = await ada.ask("tasks/get", {"taskId": task_id})
        assert gone["error"]["code"] == -32602
        assert "process that ran it has ended" in gone["error"]["message"]


async def test_a_task_is_gone_with_its_process(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        pool = stack.system.gateway.endpoints.at(b"/mcp").pools["jobs"]
        (instance,) = pool.members
        task_id = (await begin(ada, "jobs__slow_compute", seconds=60))["taskId"]
        await instance.stop()
        await until(lambda: any(i is not instance for i in pool.members), lambda: str(pool))
        gone = await ada.ask("tasks/get", {"taskId": task_id})
        assert "process that ran it has ended" in gone["error"]["message"]


async def test_who_listens_is_told_of_the_end(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        ada = client(stack)
        tasks = [(await begin(ada, "jobs__slow_compute", seconds=0.3, label=x))["taskId"] for x in "ab"]
        message = ada.message("subscriptions/listen", {"notifications": {"taskIds": [*tasks, "unknown"]}})
        message["params"]["_meta"] = ada.meta
        told = []
        async with stack.http.stream("POST", ada.url, headers=ada.routed(message), json=message) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 3:
                    break
        acknowledged, *ends = told
        assert acknowledged["params"]["notifications"]["taskIds"] == tasks
        assert {end["params"]["taskId"] for end in ends} == set(tasks)
        for end in ends:
            assert end["method"] == "notifications/tasks"
            assert end["params"]["status"] == "completed"
            assert end["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == message["id"]
        await until(lambda: str(stack.system.gateway.tasks) == "<TaskRelay listening=0>")


async def test_who_does_not_take_tasks_cannot_listen_for_them(tmp_path):
    async with running(tmp_path, {"jobs": jobs()}) as stack:
        asked = {"notifications": {"taskIds": ["x"]}}
        answer = await stack.modern().post(stack.modern().message("subscriptions/listen", asked))
        assert (answer.status_code, answer.json()["error"]["data"]) == (400, NEEDED)
        asked = {"notifications": {"taskIds": "x"}}
        answer = await client(stack).post(stack.modern().message("subscriptions/listen", asked))
        assert answer.json()["error"]["code"] == -32602


async def test_a_task_of_a_server_that_is_granted_no_more_is_not_found(tmp_path):
    async with running(tmp_path, {"jobs": jobs(), "other": jobs()}) as stack:
        ada = client(stack, token=await stack.key("ada", Role.DEVELOPER))
        task_id = (await begin(ada, "jobs__slow_compute", seconds=0))["taskId"]
        assert (await result_of(ada, task_id))["status"] == "completed"
        await stack.key("ada", Role.DEVELOPER, Grant(servers=("other",)))
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            error = (await ada.ask(method, {"taskId": task_id, "inputResponses": {}}))["error"]
            assert (error["code"], error["message"]) == (-32602, "Task not found")
        await stack.key("ada", Role.VIEWER)
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            answer = await ada.post(ada.message(method, {"taskId": task_id, "inputResponses": {}}))
            assert answer.status_code == 403
