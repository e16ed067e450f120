"""The remote driver against servers on the official SDK: both eras, JSON and streams, and legacy SSE."""

from __future__ import annotations

import json
from typing import Any

import psutil
import pytest

from support.recorder import Recorder, call, notify, request

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def handshake(link: Any, recorder: Recorder, **capabilities: Any) -> None:
    """As an instance does: probe, fall back, initialise."""
    link.negotiated(LEGACY)
    request(
        link,
        1,
        "initialize",
        {
            "protocolVersion": LEGACY,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        },
    )
    answer = await recorder.answered(1)
    link.negotiated(answer["result"]["protocolVersion"])
    notify(link, "notifications/initialized")


def text(answer: Any) -> str:
    assert "result" in answer, answer
    assert not answer["result"].get("isError"), answer
    return answer["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    "flags", [(), ("json",), ("stateless",), ("json", "stateless"), ("events",)], ids="+".join
)
async def test_legacy_calls_are_answered(remote, sdk, flags):
    link, recorder = await remote.open(sdk(*flags))
    await handshake(link, recorder)
    request(link, 2, "tools/list")
    for number in range(3, 40):
        call(link, number, "echo", text=f"line\n{number}")
    assert {tool["name"] for tool in (await recorder.answered(2))["result"]["tools"]} >= {"echo", "poll"}
    for number in range(3, 40):
        assert text(await recorder.answered(number)) == f"line\n{number}"
    await link.close()
    assert recorder.lost.expected


async def test_the_session_is_ended_on_close_and_a_lost_session_ends_the_link(remote, sdk):
    first, heard = await remote.open(sdk())
    await handshake(first, heard)
    session = first._session
    assert session
    second, also_heard = await remote.open(sdk())
    await handshake(second, also_heard)
    second.session_given(session)
    call(second, 2, "echo", text="same session")
    assert text(await also_heard.answered(2)) == "same session"
    await first.close()
    call(second, 3, "echo", text="too late")
    assert (await also_heard.ended()).reason == "session ended by the server"
    assert not also_heard.lost.expected


async def test_progress_comes_before_the_answer(remote, sdk):
    link, recorder = await remote.open(sdk())
    await handshake(link, recorder)
    call(link, 2, "steps", meta={"progressToken": 2}, count=5)
    await recorder.answered(2)
    assert [
        m["params"]["progress"] for m in recorder.messages if m.get("method") == "notifications/progress"
    ] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert recorder.messages[-1]["id"] == 2


async def test_the_server_can_ask_in_the_middle_of_a_call_even_where_calls_fill_the_pool(remote, sdk):
    link, recorder = await remote.open(sdk(), max_connections=1)
    await handshake(link, recorder, elicitation={"form": {}})
    call(link, 2, "ask")
    await recorder.until(lambda: any(m.get("method") == "elicitation/create" for m in recorder.messages))
    question = next(m for m in recorder.messages if m.get("method") == "elicitation/create")
    answer = {
        "jsonrpc": "2.0",
        "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}},
    }
    link.send(json.dumps(answer).encode(), "", None, None)
    assert text(await recorder.answered(2)) == "hello Ada"


async def test_what_the_server_says_first_comes_on_its_own_stream(remote, sdk):
    link, recorder = await remote.open(sdk("events"))
    await handshake(link, recorder)
    for number in range(2, 1000):  # what is said before the stream stands is lost, as the SDK has it
        call(link, number, "announce")
        assert text(await recorder.answered(number)) == "announced"
        if any(m.get("method") == "notifications/tools/list_changed" for m in recorder.messages):
            break
    else:
        pytest.fail("the server's own stream was not opened")


async def test_a_stream_that_the_server_closes_is_taken_up_again(remote, sdk):
    link, recorder = await remote.open(sdk("events"))
    await handshake(link, recorder)
    call(link, 2, "poll", meta={"progressToken": 2})
    assert text(await recorder.answered(2)) == "polled"


async def test_a_cancelled_legacy_call_is_told_by_a_notification(remote, sdk):
    link, recorder = await remote.open(sdk())
    await handshake(link, recorder)
    call(link, 2, "cancelled")
    before = int(text(await recorder.answered(2)))
    call(link, 3, "wait", meta={"progressToken": 3})
    await recorder.until(lambda: any(m.get("method") == "notifications/progress" for m in recorder.messages))
    assert link.abandon(3) is False
    notify(link, "notifications/cancelled", {"requestId": 3})
    await recorder.until(lambda: recorder.answer(3))  # this SDK answers what was cancelled
    call(link, 4, "cancelled")
    assert int(text(await recorder.answered(4))) == before + 1


@pytest.mark.parametrize("flags", [(), ("json",)], ids=["stream", "json"])
async def test_modern_calls_are_answered(remote, sdk, flags):
    link, recorder = await remote.open(sdk(*flags))
    link.negotiated(MODERN)
    request(link, 1, "server/discover", {"_meta": META})
    assert MODERN in (await recorder.answered(1))["result"]["supportedVersions"]
    for number in range(2, 40):
        call(link, number, "echo", meta=META, text=f"{number}")
    for number in range(2, 40):
        assert text(await recorder.answered(number)) == f"{number}"
    request(link, 40, "no/such", {"_meta": META})
    assert (await recorder.answered(40))["error"]["code"] == -32601
    call(link, 41, "header", meta=META, name="mcp-name")
    assert text(await recorder.answered(41)) == "header"
    call(link, 42, "größe", meta=META)
    refused = await recorder.answered(42)
    assert "größe" in json.dumps(refused, ensure_ascii=False)
    assert "Mismatch" not in json.dumps(refused)


async def test_a_modern_call_is_cancelled_by_closing_its_stream(remote, sdk):
    link, recorder = await remote.open(sdk())
    link.negotiated(MODERN)
    call(link, 1, "cancelled", meta=META)
    before = int(text(await recorder.answered(1)))
    call(link, 2, "wait", meta={**META, "progressToken": 2})
    await recorder.until(lambda: any(m.get("method") == "notifications/progress" for m in recorder.messages))
    assert link.abandon(2) is True
    for number in range(3, 1000):
        call(link, number, "cancelled", meta=META)
        if int(text(await recorder.answered(number))) == before + 1:
            break
    assert recorder.answer(2) is None
    assert 2 not in recorder.failures
    assert link.abandon(2) is True


async def test_a_modern_subscription_stays_open_beside_the_calls(remote, sdk):
    link, recorder = await remote.open(sdk(), max_connections=1)
    link.negotiated(MODERN)
    request(link, 1, "subscriptions/listen", {"_meta": META, "notifications": {"toolsListChanged": True}})
    await recorder.until(
        lambda: any(m.get("method") == "notifications/subscriptions/acknowledged" for m in recorder.messages)
    )
    call(link, 2, "echo", meta=META, text="beside")
    assert text(await recorder.answered(2)) == "beside"
    assert link.abandon(1) is True


async def test_a_failed_probe_leaves_the_way_to_the_legacy_era_open(remote, sdk):
    """This SDK serves both eras; an unknown version must fail the request and spoil nothing."""
    link, recorder = await remote.open(sdk())
    link.negotiated("2099-01-01")
    request(
        link,
        9,
        "server/discover",
        {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}},
    )
    assert (await recorder.answered(9))["error"]["code"] == -32022
    await handshake(link, recorder)
    call(link, 2, "echo", text="x")
    assert text(await recorder.answered(2)) == "x"


async def test_configured_headers_reach_the_server(remote, sdk):
    link, recorder = await remote.open(sdk(), headers={"Authorization": "Bearer s3cr3t-token", "X-Team": "a"})
    await handshake(link, recorder)
    call(link, 2, "header", name="authorization")
    assert text(await recorder.answered(2)) == "Bearer s3cr3t-token"
    assert "s3cr3t" not in repr(link)
    assert "s3cr3t" not in repr(link.target)


async def test_legacy_sse(remote, sdk):
    link, recorder = await remote.open(sdk("sse"), transport="sse")
    await handshake(link, recorder, elicitation={"form": {}})
    request(link, 2, "tools/list")
    for number in range(3, 30):
        call(link, number, "echo", text=f"{number}")
    for number in range(2, 30):
        await recorder.answered(number)
    assert text(recorder.answer(29)) == "29"
    call(link, 30, "steps", meta={"progressToken": 30}, count=2)
    assert text(await recorder.answered(30)) == "done"
    call(link, 31, "ask")
    await recorder.until(lambda: any(m.get("method") == "elicitation/create" for m in recorder.messages))
    question = next(m for m in recorder.messages if m.get("method") == "elicitation/create")
    answer = {
        "jsonrpc": "2.0",
        "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}},
    }
    link.send(json.dumps(answer).encode(), "", None, None)
    assert text(await recorder.answered(31)) == "hello Ada"
    assert link.abandon(31) is False
    await link.close()
    assert recorder.lost.expected


async def test_fifty_links_leave_nothing_behind(remote, sdk):
    url = sdk()
    descriptors = []
    for _ in range(50):
        link, recorder = await remote.open(url)
        await handshake(link, recorder)
        call(link, 2, "wait")
        await link.close()
        assert recorder.lost.expected
        assert 2 not in recorder.failures
        assert "0 open, 0 idle" in repr(link)
        descriptors.append(psutil.Process().num_fds())
    assert descriptors[-1] == descriptors[0]
