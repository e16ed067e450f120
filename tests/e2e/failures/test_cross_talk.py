"""Two hundred clients of both eras share small pools whose instances die; nobody hears another's word."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field, replace

import httpx
import pytest

from support.asking import Asked, Inquired, asked
from support.stack import Stack, light, running, until

CLIENTS = 200
CALLS = 50
KILL_EVERY = 200  # calls
SERVERS = {
    "old": light("--asks", scaling={"minInstances": 2, "maxInstances": 8}),
    "new": light("--asks", "--era", "modern", scaling={"minInstances": 2, "maxInstances": 8}),
}
NOT_REPLAYED = (-32004,)  # what a call may hear whose instance died


@dataclass
class Tally:
    """What became of the calls."""

    ended: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    most_processes: int = 0


async def talk(client: Asked | Inquired, name: str, tally: Tally, rng: random.Random) -> None:
    """One client's calls, one after the other; every word that comes back must be its own."""
    for number in range(CALLS):
        server = rng.choice(list(SERVERS))
        word = f"{name}-{number}"
        kind = rng.choices(("echo", "sleep", "ask", "elicit", "both"), (40, 10, 20, 20, 10))[0]
        if kind == "sleep":
            told = await with_progress(client, f"{server}__sleep", word)
        else:
            told = await client.call(f"{server}__{kind}", text=word)
        if "error" in told:
            assert told["error"]["code"] in NOT_REPLAYED, (kind, told)
            tally.ended["not replayed"] += 1
            continue
        text = told["result"]["content"][0]["text"]
        assert text == expected(kind, name, word), (kind, text)
        tally.ended[kind] += 1


def expected(kind: str, name: str, word: str) -> str:
    said = {
        "echo": word,
        "sleep": "slept 0.02 s",
        "ask": f"{name} on {word}",
        "elicit": f"accept:{name} on {word}",
        "both": f"{name} on {word} accept:{name} on {word}",
    }
    return said[kind]


async def with_progress(client: Asked | Inquired, tool: str, token: str) -> dict[str, object]:
    """A call that tells of its progress under a token of the client's own."""
    params = {"name": tool, "arguments": {"seconds": 0.02}, "_meta": {"progressToken": token}}
    told = await client.ask("tools/call", params)
    heard, client.heard[:] = list(client.heard), []
    for one in heard:
        assert one["method"] == "notifications/progress"
        assert one["params"]["progressToken"] == token
    return told


async def own(stack: Stack, exits: contextlib.AsyncExitStack) -> Stack:
    """The same service through connections of one's own."""
    return replace(stack, http=await exits.enter_async_context(httpx.AsyncClient(timeout=60, verify=False)))


async def kill_now_and_then(stack: Stack, tally: Tally, rng: random.Random) -> None:
    for calls in range(KILL_EVERY, CLIENTS * CALLS, KILL_EVERY):
        await until(lambda calls=calls: tally.ended.total() >= calls, guard=300)
        for name in SERVERS:
            pids = [one.pid for one in stack.system.fleet.server(name).instances if one.pid is not None]
            tally.most_processes = max(tally.most_processes, len(pids))
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                tally.kills += 1


@pytest.mark.timeout(600)
async def test_two_hundred_clients_hear_nothing_but_their_own(tmp_path):
    rng = random.Random(4)
    tally = Tally()
    limits = {"maxConcurrentRequests": 1000, "rateLimiting": {"enabled": False}}
    async with (
        contextlib.AsyncExitStack() as exits,
        running(tmp_path, SERVERS, security={"resourceLimits": limits}) as stack,
    ):
        names = [f"c{number}" for number in range(CLIENTS)]
        clients = [
            await asked(await own(stack, exits), "legacy" if number % 2 else "modern", name)
            for number, name in enumerate(names)
        ]
        killing = asyncio.create_task(kill_now_and_then(stack, tally, rng))
        try:
            async with asyncio.TaskGroup() as group:
                for client, name in zip(clients, names, strict=True):
                    group.create_task(talk(client, name, tally, random.Random(name)))
        finally:
            killing.cancel()
        print(f"{tally.kills} kills, at most {tally.most_processes} processes; {dict(tally.ended)}")
        assert tally.ended.total() == CLIENTS * CALLS
        assert tally.kills > 5
        assert tally.ended["not replayed"] < CLIENTS * CALLS / 10
        assert tally.most_processes <= 2 * 8  # of one server, those that leave among them
        assert {method for client in clients for method in client.asked} >= {
            "sampling/createMessage",
            "elicitation/create",
        }
        await until(lambda: not any(map(stack.calls_in_flight, SERVERS)))
        assert await clients[0].text("old__ask", text="end") == "c0 on end"
