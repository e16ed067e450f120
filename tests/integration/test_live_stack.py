"""The live connection of the whole service: what really happens to real servers, seen by who follows it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.live_service import ask, told
from support.stack import TOKEN, Stack, light, running


@contextlib.asynccontextmanager
async def live(stack: Stack) -> AsyncIterator[ClientConnection]:
    url = stack.url.replace("http", "ws", 1) + "/ws"
    async with connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


async def until_ready(client: ClientConnection, instance: str) -> list[dict[str, Any]]:
    """The events up to the one that says so. They may come a moment after what a snapshot shows."""
    events: list[dict[str, Any]] = []
    while not events or (events[-1]["type"], events[-1].get("subject")) != ("instance-ready", instance):
        message = await told(client)
        if message["type"] == "event":
            events.append(message["event"])
    return events


async def test_a_server_that_dies_is_seen_to_go_and_to_come_back(tmp_path) -> None:
    async with running(tmp_path, {"old": light()}) as stack, live(stack) as client:
        assert (await told(client))["service"] == "orchestrator"
        snapshot = await ask(client, type="get", id="g", what="server", server="old")
        pid = snapshot["result"]["instances"][0]["pid"]
        await ask(client, type="subscribe", id="s", since=snapshot["sequence"], servers=["old"])
        os.kill(pid, signal.SIGKILL)
        events = await until_ready(client, "old-2")
        assert ("instance-lost", "old-1") in {(event["type"], event["subject"]) for event in events}
        numbers = [int(event["sequence"]) for event in events]
        assert numbers == sorted(set(numbers))


async def test_a_command_is_carried_out_and_what_comes_of_it_is_an_event_and_in_the_audit(tmp_path) -> None:
    async with running(tmp_path, {"old": light()}) as stack, live(stack) as client:
        await told(client)
        await ask(client, type="subscribe", id="s")
        await client.send(json.dumps({"type": "command", "id": "c", "name": "restart", "server": "old"}))
        events = await until_ready(client, "old-2")
        assert all(event["data"]["server"] == "old" for event in events if event["subject"].startswith("old"))

        async def audited() -> list[dict[str, Any]]:
            answer = await stack.rest("GET", "/api/audit", params={"kind": "change"})
            return [each for each in answer.json()["records"] if each["action"] == "ws command restart"]

        async with asyncio.timeout(20):
            while not (records := await audited()):
                await asyncio.sleep(0.05)
        [record] = records
        assert (record["principal"], record["server"], record["outcome"]) == ("env", "old", "ok")


async def test_the_events_outlive_the_service_and_a_client_goes_on_where_it_was(tmp_path) -> None:
    async with contextlib.AsyncExitStack() as kept:
        async with running(tmp_path, {"old": light()}) as stack:
            client = await kept.enter_async_context(live(stack))
            await told(client)
            await ask(client, type="subscribe", id="s", since=0)
            seen = await until_ready(client, "old-1")
        goodbye, code, reason = await _end_of(client)
    assert (goodbye["type"], goodbye["reason"], code) == ("goodbye", "stopping", 1001)
    assert reason == f"stopping; resume from {goodbye['resumeFrom']}"
    async with running(tmp_path, {"old": light()}) as stack, live(stack) as client:
        await told(client)
        await ask(client, type="subscribe", id="s", since=goodbye["resumeFrom"])
        more = await until_ready(client, "old-1")
        whole = (await stack.rest("GET", "/api/events", params={"since": 0, "limit": 1000})).json()["events"]
    numbers = [int(event["sequence"]) for event in more]
    assert numbers == list(range(goodbye["resumeFrom"] + 1, goodbye["resumeFrom"] + 1 + len(more)))
    assert whole[: len(seen)] == seen
    assert {"service-stopped", "service-started"} <= {event["type"] for event in whole}


async def _end_of(client: ClientConnection) -> tuple[dict[str, Any], int | None, str | None]:
    message: dict[str, Any] = {}
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = await told(client)
    return message, client.close_code, client.close_reason
