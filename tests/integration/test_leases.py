"""Calls whose servers can ask their clients have an instance alone, over real pipes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from support.asking import asked
from support.stack import light, running, until

SCALING = {"minInstances": 1, "maxInstances": 3}
SERVERS = {"old": light("--asks", "--misbehaves", scaling=SCALING)}
ONE = {"old": light("--asks", "--misbehaves", scaling={"minInstances": 1, "maxInstances": 1})}


def exclusive(stack):
    """Those for clients that can be asked something."""
    return [one for one in stack.system.fleet.server("old").instances if one.profile]


def held(file):
    """Who holds a call, as (pid, text), in the order in which the calls came."""
    try:
        lines = Path(f"{file}.held").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(int(pid), text) for pid, text in map(str.split, lines)]


async def hold(client, file, text):
    return await client.text("old__hold", file=str(file), text=text)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_no_two_calls_are_in_one_process_and_the_others_share(tmp_path, era):
    file = tmp_path / "go"
    async with running(tmp_path, SERVERS) as stack:
        able = [await asked(stack, era, name) for name in ("ada", "bob")]
        mute = [await asked(stack, era, name, capabilities={}) for name in ("eve", "joe", "max")]
        calls = [asyncio.create_task(hold(client, file, f"c{n}")) for n, client in enumerate(able + mute)]
        await until(lambda: len(held(file)) == 5)
        pids = {text: pid for pid, text in held(file)}
        assert len({pids["c0"], pids["c1"]}) == 2
        assert len({pids["c2"], pids["c3"], pids["c4"]}) == 1
        assert len(set(pids.values())) == 3
        assert {one.profile for one in exclusive(stack)} == {"elicitation.form,elicitation.url,sampling"}
        assert all(one.calls_in_flight == 1 for one in exclusive(stack))
        file.touch()
        assert await asyncio.gather(*calls) == [f"c{n}" for n in range(5)]


async def test_calls_of_many_clients_wait_in_turn(tmp_path):
    async with running(tmp_path, ONE) as stack:
        kinds = ({"sampling": {}}, {"elicitation": {}}, {"sampling": {}, "elicitation": {}})
        clients = [await asked(stack, "legacy", f"c{n}", capabilities=kinds[n % 3]) for n in range(9)]
        files = [tmp_path / f"go{n}" for n in range(9)]
        calls = []
        for n, client in enumerate(clients):
            calls.append(asyncio.create_task(hold(client, files[n], f"c{n}")))
            await until(lambda n=n: stack.system.fleet.server("old").calls_waiting == n)
        for n, call in enumerate(calls):
            await until(lambda n=n: len(held(files[n])) == 1)
            assert not any(held(file) for file in files[n + 1 :]), "nobody is before their turn"
            files[n].touch()
            assert await call == f"c{n}"


async def test_the_death_of_one_is_the_end_of_its_call_alone(tmp_path):
    file = tmp_path / "go"
    async with running(tmp_path, ONE) as stack:
        ada, bob = [await asked(stack, "legacy", name) for name in ("ada", "bob")]
        first = asyncio.create_task(ada.call("old__hold", file=str(file), text="ada"))
        await until(lambda: len(held(file)) == 1)
        second = asyncio.create_task(hold(bob, file, "bob"))
        await until(lambda: stack.system.fleet.server("old").calls_waiting == 1)
        os.kill(held(file)[0][0], signal.SIGKILL)
        assert "not" in (await first)["error"]["message"]
        await until(lambda: len(held(file)) == 2)
        file.touch()
        assert await second == "bob"
        assert await ada.text("old__ask", text="tea") == "ada on tea"
        assert stack.system.fleet.server("old").restarts == 1
