"""Instances and servers go and come on purpose, under load: nobody loses a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from fairlead.model.status import ServerState
from support.load import CallFailedError, Load
from support.stack import light, until
from support.trial import Trial, trial


async def refuses(it: Trial, tool: str) -> None:
    """Wait until the server is not to be had any more."""
    async with it.caller() as caller:
        while True:
            try:
                await caller.text(tool, text="x")
            except CallFailedError:
                return


async def remove_by_file(it: Trial) -> None:
    it.write_file({name: spec for name, spec in it.servers.items() if name != "leaving"})


async def remove_by_rest(it: Trial) -> None:
    answer = await it.put({name: spec for name, spec in it.servers.items() if name != "leaving"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["stopped"] == ["leaving"]


@pytest.mark.parametrize("remove", [remove_by_file, remove_by_rest])
async def test_a_server_that_is_removed_finishes_its_calls(
    tmp_path: Path, remove: Callable[[Trial], Awaitable[None]]
):
    others = {"leaving": light("--misbehaves")}
    async with trial(tmp_path, may_lose=False, others=others) as it:
        await it.stack.ready("leaving")
        pids = it.pids("leaving")
        held = await it.hold_calls("leaving")
        removal = asyncio.create_task(remove(it))
        await refuses(it, "leaving__echo")
        assert all(map(psutil.pid_exists, pids))
        assert await held.let_go() == ["0", "1", "2", "3"]
        await removal
        await it.gone(*pids)


async def test_a_server_that_is_drained_finishes_its_calls_and_stops(tmp_path: Path):
    others = {"leaving": light("--misbehaves")}
    async with trial(tmp_path, may_lose=False, others=others) as it:
        await it.stack.ready("leaving")
        pids = it.pids("leaving")
        held = await it.hold_calls("leaving")
        drained = asyncio.create_task(it.rest("POST", "/api/servers/leaving/drain"))
        await refuses(it, "leaving__echo")
        assert all(map(psutil.pid_exists, pids))
        assert await held.let_go() == ["0", "1", "2", "3"]
        await drained
        await it.gone(*pids)
        await until(lambda: it.status("leaving").state is ServerState.STOPPED)


async def test_an_instance_that_is_drained_is_replaced_and_loses_nothing(tmp_path: Path):
    async with trial(tmp_path, may_lose=False) as it:
        for victim in it.instances():
            await it.rest("POST", "/api/servers/pool/drain", json={"instance": victim.id})
            await it.gone(victim.pid)
            await it.whole()


async def test_draining_waits_for_the_calls_in_flight(tmp_path: Path):
    async with trial(tmp_path, may_lose=False) as it:
        held = await it.hold_calls()
        before = it.instances()
        drains = [
            asyncio.create_task(it.rest("POST", "/api/servers/pool/drain", json={"instance": victim.id}))
            for victim in before
        ]
        old = {one.id for one in before}
        await until(lambda: len({one.id for one in it.instances()} - old) == len(before))
        await it.pool.more(300)
        assert await held.let_go() == ["0", "1", "2", "3"]
        await asyncio.gather(*drains)
        await it.gone(*(victim.pid for victim in before))


async def test_more_and_fewer_instances_on_request(tmp_path: Path):
    async with trial(tmp_path, may_lose=False) as it:
        for size in (5, 1, 3):
            await it.rest("POST", "/api/servers/pool/scale", json={"instances": size})
            await it.whole(size)
            await it.pool.more(300)


async def test_from_zero_and_back_calls_are_held_while_it_starts(tmp_path: Path):
    scaling = {"minInstances": 0, "maxInstances": 2, "idleAfter": "200ms"}
    others = {"lazy": light(scaling=scaling)}
    async with trial(tmp_path, may_lose=False, others=others) as it:
        for _ in range(2):
            await until(
                lambda: it.status("lazy").state is ServerState.IDLE and not it.status("lazy").instances,
                lambda: f"{it.status('lazy')}",
            )
            assert it.status("lazy").tools
            async with Load(it.stack.port, "lazy", unsafe=4) as lazy:
                await lazy.more(200)
            lazy.check(may_lose=False)
