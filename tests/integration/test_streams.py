"""Event streams of legacy sessions that break and are taken up again, over real sockets and pipes."""

import asyncio
import contextlib
import json
import socket
import struct

import httpx2
import pytest
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from support.asking import CAPABILITIES, Asked, person
from support.event_streams import Reader, listening, posting
from support.severing import Severing
from support.stack import TOKEN, LegacySession, light, running, until

STEPS = [1, 2, 3, 4]  # what the light server's `sleep` tells of its progress


@contextlib.asynccontextmanager
async def service(tmp_path, *flags, **server):
    async with running(tmp_path, {"old": light(*flags, **server)}) as stack:
        yield stack


def sleeping(session, seconds=0.4, token="p"):
    params = {
        "name": "old__sleep",
        "arguments": {"seconds": seconds},
        "_meta": {"progressToken": token},
    }
    return session.message("tools/call", params)


def progress(events):
    told = [event.message for event in events]
    return [m["params"]["progress"] for m in told if m.get("method") == "notifications/progress"]


def calls(stack):
    return stack.system.gateway.in_flight


def open_streams(stack):
    return stack.system.gateway.metrics.streams


async def cut_after(session, message, count):
    """Post, read so many messages, lose the connection; the last event's id."""
    async with posting(session, message) as reader:
        event = await reader.event()
        for _ in range(count):
            event = await reader.message()
        return event.id


@pytest.mark.parametrize("heard", [0, 1, 3])
async def test_a_call_goes_on_when_its_stream_breaks_and_its_answer_waits(tmp_path, heard):
    async with service(tmp_path) as stack:
        session = await stack.session()
        message = sleeping(session)
        last = await cut_after(session, message, heard)
        await until(lambda: calls(stack) == 0)
        async with listening(session, last) as reader:
            *steps, answer = await reader.rest()
        assert progress(steps) == STEPS[heard:]
        assert answer.message["id"] == message["id"]
        assert answer.message["result"]["content"][0]["text"] == "slept 0.4 s"
        stream = last.split("-")[0]
        assert [e.id for e in (*steps, answer)] == [f"{stream}-{n}" for n in range(heard + 1, 6)]
        assert open_streams(stack) == 0


async def test_what_has_not_ended_goes_on_live_where_it_is_taken_up(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        last = await cut_after(session, sleeping(session, 2.0), 1)
        assert calls(stack) == 1
        async with listening(session, last) as reader:
            first = await reader.event()
            assert (first.id, first.data) == (last, "")  # where to come back to, if this breaks, too
            assert progress([await reader.message()]) == [2]
            assert open_streams(stack) == 1
            assert (await reader.rest())[-1].message["result"]
        assert (calls(stack), open_streams(stack)) == (0, 0)


async def test_a_stream_can_break_again_and_again(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        last = await cut_after(session, sleeping(session, 1.0), 1)
        seen = [1]
        while len(seen) < 4:
            async with listening(session, last) as reader:
                event = await reader.message()
            seen += progress([event])
            last = event.id
        assert seen == STEPS
        async with listening(session, last) as reader:
            assert [bool(e.message.get("result")) for e in await reader.rest()] == [True]
        async with listening(session, last) as reader:  # once more: the answer may have been lost on its way
            assert len(await reader.rest()) == 1


async def test_who_takes_up_a_stream_replaces_the_connection_that_had_it(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        async with posting(session, sleeping(session, 1.0)) as former:
            last = (await former.message()).id
            async with listening(session, last) as reader:
                await reader.event()
                assert await former.rest() == []  # ended, without the answer
                *steps, answer = await reader.rest()
        assert progress(steps) == STEPS[1:]
        assert "result" in answer.message


async def test_only_the_stream_that_is_asked_for_is_replayed(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        ids = [await cut_after(session, sleeping(session, 0.4, token), 1) for token in ("a", "b")]
        assert ids[0].split("-")[0] != ids[1].split("-")[0]
        await until(lambda: calls(stack) == 0)
        for token, last in zip(("a", "b"), ids, strict=True):
            async with listening(session, last) as reader:
                *steps, _ = await reader.rest()
            assert {e.message["params"]["progressToken"] for e in steps} == {token}
            assert progress(steps) == STEPS[1:]


@pytest.mark.parametrize(
    ("version", "primed"), [("2025-11-25", True), ("2025-06-18", False), ("2025-03-26", False)]
)
async def test_only_clients_that_know_priming_events_get_them(tmp_path, version, primed):
    async with service(tmp_path) as stack:
        session = LegacySession(stack, "/mcp", TOKEN)
        hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        answer = await session.post(session.message("initialize", hello))
        session.headers |= {
            "Mcp-Session-Id": answer.headers["mcp-session-id"],
            "MCP-Protocol-Version": version,
        }
        async with posting(session, sleeping(session)) as reader:
            first = await reader.event()
        assert (first.data == "", first.retry == "1000") == (primed, primed)
        assert first.id == ("1-0" if primed else "1-1")
        async with listening(session, first.id) as reader:
            assert [(await reader.event()).data == ""] == [primed]
            assert len(await reader.rest()) == (5 if primed else 3)
        async with listening(session) as reader:
            await session.call("old__echo", text="x")
            if primed:
                first = await reader.event()
                assert (first.id, first.retry, first.data) == ("0-0", "1000", "")


async def test_a_plain_answer_is_plain_and_nothing_is_kept(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        assert await session.text("old__echo", text="x") == "x"
        assert [s.shelf for s in stack.system.gateway.sessions] == [None]
        assert stack.system.gateway.streams.store.bytes == 0


async def test_a_client_that_takes_streams_alone_can_resume_any_answer(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        session.headers["Accept"] = "text/event-stream"
        message = session.message("tools/call", {"name": "old__echo", "arguments": {"text": "x"}})
        async with posting(session, message) as reader:
            assert (await reader.event()).id == "1-0"
        async with listening(session, "1-0") as reader:
            (answer,) = await reader.rest()
        assert answer.message["result"]["content"][0]["text"] == "x"


async def test_a_large_answer_comes_whole_though_it_is_not_kept(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        session.headers["Accept"] = "text/event-stream"
        message = session.message("tools/call", {"name": "old__big", "arguments": {"bytes": 6_000_000}})
        async with posting(session, message) as reader:
            assert (await reader.event()).id == "1-0"
            (answer,) = await reader.rest()
        assert len(answer.message["result"]["content"][0]["text"]) == 6_000_000
        assert stack.system.gateway.streams.store.bytes == 0
        async with listening(session, "1-0") as again:
            assert again.response.status_code == 400


async def test_what_a_server_asks_is_asked_again_on_the_new_connection(tmp_path):
    async with service(tmp_path, "--asks", clientRequests=["sampling"]) as stack:
        ada = Asked(stack, "/mcp", TOKEN, person("ada"), CAPABILITIES)
        await ada.initialize()
        message = ada.message("tools/call", {"name": "old__ask", "arguments": {"text": "tea"}})
        last = await cut_after(ada, message, 0)
        async with listening(ada, last) as reader:
            question = (await reader.message()).message
            assert question["method"] == "sampling/createMessage"
            told = ada.answer(question["method"], question["params"])
            await ada.post({"jsonrpc": "2.0", "id": question["id"], "result": told})
            (answer,) = await reader.rest()
        assert answer.message["result"]["content"][0]["text"] == "ada on tea"


async def test_a_note_cancels_a_call_whose_stream_is_broken(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        message = sleeping(session, 300)
        message["params"]["_meta"] = {"progressToken": "x"}
        message["params"]["arguments"]["seconds"] = 4.0
        last = await cut_after(session, message, 1)
        assert calls(stack) == 1
        await session.note("notifications/cancelled", {"requestId": message["id"]})
        assert calls(stack) == 0
        async with listening(session, last) as reader:
            (answer,) = await reader.rest()
        assert answer.message["error"]["code"] == -32800


@pytest.mark.parametrize(
    "last", ["7-1", "1-6", "0-5", "nonsense", "1", "-1", "1-1-1", "99999999999999999999-1"]
)
async def test_what_cannot_be_taken_up_is_refused_and_the_session_lives(tmp_path, last):
    async with service(tmp_path) as stack:
        session = await stack.session()
        await cut_after(session, sleeping(session, 0.1), 1)
        await until(lambda: calls(stack) == 0)
        async with listening(session, last) as reader:
            assert reader.response.status_code == 400
            told = (await reader.response.aread()).decode()
        assert '"id":null' in told
        assert "No stream can be taken up" in told or "no stream can be taken up" in told
        assert await session.text("old__echo", text="x") == "x"
        assert open_streams(stack) == 0


async def test_events_of_another_session_are_out_of_reach(tmp_path):
    async with service(tmp_path) as stack:
        ada, bob = await stack.session(), await stack.session()
        last = await cut_after(ada, sleeping(ada), 1)
        await until(lambda: calls(stack) == 0)
        async with listening(bob, last) as reader:
            assert reader.response.status_code == 400


async def test_what_was_dropped_is_not_passed_over_in_silence(tmp_path):
    async with service(tmp_path) as stack:
        store = stack.system.gateway.streams.store
        store.bounds = type(store.bounds)(events=2)
        session = await stack.session()
        last = await cut_after(session, sleeping(session), 1)
        await until(lambda: calls(stack) == 0)
        async with listening(session, last) as reader:
            gap, step, answer = await reader.rest()
        assert gap.message["method"] == "notifications/message"
        assert gap.message["params"]["data"] == "2 messages of this stream are no longer kept"
        assert gap.id is None
        assert progress([step]) == [4]
        assert "result" in answer.message


# -- the stream of a GET ---------------------------------------------------------------------------------


async def changed(session):
    await session.call("old__change")


async def test_what_is_said_while_the_get_stream_is_broken_is_told_when_it_is_back(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        async with listening(session) as reader:
            assert (await reader.event()).id == "0-0"
            await changed(session)
            event = await reader.message()
            assert (event.id, event.message["method"]) == ("0-1", "notifications/tools/list_changed")
            assert open_streams(stack) == 1
        await until(lambda: open_streams(stack) == 0)
        await changed(session)
        (live,) = stack.system.gateway.sessions
        await until(lambda: live.shelf.events == 2)
        async with listening(session, "0-1") as reader:
            assert (await reader.message()).id == "0-2"
        await until(lambda: open_streams(stack) == 0)
        async with listening(session, "0-0") as reader:  # all of it, to a client that missed all of it
            assert [(await reader.message()).id for _ in range(2)] == ["0-1", "0-2"]


async def test_a_get_without_an_id_gets_what_went_to_nobody(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        async with listening(session) as reader:
            await changed(session)
            assert (await reader.message()).id == "0-1"
        await until(lambda: open_streams(stack) == 0)
        await changed(session)
        (live,) = stack.system.gateway.sessions
        await until(lambda: live.shelf.events == 2)
        async with listening(session) as reader:
            assert (await reader.message()).id == "0-2"


async def test_a_second_get_replaces_the_first(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        async with listening(session) as first:
            await first.event()
            async with listening(session) as second:
                assert await first.rest() == []
                assert open_streams(stack) == 1
                await changed(session)
                assert (await second.message()).message["method"] == "notifications/tools/list_changed"
        await until(lambda: open_streams(stack) == 0)


async def test_a_get_stream_that_nobody_comes_back_to_is_forgotten_with_what_it_kept(tmp_path):
    async with service(tmp_path) as stack:
        gateway, session = stack.system.gateway, await stack.session()
        async with listening(session) as reader:
            await changed(session)
            await reader.message()
        await until(lambda: open_streams(stack) == 0)
        now = asyncio.get_running_loop().time()
        (live,) = gateway.sessions
        gateway.streams.tick(now + 299)
        assert live.stream is not None
        gateway.streams.tick(now + 301)
        assert (live.stream, live.shelf.events, gateway.streams.store.bytes) == (None, 0, 0)
        await changed(session)
        async with listening(session, "0-0") as reader:
            told = [await reader.message() for _ in range(4)]
        assert told[0].message["params"]["data"].startswith("1 messages")
        assert {e.message["method"] for e in told[1:]} == {
            f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
        }
        assert told[1].id == "0-2"  # ids go on


async def test_a_get_stream_that_somebody_came_back_to_is_not_forgotten(tmp_path):
    async with service(tmp_path) as stack:
        gateway, session = stack.system.gateway, await stack.session()
        async with listening(session) as reader:
            await reader.event()
        await until(lambda: open_streams(stack) == 0)
        async with listening(session, "0-0") as reader:
            await reader.event()
            gateway.streams.tick(asyncio.get_running_loop().time() + 400)
            await changed(session)
            assert (await reader.message()).id == "0-1"


async def test_ended_streams_are_forgotten_after_a_while(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        last = await cut_after(session, sleeping(session, 0.1), 1)
        await until(lambda: calls(stack) == 0)
        streams = stack.system.gateway.streams
        assert streams.store.bytes > 0
        streams.tick(asyncio.get_running_loop().time() + 301)
        assert streams.store.bytes == 0
        async with listening(session, last) as reader:
            assert reader.response.status_code == 400


# -- ends of sessions ------------------------------------------------------------------------------------


async def test_delete_ends_streams_calls_and_what_is_kept(tmp_path):
    async with service(tmp_path) as stack:
        gateway, session = stack.system.gateway, await stack.session()
        await cut_after(session, sleeping(session, 0.1), 1)
        async with listening(session) as own, posting(session, sleeping(session, 30.0)) as call:
            await own.event()
            await until(lambda: calls(stack) == 1)
            ended = await stack.http.delete(session.url, headers=session.headers)
            assert ended.status_code == 204
            assert await own.rest() == []
            body = await call.response.aread()
            assert b"-32800" in body
        assert (calls(stack), open_streams(stack), gateway.streams.store.bytes) == (0, 0, 0)
        again = await stack.http.delete(session.url, headers=session.headers)
        assert again.status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_session_that_is_gone_is_not_found_and_one_that_is_missing_is_asked_for(tmp_path, method):
    async with service(tmp_path) as stack:
        session = await stack.session()
        await stack.http.delete(session.url, headers=session.headers)
        ping = session.message("ping") if method == "POST" else None

        async def status(headers):
            return (await stack.http.request(method, session.url, headers=headers, json=ping)).status_code

        assert await status(session.headers) == 404
        assert await status(session.headers | {"Mcp-Session-Id": "made-up"}) == 404
        assert await status({k: v for k, v in session.headers.items() if k != "Mcp-Session-Id"}) == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_session_of_another_principal_is_not_found(tmp_path, method):
    async with service(tmp_path) as stack:
        session = await stack.session()
        guest = await stack.key("guest")
        headers = session.headers | {"Authorization": f"Bearer {guest}"}
        ping = session.message("ping") if method == "POST" else None
        answer = await stack.http.request(method, session.url, headers=headers, json=ping)
        assert answer.status_code == 404
        assert (await session.ask("ping"))["result"] == {}


async def test_sessions_expire_when_idle_and_at_the_hard_end_but_not_while_they_listen(tmp_path):
    async with service(tmp_path) as stack:
        gateway = stack.system.gateway
        idle, listens, calling = [await stack.session() for _ in range(3)]
        now = asyncio.get_running_loop().time()
        async with listening(listens) as reader, posting(calling, sleeping(calling, 30.0)):
            await reader.event()
            await until(lambda: calls(stack) == 1)
            gateway.tick(now + 3599)
            assert len(gateway.sessions) == 3
            gateway.tick(now + 3601)
            assert len(gateway.sessions) == 2
            assert (await idle.post(idle.message("ping"))).status_code == 404
            assert (await listens.post(listens.message("ping"))).status_code == 200
            gateway.tick(now + 7 * 24 * 3600 + 10)
            assert len(gateway.sessions) == 0
            assert await reader.rest() == []
        assert (calls(stack), open_streams(stack)) == (0, 0)


async def test_a_session_has_its_whole_time_after_its_stream_has_ended(tmp_path):
    async with service(tmp_path) as stack:
        gateway, session = stack.system.gateway, await stack.session()
        now = asyncio.get_running_loop().time()
        async with listening(session) as reader:
            await reader.event()
            gateway.tick(now + 5000)
        await until(lambda: open_streams(stack) == 0)
        gateway.tick(now + 5000 + 3590)
        assert len(gateway.sessions) == 1
        gateway.tick(now + 5000 + 3610)
        assert len(gateway.sessions) == 0


async def test_too_many_sessions_are_refused(tmp_path):
    limits = {"sessions": {"max_sessions": 2}}
    async with running(tmp_path, {"old": light()}, settings=limits) as stack:
        first, _ = [await stack.session() for _ in range(2)]
        third = LegacySession(stack, "/mcp", TOKEN)
        answer = await third.post(third.message("initialize", {"protocolVersion": "2025-11-25"}))
        assert answer.json()["error"]["data"]["problem"] == "too-many-sessions"
        await stack.http.delete(first.url, headers=first.headers)
        await stack.session()


async def test_a_call_whose_client_was_gone_before_it_streamed_keeps_nothing(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        body = json.dumps(sleeping(session, 1.0))
        lines = session.headers | {"Host": f"127.0.0.1:{stack.port}", "Content-Type": "application/json"}
        head = "".join(f"{k}: {v}\r\n" for k, v in {**lines, "Content-Length": str(len(body))}.items())
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}".encode())
        await until(lambda: calls(stack) == 1)
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()
        await until(lambda: calls(stack) == 0)
        assert stack.system.gateway.streams.store.bytes == 0
        assert open_streams(stack) == 0


async def test_the_official_sdk_gets_everything_once_over_a_network_that_breaks(tmp_path):
    async with Severing().listening() as severing:
        known = {"allowed_hosts": [f"127.0.0.1:{severing.port}"]}
        async with running(tmp_path, {"old": light()}, settings=known) as stack:
            severing.target = stack.port
            steps = []

            async def step(progress, total, message):
                steps.append(progress)
                severing.cut()

            about = {"Authorization": f"Bearer {TOKEN}"}
            async with (
                httpx2.AsyncClient(headers=about, timeout=30) as http,
                streamable_http_client(f"http://127.0.0.1:{severing.port}/mcp", http_client=http) as streams,
                ClientSession(*streams) as client,
            ):
                await client.initialize()
                told = await client.call_tool("old__sleep", {"seconds": 1.0}, progress_callback=step)
            assert told.content[0].text == "slept 1.0 s"
            assert steps == STEPS
            assert severing.cuts == 4


async def test_streams_of_modern_clients_are_counted_and_not_kept(tmp_path):
    async with service(tmp_path) as stack:
        client = stack.modern()
        wanted = {"notifications": {"toolsListChanged": True}, "_meta": client.meta}
        message = client.message("subscriptions/listen", wanted)
        async with posting_as(client, message) as reader:
            first = await reader.event()
            assert (first.id, first.retry) == (None, None)
            assert open_streams(stack) == 1
            call = sleeping(client, 1.0)
            call["params"]["_meta"] |= client.meta
            async with posting_as(client, call) as calling:
                assert progress([await calling.event()]) == [1]
                assert open_streams(stack) == 2
        await until(lambda: (open_streams(stack), calls(stack)) == (0, 0))
        assert stack.system.gateway.streams.store.bytes == 0


@contextlib.asynccontextmanager
async def posting_as(client, message):
    headers = client.routed(message)
    async with client.stack.http.stream("POST", client.url, headers=headers, json=message) as response:
        yield Reader(response)
