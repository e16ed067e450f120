"""Instances are killed with SIGKILL under load."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from support.stack import until
from support.trial import trial


async def test_one_of_three(tmp_path: Path):
    async with trial(tmp_path) as it:
        victim = it.instances()[0]
        os.kill(victim.pid, signal.SIGKILL)
        await it.gone(victim.pid)
    assert it.said(victim.id, "SIGKILL")


async def test_all_three_at_once(tmp_path: Path):
    async with trial(tmp_path) as it:
        victims = it.instances()
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        await it.gone(*(victim.pid for victim in victims))
    for victim in victims:
        assert it.said(victim.id, "SIGKILL")


async def test_one_every_200_ms(tmp_path: Path):
    async with trial(tmp_path) as it:
        killed = []
        while len(killed) < 15:
            await until(lambda: bool(it.instances()), lambda: f"one is ready: {it.status()}")
            killed.append(it.instances()[0])
            os.kill(killed[-1].pid, signal.SIGKILL)
            await asyncio.sleep(0.2)
        assert len({victim.id for victim in killed}) == len(killed)
    for victim in killed:
        assert it.said(victim.id, "SIGKILL")


async def test_a_call_that_may_not_be_repeated_is_carried_out_once_and_says_so(tmp_path: Path):
    async with trial(tmp_path) as it:
        held = await it.hold_calls(count=12)
        pids = held.pids()
        assert len(set(pids.values())) > 1, "the calls were spread"
        os.kill(pids[0], signal.SIGKILL)
        await it.gone(pids[0])
        await it.pool.more(200)
        for number, told in enumerate(await held.let_go()):
            if pids[number] == pids[0]:
                assert "SIGKILL" in told
                assert "not replayed" in told
                assert "readOnlyHint" in told
            else:
                assert told == f"{number}"


@pytest.mark.parametrize("hold", [True, False])
async def test_a_child_forked_twice_goes_with_its_server(tmp_path: Path, hold: bool):
    async with trial(tmp_path) as it:
        async with it.caller() as caller:
            told = await caller.call("pool__spawn", how="double-fork", hold=hold)
        left = told["structuredContent"]["pid"]
        assert psutil.pid_exists(left)
        pids = it.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await it.gone(left, *pids)
