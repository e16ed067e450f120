"""Questions of servers to clients: what must not happen to them. A whole gateway in virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from fairlead.core.access import KnownTokens
from fairlead.orchestrator.gateway.bridge import MAX_ASKED
from support.conversations import ABLE, ANSWER, CALL, Client, a_world
from support.lane_rig import request
from support.virtual_time import virtually

LONG = CALL + 5
ADA, BOB = "flt_of-ada", "flt_of-bob"


async def begun(world, *, modern, server="old", tool="work", able=ABLE[1], token=ADA):
    """A client whose call a server works on: client, call, server, work."""
    client = Client(world, token, able, modern=modern)
    world.clients.append(client)
    call = client.call(server, tool)
    process, work = await working(world, call)
    return client, call, process, work


async def working(world, call):
    async with asyncio.timeout(100):
        while True:
            for server in world.servers:
                for work in server.working.values():
                    if work.token == call.token:
                        return server, work
            await asyncio.sleep(0.001)


async def looked(world, seconds=0.05):
    await asyncio.sleep(seconds)
    world.look()


def text(call):
    [final] = call.finals
    return final["result"]["content"][0]["text"]


@virtually
async def test_a_clients_error_is_one_line_for_the_server():
    """A pipe ends a message at a line's end: the rest would be a message that nobody sent."""
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False)
        server.ask(work, ["sampling"])
        await looked(world)
        [question] = client.questions
        data = b'[1,\r\n{"jsonrpc":"2.0","id":1,"method":"tools/call"}\n]'
        body = b'{"jsonrpc":"2.0","id":"%b","error":{"code":-1,"message":"no","data":%b}}'
        lane, wire = world.connect()
        lane.data_received(request(body % (question.encode(), data), client.headers))
        assert b" 202 " in wire.out
        sent = server.link.sent[-1]
        assert sent["error"] == {"code": -1, "message": "no", "data": json.loads(data)}
        assert server.asked == {}


@virtually
async def test_who_never_answers_can_be_asked_again_and_hears_what_is_not_wanted_any_more():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False, server="web")
        for _ in range(MAX_ASKED):
            server.ask(work, ["sampling"])
        await looked(world)
        assert len(client.questions) == MAX_ASKED
        server.ask(work, ["sampling"])
        assert len(server.asked) == MAX_ASKED, "it was refused"
        for number in list(server.asked):
            server.withdraw(number)
        server.ask(work, ["sampling"])
        await looked(world)
        assert len(client.questions) == 1, "and the others were withdrawn"
        [question] = client.questions
        client.reply(question, client.questions.pop(question))
        server.finish(work)
        await looked(world, 2)
        assert text(call) == call.token
        assert world.left_over() == {}


@virtually
async def test_a_question_ends_with_its_call():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False, server="web")
        server.ask(work, ["sampling"])
        await looked(world)
        client.cancel(call)
        await looked(world, 3)
        assert server.asked == {}, "it is refused"
        assert world.left_over() == {}


@virtually
async def test_a_question_ends_with_its_server():
    async with a_world() as world:
        client, _, server, work = await begun(world, modern=False)
        server.ask(work, ["elicitation"])
        await looked(world)
        server.link.lose()
        await looked(world, 2)
        assert client.session.asked == {}
        assert world.left_over() == {}


@virtually
async def test_each_round_has_the_time_of_a_call_however_long_a_person_thinks():
    async with a_world() as world:
        client, call, server, work = await begun(world, modern=False, server="new")
        server.ask(work, ["elicitation"])
        await looked(world, LONG)
        [question] = client.questions
        client.reply(question, client.questions.pop(question))
        server, work = await working(world, call)
        await asyncio.sleep(CALL - 5)
        server.finish(work)
        await looked(world)
        assert text(call) == call.token


@virtually
async def test_a_call_that_is_given_up_before_its_client_is_told_ends_with_an_error():
    async with a_world() as world:
        _, call, server, work = await begun(world, modern=True)
        server.ask(work, ["sampling"])  # what it asks further within a moment is told together
        gateway = world.rig.gateway
        policy = gateway.policy
        gateway.set_policy(replace(policy, identities=KnownTokens({})))
        await looked(world)
        [final] = call.finals
        assert "given up" in final["error"]["message"]
        assert server.asked == {}
        assert world.left_over() == {}


@virtually
async def test_where_a_call_is_done_twice_only_the_one_that_asks_goes_on():
    """Its instance seemed hung and another one was asked, too."""
    async with a_world() as world:
        client, call, first, work = await begun(world, modern=True, tool="look")
        first.link.hang()
        async with asyncio.timeout(60):
            while len(others := [s for s in world.servers if s is not first and s.working]) == 0:
                await asyncio.sleep(0.1)
        [second] = others
        first.link.go_on()
        first.ask(work, ["elicitation"])
        await looked(world)
        assert second.working == {}, "it was told to give it up"
        client.come_back(call, call.states[-1]["requestState"])
        first.finish(work)
        await looked(world)
        assert text(call) == call.token
        assert world.left_over() == {}


@virtually
async def test_a_message_about_a_call_that_was_given_up_is_not_told_to_another_client():
    async with a_world() as world:
        ada, call, server, work = await begun(world, modern=False, server="new")
        ada.cancel(call)
        _, other, same, _ = await begun(world, modern=False, server="new", token=BOB)
        assert same is server
        server.tell(work, progress=False)
        await looked(world)
        assert other.attempts[0].wire.out == b""


@virtually
async def test_a_parked_call_is_not_asked_what_its_client_cannot_do():
    """Its instance may: it is the principal's, and was told of another client of theirs."""
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True, server="own", able=ABLE[1])
        server.finish(work)
        await looked(world)
        _, call, same, work = await begun(world, modern=True, server="own", able=ABLE[2])
        assert same is server
        server.ask(work, ["elicitation", "roots"])
        await looked(world)
        assert [one["method"] for one in call.states[0]["inputRequests"].values()] == ["elicitation/create"]


@virtually
async def test_the_end_of_an_elicitation_is_told_to_whom_its_server_asked():
    """Ids are the servers' own: two may choose the same one. What makes no sense harms nobody."""
    async with a_world() as world:
        clients = {}
        for name, token in (("old", ADA), ("web", BOB)):
            client, _, server, work = await begun(world, modern=False, server=name, token=token)
            client.stream = client.get()
            params = {"token": work.token, "q": 1, "mode": "url", "elicitationId": "e1"}
            server.asked[1] = work
            message = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": params}
            server._say(message, work)
            clients[name] = client, server
        _, server = clients["old"]
        for params in ({"elicitationId": "e1"}, [], {"elicitationId": [1]}, {"elicitationId": "x" * 9999}):
            note = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": params}
            server._say(note)
        await looked(world)
        told = {
            name: b"elicitation/complete" in client.stream.wire.out for name, (client, _) in clients.items()
        }
        assert told == {"old": True, "web": False}


@virtually
async def test_a_url_that_must_be_visited_is_no_error_of_the_modern_era():
    async with a_world() as world:
        for able, code in ((ABLE[1], None), (ABLE[0], -32021)):
            _, call, server, work = await begun(world, modern=True, able=able)
            server.finish(work, url=True)
            await looked(world)
            if code is None:
                assert call.states[0]["inputRequests"]["elicitation-1"]["params"]["mode"] == "url"
            else:
                [final] = call.finals
                assert final["error"]["code"] == code
        _, call, server, work = await begun(world, modern=True, able=ABLE[1])
        del server.working[work.number]
        server._say({"jsonrpc": "2.0", "id": work.number, "error": {"code": -32042, "message": "m"}})
        await looked(world)
        [final] = call.finals
        assert final["error"]["code"] == -32004


@virtually
async def test_who_does_not_come_back_is_given_up():
    async with a_world() as world:
        _, _, server, work = await begun(world, modern=True)
        server.ask(work, ["sampling"])
        await looked(world, ANSWER + 3)
        assert server.working == server.asked == {}
        assert world.left_over() == {}
