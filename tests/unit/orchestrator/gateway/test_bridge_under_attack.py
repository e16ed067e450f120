"""Clients that never answer, servers that ask without end or talk nonsense: nobody else suffers by it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from fairlead.core.access import KnownTokens
from fairlead.model.fleet import CallLimits, FleetSpec, RateLimiting, ResourceLimits, Security
from fairlead.model.status import BreakerState
from fairlead.orchestrator.gateway.bridge import MAX_ASKED
from fairlead.orchestrator.members import is_hung
from support.conversations import ABLE, ANSWER, CALL, SPECS, Client, a_world
from support.virtual_time import virtually

ADA, BOB = "flt_of-ada", "flt_of-bob"


async def begun(world, *, modern, server="old", tool="work", able=ABLE[1], token=ADA):
    client = Client(world, token, able, modern=modern)
    world.clients.append(client)
    return client, *await called(world, client, server, tool)


async def called(world, client, server="old", tool="work"):
    call = client.call(server, tool)
    async with asyncio.timeout(100):
        while True:
            for process in world.servers:
                for work in process.working.values():
                    if work.token == call.token:
                        return call, process, work
            await asyncio.sleep(0.001)


async def looked(world, seconds=0.05):
    await asyncio.sleep(seconds)
    world.look()


def error_of(call):
    [final] = call.finals
    return final["error"]


def pool_of(world, name):
    return world.rig.gateway.endpoints.merged.pools[name]


@pytest.mark.parametrize("state", ["1e999", "7", "[" * 900 + "]" * 900, "null"])
@virtually
async def test_a_state_that_cannot_be_read_ends_the_call(state):
    async with a_world() as world:
        _, call, server, work = await begun(world, modern=True, server="new")
        del server.working[work.number]
        questions = {"q": {"method": "sampling/createMessage", "params": {"token": work.token, "q": "q"}}}
        result = (
            f'"resultType":"input_required","inputRequests":{json.dumps(questions)},"requestState":{state}'
        )
        frame = f'{{"jsonrpc":"2.0","id":{work.number},"result":{{{result}}}}}'
        server.instance.frame_received(frame.encode())
        await looked(world)
        if state == "null":
            assert call.states[0].get("requestState") is None
        else:
            assert error_of(call)["code"] == -32004
        assert world.left_over() == {}


@virtually
async def test_a_client_that_is_away_does_not_keep_its_principal_from_its_own_instance():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True, server="own")
        server.ask(work, ["elicitation"])
        await looked(world)
        other = Client(world, ADA, ABLE[1], modern=True)
        world.clients.append(other)
        call, same, work = await called(world, other, "own")
        assert same is server
        same.finish(work)
        await looked(world)
        assert len(call.finals) == 1
        await looked(world, 3)
        assert world.left_over() == {}


@pytest.mark.parametrize("modern", [False, True])
@virtually
async def test_a_person_who_thinks_is_no_slow_server(modern):
    async with a_world() as world:
        client = Client(world, ADA, ABLE[1], modern=modern)
        world.clients.append(client)
        for _ in range(25):
            call, server, work = await called(world, client)
            server.ask(work, ["elicitation"])
            await looked(world, 70)
            if modern:
                client.come_back(call, call.states[-1]["requestState"])
            else:
                [question] = client.questions
                client.reply(question, client.questions.pop(question))
            await looked(world)
            server.finish(work)
            await looked(world)
            assert "result" in call.finals[0]
        assert pool_of(world, "old").breaker.counts()[2] == 0
        assert pool_of(world, "old").breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("modern", [False, True])
@virtually
async def test_a_client_that_does_not_answer_is_no_failure_of_the_server(modern):
    async with a_world() as world:
        client = Client(world, ADA, ABLE[1], modern=modern)
        world.clients.append(client)
        for _ in range(3):
            call, server, work = await called(world, client)
            server.ask(work, ["elicitation"])
            await looked(world, ANSWER + 3)
            assert server.asked == {}, "it was refused"
            if not modern:
                server.finish(work)
                await looked(world)
                assert "result" in call.finals[0], "and could go on"
        assert pool_of(world, "old").breaker.counts()[1] == 0
        assert world.left_over() == {}


@virtually
async def test_an_answered_question_leaves_the_call_no_more_than_its_time():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False)
        server.ask(work, ["elicitation"])
        await looked(world)
        [question] = client.questions
        client.reply(question, client.questions.pop(question))
        await looked(world, CALL + 3)
        assert "in time" in error_of(call)["message"]


@virtually
async def test_a_call_with_another_question_goes_on_waiting():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False)
        server.ask(work, ["sampling", "elicitation"])
        await looked(world)
        first, second = client.questions
        client.reply(first, client.questions.pop(first))
        await looked(world, CALL + 3)
        client.reply(second, client.questions.pop(second))
        await looked(world, CALL - 3)
        server.finish(work)
        await looked(world)
        assert "result" in call.finals[0]


@virtually
async def test_questions_that_were_withdrawn_are_not_kept():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True)
        server.ask(work, ["elicitation"])
        await looked(world)
        for _ in range(200):
            server.ask(work, ["elicitation"])
            server.withdraw(max(server.asked))
        [parked] = world.rig.gateway.bridge._parked.values()
        assert len(parked.questions) < 70


@virtually
async def test_early_questions_that_were_withdrawn_are_not_kept():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=False, server="web")
        await looked(world)
        instance = server.instance
        instance.cancel(work.number, "x")
        instance.calls_total = 0
        for number in range(200):
            ask = {"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": {}}
            gone = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
            instance.frame_received(json.dumps(ask).encode())
            instance.frame_received(json.dumps(gone).encode())
        assert len(instance.questions._early) < 70


@virtually
async def test_a_server_that_asks_with_one_id_again_and_again_does_not_fill_its_client():
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False, server="web")
        for _ in range(100):
            server.asked[1] = work
            ask = {"token": work.token, "q": 1}
            server._say({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": ask}, work)
        await looked(world, 2)
        assert len(client.session.asked) == 1
        await looked(world, ANSWER + 3)
        assert client.session.asked == {}
        server.finish(work)
        await looked(world, 3)
        assert world.left_over() == {}


@virtually
async def test_an_instance_that_dies_while_it_is_told_a_level_gets_no_call():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False, server="web")
        server.finish(work)
        await looked(world)
        answer = server.link.script

        def silent(message):
            return [] if message.get("method") == "logging/setLevel" else answer(message)

        server.link.script = silent
        client.post({"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "debug"}})
        call = client.call("web", "work")
        await looked(world, 1)
        assert server.link.sent[-1]["method"] == "logging/setLevel"
        server.link.lose()
        async with asyncio.timeout(30):
            while not (others := [s for s in world.servers if s is not server and s.working]):
                await asyncio.sleep(0.1)
        [other] = others
        other.finish(next(iter(other.working.values())))
        await looked(world)
        assert "result" in call.finals[0]


@virtually
async def test_a_server_that_is_removed_does_not_wait_for_clients_that_cannot_come_back():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True)
        server.ask(work, ["elicitation"])
        await looked(world)
        specs = {
            name: pool.spec
            for name, pool in world.rig.gateway.endpoints.merged.pools.items()
            if name != "old"
        }
        limits = ResourceLimits(rate_limiting=RateLimiting(enabled=False))
        applying = asyncio.create_task(
            world.rig.fleet.apply(FleetSpec(servers=specs, security=Security(resource_limits=limits)))
        )
        await looked(world, 10)
        assert server.link.lost
        assert world.rig.gateway.bridge._parked == {}
        await applying


@virtually
async def test_the_end_of_a_url_that_had_to_be_visited_first_is_told():
    """The error names it (-32042); the client waits for word of it, then calls again."""
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False, server="web")
        client.stream = client.get()
        del server.working[work.number]
        data = {"elicitations": [{"mode": "url", "elicitationId": "e7", "url": "https://x", "message": "m"}]}
        error = {"code": -32042, "message": "m", "data": data}
        server._say({"jsonrpc": "2.0", "id": work.number, "error": error}, work)
        note = {
            "jsonrpc": "2.0",
            "method": "notifications/elicitation/complete",
            "params": {"elicitationId": "e7"},
        }
        server._say(note)
        await looked(world)
        assert b"elicitation/complete" in client.stream.wire.out


@virtually
async def test_messages_outside_of_calls_are_of_the_level_too():
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False, server="own")
        client.stream = client.get()
        server.finish(work)
        client.post({"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "error"}})
        await looked(world)
        for level in ("debug", "error"):
            about = {"level": level, "data": f"{client.owner}#{level}"}
            server._say({"jsonrpc": "2.0", "method": "notifications/message", "params": about})
        await looked(world)
        assert b"#error" in client.stream.wire.out
        assert b"#debug" not in client.stream.wire.out


@virtually
async def test_the_next_round_does_not_go_to_an_instance_that_hangs():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True, server="new")
        server.ask(work, ["elicitation"])
        await looked(world)
        server.link.hang()
        pool = pool_of(world, "new")
        async with asyncio.timeout(200):
            while not is_hung(server.instance):
                await asyncio.sleep(0.01)
        assert server.instance.room
        assert pool.with_room(server.instance.id) is None


@virtually
async def test_roots_that_a_server_was_not_offered_are_not_what_its_failure_is_for():
    async with a_world() as world:
        able = {"roots": {}}
        _, call, server, work = await begun(world, modern=True, server="new", able=able)
        server.asked[77] = work
        server.instance.frame_received(b'{"jsonrpc":"2.0","id":77,"method":"roots/list"}')
        server.finish(work, error=True)
        await looked(world)
        assert error_of(call)["code"] == -32050


@virtually
async def test_an_error_that_is_null_is_none():
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False)
        server.ask(work, ["elicitation"])
        await looked(world)
        [question] = client.questions
        said = client._said(client.questions.pop(question))
        client.post({"jsonrpc": "2.0", "id": question, "result": said, "error": None})
        await looked(world)
        assert server.link.sent[-1]["result"] == said


@virtually
async def test_a_call_of_a_principal_whose_token_is_gone_is_not_parked():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True)
        gateway = world.rig.gateway
        gateway.set_policy(replace(gateway.policy, identities=KnownTokens({})))
        server.ask(work, ["elicitation"])
        await looked(world)
        assert gateway.bridge._parked == {}
        assert server.asked == {}


@virtually
async def test_one_principal_cannot_take_all_the_room_for_parked_calls(monkeypatch):
    monkeypatch.setattr("fairlead.orchestrator.gateway.bridge.MAX_PARKED", 10)
    async with a_world() as world:
        ada = Client(world, ADA, ABLE[0], modern=True)
        world.clients.append(ada)
        for _ in range(12):
            _, server, work = await called(world, ada, "web")
            server.ask(work, ["elicitation"])
            await looked(world)
        _, call, server, work = await begun(world, modern=True, server="web", able=ABLE[0], token=BOB)
        server.ask(work, ["elicitation"])
        await looked(world)
        assert len(call.states) == 1


@pytest.mark.parametrize("modern", [False, True])
@virtually
async def test_a_person_who_thinks_does_not_keep_a_server_on_trial(modern):
    async with a_world() as world:
        pool = pool_of(world, "web")
        client, _, server, work = await begun(world, modern=modern, server="web")
        server.finish(work)
        await looked(world)
        now = asyncio.get_running_loop().time()
        for _ in range(50):
            pool.breaker.failed(now, pool.members.answers, "x")
        pool._breakers_changed()
        assert pool.breaker.state is BreakerState.OPEN
        while pool.breaker.state is BreakerState.OPEN:
            await asyncio.sleep(1)
        assert pool.breaker.state is BreakerState.HALF_OPEN
        for _ in range(pool.breaker.limit):
            call, server, work = await called(world, client, "web")
            server.ask(work, ["elicitation"])
            await looked(world)
        call, server, work = await called(world, client, "web")
        server.finish(work)
        await looked(world)
        assert "result" in call.finals[0]


@virtually
async def test_a_server_that_asks_a_client_too_much_leaves_room_for_others():
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False, server="web")
        for _ in range(MAX_ASKED):
            server.ask(work, ["sampling"])
        _, other, work = await called(world, client, "old")
        other.ask(work, ["sampling"])
        await looked(world)
        assert len(client.questions) == MAX_ASKED + 1


@virtually
async def test_what_came_of_a_clients_answers_is_not_kept_for_others():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False, server="new")
        kept = []
        [exchange] = client.session.calls.values()
        exchange.keep = kept.append
        server.ask(work, ["elicitation"])
        await looked(world)
        [question] = client.questions
        client.reply(question, client.questions.pop(question))
        await looked(world)
        [work] = server.working.values()
        server.finish(work)
        await looked(world)
        assert "result" in call.finals[0]
        assert kept == []


@virtually
async def test_sessions_with_servers_of_their_own_may_have_elicitations_of_the_same_name():
    """Each process numbers its own."""
    async with a_world() as world:
        begun_by = {}
        for token in (ADA, BOB):
            client, _, server, work = await begun(world, modern=False, server="own", token=token)
            client.stream = client.get()
            server.asked[1] = work
            params = {"token": work.token, "q": 1, "mode": "url", "elicitationId": "1"}
            server._say({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": params})
            begun_by[token] = client, server
        ada, server = begun_by[ADA]
        note = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete"}
        server._say({**note, "params": {"elicitationId": "1"}})
        await looked(world)
        assert b"elicitation/complete" in ada.stream.wire.out
        assert b"elicitation/complete" not in begun_by[BOB][0].stream.wire.out


ODD = [None, 0, -1, 1.5, "", "x", [], {}, [[]], {"x": []}, True, "\ud800", 2**70]


@virtually
async def test_nonsense_of_clients_is_never_a_fault_of_ours():
    async with a_world() as world:
        for server_name in ("old", "own", "web", "new"):
            for odd in [one for one in ODD if one != "\ud800"]:
                for member in ("requestState", "inputResponses", "arguments", "task"):
                    if server_name == "new" and member != "requestState":
                        continue  # that is for the server to read
                    client = Client(world, ADA, ABLE[1], modern=True)
                    world.clients.append(client)
                    call, server, work = await called(world, client, server_name)
                    server.ask(work, ["elicitation"])
                    await looked(world)
                    state = call.states[-1]["requestState"]
                    more = {"inputResponses": {}, "requestState": state, member: odd}
                    client._send(call, more)
                    await looked(world)
                    world.close(call.attempts[-1].lane)
                    last = call.finals[-1] if call.finals else None
                    assert last is None or last["error"]["code"] != -32603
                    for parked in list(world.rig.gateway.bridge._parked.values()):
                        world.rig.gateway.bridge._forget(parked, "x")
                    for process in world.servers:
                        for left in list(process.working.values()):
                            process.finish(left)
                    await looked(world)
                    world.faults.clear()


@virtually
async def test_nonsense_of_servers_is_never_a_fault_of_ours():
    async with a_world() as world:
        for modern in (False, True):
            for server_name in ("old", "own", "web"):
                _, call, server, work = await begun(world, modern=modern, server=server_name)
                methods = ["sampling/createMessage", "elicitation/create", "roots/list", "ping", "x", ""]
                methods += ["notifications/message", "notifications/cancelled", "notifications/progress"]
                methods += ["notifications/elicitation/complete", "notifications/resources/updated"]
                for method in methods:
                    for odd in ODD:
                        for number in (1, "a", None, -1, 2**62):
                            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": odd}
                            server.instance.frame_received(json.dumps(message).encode(), work.number)
                            del message["id"]
                            server.instance.frame_received(json.dumps(message).encode())
                        for key in ("requestId", "progressToken", "elicitationId", "uri", "mode", "level"):
                            message = {"jsonrpc": "2.0", "method": method, "params": {key: odd}}
                            server.instance.frame_received(json.dumps(message).encode(), None)
                            message["id"] = 7
                            server.instance.frame_received(json.dumps(message).encode(), work.number)
                assert all(b"-32603" not in attempt.wire.out for attempt in call.attempts)
                server.asked.clear()
                world.faults.clear()
                world.clients.clear()  # who would look at what they were asked
                if work.number in server.working:
                    server.finish(work)
                server.link.lose()
                await looked(world, 3)


@virtually
async def test_persons_who_do_not_answer_do_not_keep_all_instances():
    """Their calls stand aside, and when nothing is left, the question that waits the longest is refused."""
    async with a_world() as world:
        maximum = pool_of(world, "old").spec.scaling.max_instances
        waiting = []
        for _ in range(2 * maximum - 1):  # one is for those who cannot be asked
            _, call, server, work = await begun(world, modern=False, able=ABLE[0])
            server.ask(work, ["elicitation"])
            await looked(world)
            waiting.append((call, server, work))
        first, server, work = waiting[0]
        last = asyncio.create_task(begun(world, modern=False, able=ABLE[0]))
        while server.asked:
            await asyncio.sleep(0.001)
        server.finish(work)  # what it said is for the server to mend
        await last
        await looked(world)
        assert "result" in first.finals[0]
        assert all(other.asked for _, other, _ in waiting[2:])


@pytest.mark.parametrize("modern", [False, True])
@virtually
async def test_persons_who_do_not_answer_do_not_fill_a_remote(modern, monkeypatch):
    limits = CallLimits(calls_per_instance=3)
    monkeypatch.setitem(SPECS, "web", SPECS["web"] | {"limits": limits})
    async with a_world() as world:
        _, call, server, work = await begun(world, modern=modern, server="web", able=ABLE[0])
        waiting = [(call, work)]
        for _ in range(2):
            _, call, same, work = await begun(world, modern=modern, server="web", able=ABLE[0])
            assert same is server
            waiting.append((call, work))
        for _, work in waiting:
            server.ask(work, ["elicitation"])
            await looked(world)
        last = asyncio.create_task(begun(world, modern=modern, server="web", able=ABLE[0]))
        while len(server.asked) == 3:
            await asyncio.sleep(0.001)
        call, work = waiting[0]
        assert work not in server.asked.values()
        server.finish(work)
        await last
        assert len(server.asked) == 2, "only as much as was needed"
        if modern:
            call.client.come_back(call, call.states[-1]["requestState"])
        await looked(world)
        assert "result" in call.finals[0]
