"""Requests of servers to clients, in all four cells of the eras, over real pipes and HTTP."""

import asyncio

import pytest

from support.asking import asked
from support.light_server import ASKING
from support.stack import events, light, running, until

SERVERS = {
    "old": light("--asks", clientRequests=["sampling", "elicitation", "roots"]),
    "new": light("--asks", "--era", "modern"),
}
CELLS = [(era, server) for era in ("legacy", "modern") for server in SERVERS]
cells = pytest.mark.parametrize(("era", "server"), CELLS, ids=[f"{era}-{server}" for era, server in CELLS])


@cells
async def test_a_server_asks_and_goes_on_with_the_answer(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, era, "ada")
        assert await ada.text(f"{server}__ask", text="tea") == "ada on tea"
        assert await ada.text(f"{server}__elicit", text="milk") == "accept:ada on milk"
        assert await ada.text(f"{server}__elicit_url", text="https://example.com") == "accept"
        assert await ada.text(f"{server}__roots") == "file:///home/ada"
        assert await ada.text(f"{server}__both", text="x") == "ada on x accept:ada on x"
        assert len(ada.asked) == 6


@cells
async def test_many_rounds_in_one_call(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, era, "ada")
        expected = "accept:ada on q 1 accept:ada on q 2 accept:ada on q 3"
        assert await ada.text(f"{server}__chain", text="q") == expected


@cells
async def test_two_clients_at_once_are_not_mixed_up(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        clients = [await asked(stack, era, name) for name in ("ada", "bob", "eve")]

        async def talk(client, name):
            for number in range(5):
                assert await client.text(f"{server}__ask", text=str(number)) == f"{name} on {number}"

        await asyncio.gather(*(talk(c, n) for c, n in zip(clients, ("ada", "bob", "eve"), strict=True)))


@cells
async def test_a_client_that_cannot_be_asked_is_not_asked(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        mute = await asked(stack, era, "mute", capabilities={})
        assert await mute.text(f"{server}__echo", text="x") == "x"
        told = await mute.call(f"{server}__ask", text="x")
        assert mute.asked == []
        if server == "new":
            assert told["error"]["code"] == -32021
            assert told["error"]["data"]["requiredCapabilities"] == {"sampling": {}}
        else:  # which did not even offer the tool
            assert told["error"]["code"] == -32602


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_client_sees_what_its_capabilities_are_good_for(tmp_path, era):
    """As a legacy server offers it."""
    async with running(tmp_path, SERVERS) as stack:
        mute = await asked(stack, era, "mute", capabilities={}, path="/servers/old/mcp")
        able = await asked(stack, era, "able", path="/servers/old/mcp")
        listed = [
            {tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]}
            for client in (mute, able, mute)
        ]
        assert listed[0] == listed[2]
        assert listed[1] - listed[0] == set(ASKING)


async def test_a_clients_refusal_reaches_the_server(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        client = await asked(stack, "legacy", "no")
        client.answer = lambda method, params: {"error": {"code": -1, "message": "no"}}
        assert await client.text("old__ask", text="x") == "error -1"
        assert await client.text("old__elicit", text="x") == "error -1"
        assert await client.text("new__elicit", text="x") == "cancel"
        assert (await client.call("new__ask", text="x"))["error"]["code"] == -1


async def test_a_url_that_must_be_visited_first(tmp_path):
    """-32042 belongs to the legacy era: a modern client hears it as input that is required."""
    async with running(tmp_path, SERVERS) as stack:
        old = await asked(stack, "legacy", "ada")
        assert (await old.call("old__url_required"))["error"]["code"] == -32042
        assert await old.text("old__url_required") == "you are in"
        new = await asked(stack, "modern", "ada")
        assert await new.text("old__url_required") == "you are in"
        assert (new.rounds, new.asked) == (1, ["elicitation/create"])


# -- what a modern client may bring back -------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
async def test_a_state_is_good_for_its_own_request_and_caller_alone(tmp_path, server):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, "modern", "ada")
        params = {"name": f"{server}__chain", "arguments": {"text": "q"}}
        first = await ada.round(params)
        back = ada.answered(params, first)

        async def refused(client, params):
            told = await client.once("tools/call", params)
            assert told["error"]["code"] == -32602, told

        await refused(ada, back | {"requestState": back["requestState"] + "-TAMPERED"})
        await refused(ada, back | {"requestState": back["requestState"][:-2]})
        await refused(ada, back | {"requestState": 7})
        await refused(ada, back | {"name": f"{server}__elicit"})
        single = await asked(stack, "modern", "ada", path=f"/servers/{server}/mcp")
        await refused(single, back | {"name": "chain"})
        second = await ada.round(back)
        assert second["resultType"] == "input_required"
        assert second["requestState"] != first["requestState"]
        if server == "old":
            await refused(ada, back)  # its question has been answered


async def test_what_a_client_leaves_out_is_asked_again(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, "modern", "ada")
        params = {"name": "old__both", "arguments": {"text": "q"}}
        first = await ada.round(params)
        back = ada.answered(params, first)
        kept, left = sorted(back["inputResponses"])
        half = back | {"inputResponses": {kept: back["inputResponses"][kept], "other": {}}}
        second = await ada.round(half)
        assert list(second["inputRequests"]) == [left]
        rest = ada.answered(params, second)
        done = await ada.once("tools/call", rest)
        assert done["result"]["content"][0]["text"] == "ada on q accept:ada on q"


async def test_answers_without_a_state_reach_a_modern_server_as_they_are(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, "modern", "ada")
        answers = {"answer": {"action": "accept", "content": {"answer": "42"}}}
        params = {"name": "new__elicit", "arguments": {"text": "q"}, "inputResponses": answers}
        told = await ada.once("tools/call", params)
        assert told["result"]["content"][0]["text"] == "accept:42"


async def test_a_call_whose_client_does_not_come_back_is_given_up(tmp_path):
    servers = {"old": light("--asks", timeouts={"answer": "1s"})}
    async with running(tmp_path, servers) as stack:
        ada = await asked(stack, "modern", "ada")
        params = {"name": "old__elicit", "arguments": {"text": "q"}}
        first = await ada.round(params)
        back = ada.answered(params, first)
        await until(lambda: not stack.calls_in_flight("old"))
        assert (await ada.once("tools/call", back))["error"]["code"] == -32602
        assert await ada.text("old__elicit", text="z") == "accept:ada on z"


async def test_parked_calls_stand_aside_and_then_give_way(tmp_path):
    """More of them than there may be instances, and nobody comes back: others still get their turns."""
    servers = {"old": light("--asks", scaling={"maxInstances": 2})}
    async with running(tmp_path, servers) as stack:
        ada = await asked(stack, "modern", "ada")
        params = {"name": "old__elicit", "arguments": {"text": "q"}}
        left = [ada.answered(params, await ada.round(params)) for _ in range(3)]
        assert stack.calls_in_flight("old") == 3
        assert await ada.text("old__elicit", text="z") == "accept:ada on z"
        ended = [await ada.once("tools/call", back) for back in left]
        assert any("error" in one and one["error"]["code"] == -32602 for one in ended)
        assert any("result" in one for one in ended), "the last one could stay"


async def test_what_a_server_says_while_its_call_is_parked_is_told_afterwards(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        ada = await asked(stack, "modern", "ada")
        token = {"_meta": {"progressToken": "p"}}
        params = {"name": "old__ask_and_go_on", "arguments": {"text": "q"}}
        back = ada.answered(params, await ada.round(params | token))
        done = await ada.once("tools/call", back | token)
        assert done["result"]["content"][0]["text"] == "ada on q"
        assert [one["params"] for one in ada.heard] == [
            {"progressToken": "p", "progress": step} for step in (1, 2, 3)
        ]


# -- messages ----------------------------------------------------------------------------------------------


@cells
async def test_messages_reach_the_call_that_they_belong_to_from_the_level_on(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        client = await asked(stack, "legacy", "ada")
        if era == "legacy":
            assert (await client.ask("logging/setLevel", {"level": "error"}))["result"] == {}
            assert await client.text(f"{server}__log", text="hello") == "hello"
            heard = [one["params"]["level"] for one in client.heard]
            assert heard == ["error", "critical", "alert", "emergency"]
            return
        modern = await asked(stack, "modern", "ada")
        loud = {"name": f"{server}__log", "arguments": {"text": "hello"}}
        message = modern.message(
            "tools/call", loud | {"_meta": {"io.modelcontextprotocol/logLevel": "critical"}}
        )
        answer = await modern.post(message)
        levels = [one["params"]["level"] for one in events(answer.text) if "method" in one]
        assert levels == ["critical", "alert", "emergency"]
        quiet = await modern.post(modern.message("tools/call", loud))
        assert "notifications/message" not in quiet.text
