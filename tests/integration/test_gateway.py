"""The gateway end to end in one process: real HTTP, real child processes, both eras on both sides."""

import asyncio
import json

import httpx
import pytest

from support.stack import LIGHT, TOKEN, events, light, running, until

META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
SERVERS = {"old": light(), "new": light("--era", "modern")}


@pytest.mark.parametrize("server", ["old", "new"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_every_cell_lists_calls_reads_and_completes(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        client = await stack.session() if era == "legacy" else stack.modern()
        tools = [tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]]
        assert f"{server}__echo" in tools
        assert await client.text(f"{server}__echo", text="grüße\n\u2028") == "grüße\n\u2028"

        resources = (await client.ask("resources/list"))["result"]["resources"]
        uri = next(r["uri"] for r in resources if r["uri"].startswith(f"fairlead://{server}/"))
        contents = (await client.ask("resources/read", {"uri": uri}))["result"]["contents"]
        assert contents[0]["uri"] == uri
        templates = (await client.ask("resources/templates/list"))["result"]["resourceTemplates"]
        template = next(t["uriTemplate"] for t in templates if f"//{server}/" in t["uriTemplate"])
        read = await client.ask("resources/read", {"uri": template.replace("{id}", "7")})
        assert "7" in read["result"]["contents"][0]["text"]

        prompt = await client.ask("prompts/get", {"name": f"{server}__greet", "arguments": {"name": "Ada"}})
        assert "Ada" in json.dumps(prompt["result"]["messages"])
        reference = {"type": "ref/prompt", "name": f"{server}__greet"}
        argument = {"name": "name", "value": "A"}
        done = await client.ask("completion/complete", {"ref": reference, "argument": argument})
        assert "Ada" in done["result"]["completion"]["values"]

        failed = await client.call(f"{server}__fail")
        assert failed["result"]["isError"] is True
        assert (await client.call(f"{server}__error"))["error"]["code"] < 0
        unknown = await client.call("nobody__nothing")
        assert unknown["error"]["code"] == -32602
        linked = (await client.call(f"{server}__link"))["result"]["content"]
        assert linked[0]["uri"].startswith(f"fairlead://{server}/")
        assert linked[1]["resource"]["uri"].startswith(f"fairlead://{server}/")
        complete = (await client.call(f"{server}__echo", text=""))["result"].get("resultType")
        assert complete == ("complete" if era == "modern" else None)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_one_server_alone_has_its_own_names(tmp_path, era):
    async with running(tmp_path, SERVERS) as stack:
        path = "/servers/old/mcp"
        client = await stack.session(path) if era == "legacy" else stack.modern(path)
        names = [tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]]
        assert "echo" in names
        assert await client.text("echo", text="x") == "x"
        resources = (await client.ask("resources/list"))["result"]["resources"]
        assert resources[0]["uri"] == "light://one"
        read = await client.ask("resources/read", {"uri": "light://one"})
        assert read["result"]["contents"][0]["uri"] == "light://one"
        prompt = await client.ask("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
        assert "messages" in prompt["result"]


async def test_the_handshakes(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        assert session.about["protocolVersion"] == "2025-11-25"
        assert session.about["serverInfo"]["name"] == "fairlead"
        assert session.about["capabilities"]["tools"] == {"listChanged": True}
        assert (await session.ask("ping"))["result"] == {}
        assert (await session.ask("logging/setLevel", {"level": "info"}))["result"] == {}
        assert (await session.ask("logging/setLevel", {"level": "loud"}))["error"]["code"] == -32602
        modern = stack.modern()
        found = (await modern.ask("server/discover"))["result"]
        assert "2026-07-28" in found["supportedVersions"]
        assert found["resultType"] == "complete"
        assert found["cacheScope"] in ("public", "private")
        assert found["ttlMs"] > 0
        missing = await modern.post(modern.message("no/such"))
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, -32601)


async def test_ids_keep_their_type_and_order_does_not_matter(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        client = stack.modern()
        for request_id in (0, "0", "listen:0", -7, 2**53):
            message = client.message("tools/list") | {"id": request_id}
            assert (await client.post(message)).json()["id"] == request_id


async def test_modern_headers_must_repeat_the_body(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        client = stack.modern()
        message = client.message("tools/call", {"name": "old__echo", "arguments": {"text": "x"}})
        message["params"]["_meta"] = client.meta
        for change in (
            {"Mcp-Name": "new__echo"},
            {"Mcp-Method": "tools/list"},
            {"MCP-Protocol-Version": "2099-01-01"},
        ):
            answer = await stack.http.post(client.url, headers=client.routed(message) | change, json=message)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == -32020
        encoded = {"Mcp-Name": "=?base64?b2xkX19lY2hv?="}
        answer = await stack.http.post(client.url, headers=client.routed(message) | encoded, json=message)
        assert answer.json()["result"]["content"][0]["text"] == "x"
        client.meta = {}
        refused = await client.post(client.message("tools/list"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("server", ["old", "new"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_progress_comes_with_the_clients_own_token(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        client = await stack.session() if era == "legacy" else stack.modern()
        params = {
            "name": f"{server}__sleep",
            "arguments": {"seconds": 0.2},
            "_meta": {"progressToken": "mine"},
        }
        answer = await client.post(client.message("tools/call", params))
        assert answer.headers["content-type"] == "text/event-stream"
        *progress, last = events(answer.text)
        assert progress
        assert {note["params"]["progressToken"] for note in progress} == {"mine"}
        assert last["id"] == client.number
        assert "result" in last


async def test_a_legacy_client_cancels_with_a_note(tmp_path):
    record = tmp_path / "record"
    async with running(tmp_path, {"old": light("--record", str(record))}) as stack:
        session = await stack.session()
        message = session.message("tools/call", {"name": "old__sleep", "arguments": {"seconds": 60}})
        call = asyncio.create_task(session.post(message))
        await until(lambda: stack.system.gateway.in_flight == 1)
        await session.note("notifications/cancelled", {"requestId": message["id"], "reason": "enough"})
        answer = await call
        assert "cancelled" in answer.json()["error"]["message"]
        await until(lambda: b"notifications/cancelled" in record.read_bytes())
        assert stack.system.gateway.in_flight == 0


async def test_a_modern_client_cancels_by_closing_a_legacy_one_does_not(tmp_path):
    record = tmp_path / "record"
    async with running(tmp_path, {"old": light("--record", str(record))}) as stack:
        session, modern = await stack.session(), stack.modern()
        before = stack.system.gateway.metrics.connections
        for client in (session, modern):
            message = client.message("tools/call", {"name": "old__sleep", "arguments": {"seconds": 2}})
            message["params"]["_meta"] = client.meta if client is modern else {}
            headers = client.routed(message) if client is modern else client.headers
            async with httpx.AsyncClient() as leaving:
                call = asyncio.create_task(leaving.post(client.url, headers=headers, json=message))
                await until(lambda: stack.system.gateway.in_flight == 1)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            if client is modern:
                await until(lambda: stack.system.gateway.in_flight == 0)
            else:
                await until(lambda: stack.system.gateway.metrics.connections <= before)
                assert b"notifications/cancelled" not in record.read_bytes()
                await until(lambda: stack.system.gateway.in_flight == 0)
        await until(lambda: record.read_bytes().count(b"notifications/cancelled") == 1)


async def test_changed_lists_reach_every_listener_once(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session, modern = await stack.session(), stack.modern()
        message = modern.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        message["id"] = "listen:0"
        message["params"]["_meta"] = modern.meta
        async with (
            stack.http.stream("GET", session.url, headers=session.headers) as legacy_stream,
            stack.http.stream(
                "POST", modern.url, headers=modern.routed(message), json=message
            ) as modern_stream,
        ):
            legacy_lines, modern_lines = legacy_stream.aiter_lines(), modern_stream.aiter_lines()
            acknowledged = await anext_event(modern_lines)
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}
            await session.call("old__change")
            note = await anext_event(modern_lines)
            assert note["method"] == "notifications/tools/list_changed"
            assert note["params"]["_meta"][META_SUBSCRIPTION] == "listen:0"
            assert (await anext_event(legacy_lines))["method"] == "notifications/tools/list_changed"
        await until(lambda: stack.system.gateway.metrics.streams == 0)


async def anext_event(lines) -> dict:
    async with asyncio.timeout(20):
        async for line in lines:
            if line.startswith("data: "):
                return json.loads(line[len("data: ") :])
    raise AssertionError("the stream ended")


async def test_what_changed_without_a_stream_is_told_when_there_is_one(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        before = len((await session.ask("tools/list"))["result"]["tools"])
        await session.call("old__change")
        await until(lambda: stack.system.fleet.server("old").tools > before / 2)
        async with stack.http.stream("GET", session.url, headers=session.headers) as stream:
            assert (await anext_event(stream.aiter_lines()))["method"] == "notifications/tools/list_changed"
        assert len((await session.ask("tools/list"))["result"]["tools"]) == before + 1


async def test_a_session_ends_and_is_then_gone(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        assert (await stack.http.delete(session.url, headers=session.headers)).status_code == 204
        gone = await session.post(session.message("tools/list"))
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, -32001)
        assert (await stack.http.delete(session.url, headers=session.headers)).status_code == 404
        assert (await stack.http.get(session.url, headers=session.headers)).status_code == 404
        del session.headers["Mcp-Session-Id"]
        missing = await session.post(session.message("tools/list"))
        assert missing.status_code == 400


async def test_a_session_belongs_to_its_principal_and_endpoint(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        other = await stack.key("other")
        session = await stack.session()
        stolen = session.headers | {"Authorization": f"Bearer {other}"}
        message = session.message("tools/list")
        assert (await stack.http.post(session.url, headers=stolen, json=message)).status_code == 404
        elsewhere = stack.url + "/servers/old/mcp"
        assert (await stack.http.post(elsewhere, headers=session.headers, json=message)).status_code == 404
        assert (await session.post(message)).status_code == 200


async def test_a_server_that_holds_state_keeps_sessions_and_principals_apart(tmp_path):
    servers = {"counter": light(sharing="session"), "shared": light()}
    async with running(tmp_path, servers) as stack:
        other = await stack.key("other")
        first, second = await stack.session(), await stack.session()
        mine, theirs = stack.modern(), stack.modern(token=other)
        for expected in (1, 2, 3):
            assert json.loads(await first.text("counter__count"))["count"] == expected
        for client in (second, mine, theirs):
            assert json.loads(await client.text("counter__count"))["count"] == 1
        assert json.loads(await stack.modern().text("counter__count"))["count"] == 2, "the same principal"
        held = stack.system.fleet.server("counter").instances
        assert sum(instance.leased for instance in held) == 4
        await stack.http.delete(first.url, headers=first.headers)
        await until(lambda: sum(i.leased for i in stack.system.fleet.server("counter").instances) == 3)


async def test_a_death_is_told_and_the_next_call_works(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        died = await session.call("old__exit", code=3)
        assert "not replayed" in died["error"]["message"]
        assert await session.text("old__echo", text="again") == "again"
        assert await session.text("new__echo", text="never noticed") == "never noticed"
        assert stack.system.fleet.server("old").restarts == 1


async def test_a_slow_server_costs_its_callers_a_time_out_and_nothing_else(tmp_path):
    servers = {"slow": light(timeouts={"call": "1s"}), "old": light()}
    async with running(tmp_path, servers) as stack:
        session = await stack.session()
        late = await session.call("slow__sleep", seconds=60)
        assert "did not answer in time" in late["error"]["message"]
        assert await session.text("slow__echo", text="x") == "x"


async def test_rest_routes_a_request_and_shows_the_fleet(tmp_path):
    servers = SERVERS | {"gone": light("--exit-at-once", "3")}
    servers["gone"]["enabled"] = False
    servers["old"] = light(capabilities=["echoing"])
    async with running(tmp_path, servers) as stack:
        body = {
            "server": "old",
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}},
        }
        answer = await stack.rest("POST", "/api/request", json=body)
        assert answer.json()["result"]["content"][0]["text"] == "x"
        body["capability"] = body.pop("server") and "echoing"
        assert (await stack.rest("POST", "/api/request", json=body)).status_code == 200
        assert (
            await stack.rest("POST", "/api/request", json=body | {"capability": "none"})
        ).status_code == 404
        failing = body | {"params": {"name": "error", "arguments": {}}}
        assert (await stack.rest("POST", "/api/request", json=failing)).status_code == 502
        slow = body | {"params": {"name": "sleep", "arguments": {"seconds": 9}}, "timeout": 0.2}
        assert (await stack.rest("POST", "/api/request", json=slow)).status_code == 504
        assert (await stack.rest("GET", "/api/servers/ol")).status_code == 404
        states = {s["id"]: s["state"] for s in (await stack.rest("GET", "/api/servers")).json()["servers"]}
        assert states == {"old": "ready", "new": "ready", "gone": "disabled"}
        assert (await stack.rest("POST", "/api/servers/gone/start")).status_code == 409
        stopped = (await stack.rest("POST", "/api/servers/old/stop")).json()
        assert (stopped["state"], stopped["instances"]) == ("stopped", [])
        refused = await (await stack.session()).call("old__echo", text="x")
        assert "stopped" in refused["error"]["message"]
        await stack.rest("POST", "/api/servers/old/restart")
        await stack.ready("old")
        metrics = (await stack.rest("GET", "/metrics")).text
        assert 'server="old"' in metrics


async def test_an_edited_file_touches_only_what_changed(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        pids = {s.id: s.instances[0].pid for s in stack.system.fleet.servers()}
        content = json.loads(stack.fleet_file.read_text())
        content["servers"]["third"] = light()
        content["servers"]["new"] = light()
        stack.fleet_file.write_text(json.dumps(content))
        await until(lambda: stack.system.fleet.generation == 2)
        await stack.ready("third", "new")
        assert stack.system.fleet.server("old").instances[0].pid == pids["old"]
        # The one that is replaced ends after its calls.
        await until(lambda: stack.system.fleet.server("new").instances[0].pid != pids["new"])
        assert await session.text("third__echo", text="x") == "x"

        stack.fleet_file.write_text("servers: {old: {comand: x}}")
        refused = await stack.rest("POST", "/api/config/reload")
        assert refused.status_code == 422
        assert "command" in json.dumps(refused.json()["problems"])
        assert stack.system.fleet.generation == 2
        assert await session.text("old__echo", text="still") == "still"

        content["servers"]["old"] = light(capabilities=["echoing"], timeouts={"call": "9s"})
        stack.fleet_file.write_text(json.dumps(content))
        await until(lambda: stack.system.fleet.generation == 3)
        assert stack.system.fleet.server("old").capabilities == ["echoing"]
        assert stack.system.fleet.server("old").instances[0].pid == pids["old"], "no process depends on that"

        del content["servers"]["old"]
        stack.fleet_file.write_text(json.dumps(content))
        await until(lambda: "old" not in stack.system.fleet.spec.servers)
        gone = await session.call("old__echo", text="x")
        assert gone["error"]["code"] == -32602


async def test_a_revoked_token_is_refused_at_once(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        token = await stack.key("guest")

        async def status() -> int:
            client = stack.modern(token=token)
            return (await client.post(client.message("tools/list"))).status_code

        async with asyncio.timeout(20):
            while await status() != 200:
                await asyncio.sleep(0.02)
            await stack.remove("guest")
            while await status() != 401:
                await asyncio.sleep(0.02)


async def test_the_rate_and_the_number_of_calls_are_bounded(tmp_path):
    limits = {"resourceLimits": {"maxConcurrentRequests": 2, "rateLimiting": {"requestsPerMinute": 60}}}
    async with running(tmp_path, {"old": light()}, security=limits) as stack:
        session = await stack.session()
        slow = [asyncio.create_task(session.call("old__sleep", seconds=1)) for _ in range(2)]
        await until(lambda: stack.system.gateway.in_flight == 2)
        refused = await session.call("old__echo", text="x")
        assert "limit" in refused["error"]["message"]
        await asyncio.gather(*slow)
        answers = [await session.ask("ping") for _ in range(12)]
        limited = next(answer for answer in answers if "error" in answer)
        assert limited["error"]["data"]["retryAfter"] >= 1
        assert limited["id"] == answers.index(limited) + answers[0]["id"]
        modern = stack.modern()
        refused = await modern.post(modern.message("tools/list"))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["id"] == 1


async def test_the_token_is_shown_nowhere(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        assert TOKEN not in repr(stack.system.gateway)
        assert TOKEN not in (await stack.rest("GET", "/api/config")).text


LATE = (
    "import runpy, sys, time; time.sleep(2); sys.argv = ['light']; runpy.run_path({!r}, run_name='__main__')"
)


async def test_a_client_that_comes_early_sees_every_server(tmp_path):
    """Who lists or calls while a server starts waits for it, but not for one that cannot start."""
    late = light()
    late["args"] = ["-c", LATE.format(str(LIGHT))]
    servers = {"late": late, "quick": light(), "broken": light("--exit-at-once", "1")}
    async with running(tmp_path, servers, wait=()) as stack:
        early = stack.modern()
        listing = asyncio.create_task(early.ask("tools/list"))
        assert await (await stack.session()).text("late__echo", text="x") == "x"
        names = {tool["name"].partition("__")[0] for tool in (await listing)["result"]["tools"]}
        assert names == {"late", "quick"}


async def test_the_ordinary_lane_counts_under_the_same_limit(tmp_path):
    limits = {"resourceLimits": {"maxConcurrentRequests": 1}}
    async with running(tmp_path, {"old": light()}, security=limits) as stack:
        body = {
            "server": "old",
            "method": "tools/call",
            "params": {"name": "sleep", "arguments": {"seconds": 1}},
        }
        answers = await asyncio.gather(*(stack.rest("POST", "/api/request", json=body) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
        assert stack.system.gateway.in_flight == 0
        for method in ("initialize", "server/discover", "notifications/cancelled"):
            refused = await stack.rest("POST", "/api/request", json=body | {"method": method})
            assert refused.status_code == 422
