"""Instances hang under load: stopped by a signal, or silent in the middle of an answer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from support.load import Caller, CallFailedError
from support.stack import light, running, until
from support.trial import POOL, QUICK, faults, trial

HUNG = "(?i)hung|did not answer"
SHORT = {"timeouts": POOL["timeouts"] | {"call": "4s"}}  # so long at most are calls in flight waited for


async def test_one_is_stopped(tmp_path: Path):
    async with trial(tmp_path, healthCheck=QUICK, **SHORT) as it:
        victim = it.instances()[0]
        os.kill(victim.pid, signal.SIGSTOP)
        await it.gone(victim.pid)
    assert it.said(victim.id, HUNG)


async def test_all_are_stopped(tmp_path: Path):
    async with trial(tmp_path, healthCheck=QUICK, unsafe=0) as it:
        victims = it.instances()
        for victim in victims:
            os.kill(victim.pid, signal.SIGSTOP)
        await it.gone(*(victim.pid for victim in victims))
    for victim in victims:
        assert it.said(victim.id, HUNG)


async def test_one_that_only_looks_hung_may_finish_its_call(tmp_path: Path):
    async with trial(tmp_path, healthCheck=QUICK, unsafe=0) as it:
        held = await it.hold_calls(count=1)
        pid = held.pids()[0]
        name = next(one.id for one in it.instances() if one.pid == pid)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: not it.instance(name).in_rotation, lambda: f"{it.status()}")
        await it.pool.more(300)
        os.kill(pid, signal.SIGCONT)
        assert await held.let_go() == ["0"]


async def test_the_service_stops_while_a_call_hangs_whose_client_has_gone(tmp_path: Path):
    servers = {"pool": light(timeouts=POOL["timeouts"])}
    settings = {"edge": {"shutdown_timeout": 0.2}}
    with capture_logs() as records:
        async with running(tmp_path, servers, settings=settings) as stack:
            caller = Caller(stack.port, modern=False)
            await caller.open()
            (instance,) = stack.system.fleet.server("pool").instances
            os.kill(instance.pid, signal.SIGSTOP)
            call = asyncio.create_task(caller.text("pool__echo", text="x"))
            await until(lambda: stack.system.gateway.in_flight == 1)
            await caller.close()
            with pytest.raises(CallFailedError):
                await call
    assert not faults(records)
    assert not psutil.pid_exists(instance.pid)
