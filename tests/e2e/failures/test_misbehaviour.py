"""One of three instances breaks the protocol, floods or dawdles, under load."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from fairlead.drivers import server_log
from fairlead.model.status import BreakerState
from support.stack import until
from support.trial import POOL, QUICK, Trial, trial

MANY = 200  # records about one instance: a flood of the server's must not become one of ours
MIB = 2**20
NOISE = "(?i)json|noise|garbage|unreadable|stdout|not a message|malformed"
STRANGER = "(?i)answer"
EXTRA = {  # beside its answers: how often, or how much, and what the log says
    "garbage": (200, NOISE),
    "half-lines": (200, NOISE),
    "twice": (200, STRANGER),
    "unknown-ids": (200, STRANGER),
    "long-line": (50 * MIB, r"more than \d+ bytes"),
    "notifications": (150_000, "(?i)notification"),
}
INSTEAD = {  # of its answers
    "half-answers": (5, NOISE),
    "wrong-ids": (5, STRANGER),
    "cut-off": (1, "exited with code 1"),
    "half-hang": (1, "(?i)hung|did not answer"),
}


async def misbehave(it: Trial, kind: str, times: int, done: Path) -> str:
    """Have one instance misbehave until it is through with that, or gone; its id."""
    names = {one.pid: one.id for one in it.status().instances}  # it may be gone before we look
    async with it.caller() as caller:
        pid = (await caller.call("pool__misbehave", kind=kind, times=times, done=str(done)))[
            "structuredContent"
        ]["pid"]
    name = names.get(pid) or next(one.id for one in it.status().instances if one.pid == pid)
    await until(lambda: done.exists() or not psutil.pid_exists(pid), lambda: f"{it.status()}")
    return name


@pytest.mark.parametrize("kind", EXTRA)
async def test_what_it_says_beside_its_answers_harms_nobody(tmp_path: Path, kind: str):
    times, said = EXTRA[kind]
    async with trial(tmp_path) as it:
        name = await misbehave(it, kind, times, tmp_path / "done")
        await it.says(name, said)
    assert len(it.said(name)) < MANY


async def test_answers_in_pieces_are_answers(tmp_path: Path):
    async with trial(tmp_path, may_lose=False) as it:
        before = it.pids()
        await misbehave(it, "pieces", 100, tmp_path / "done")
        assert it.pids() == before


@pytest.mark.parametrize("kind", INSTEAD)
async def test_calls_whose_answers_it_spoils_are_answered_by_others(tmp_path: Path, kind: str):
    times, said = INSTEAD[kind]
    timeouts = POOL["timeouts"] | {"call": "8s"}
    async with trial(tmp_path, healthCheck=QUICK, timeouts=timeouts, unsafe=0) as it:
        await it.says(await misbehave(it, kind, times, tmp_path / "done"), said)


async def test_a_flood_on_stderr_is_cut_off_in_the_log(tmp_path: Path):
    async with trial(tmp_path) as it:
        await misbehave(it, "stderr", 100 * MIB, tmp_path / "done")
    files = list((tmp_path / "state").rglob("pool.log*"))
    assert any("bytes dropped" in file.read_text(errors="replace") for file in files)
    assert sum(file.stat().st_size for file in files) <= 2 * server_log.MAX_FILE
    assert len(it.said("pool-")) < MANY


async def test_one_that_answers_slowly_gets_no_more_calls_until_it_is_quick_again(tmp_path: Path):
    """Slow calls are looked for once a second, and its earlier, quick ones must have left the window."""
    breaker = {"slowCall": "500ms", "slowRate": 50.0, "window": "1s", "minimumCalls": 5, "openFor": "500ms"}
    async with trial(tmp_path, circuitBreaker=breaker) as it:
        name = await misbehave(it, "slow", 4, tmp_path / "done")
        await until(lambda: it.instance(name).breaker is not BreakerState.CLOSED, lambda: f"{it.status()}")
        await it.says(name, "(?i)slow|took over")
