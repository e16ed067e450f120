"""Servers that do not come up, alone or in the place of one that died, under load."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from fairlead.model.status import ServerState
from support.load import CallFailedError
from support.stack import light, until
from support.trial import POOL, trial

REPLACEMENTS = {
    "exits at once": (("--exit-at-once", "3"), "exited with code 3"),
    "never answers": (("--no-initialize-answer",), "did not answer within 2 s"),
}


async def test_one_that_exits_at_once_says_so_and_is_tried_less_and_less(tmp_path: Path):
    starts = tmp_path / "starts"
    looping = light("--exit-at-once", "3", "--starts", str(starts))
    async with trial(tmp_path, others={"looping": looping}, may_lose=False) as it:
        await until(lambda: starts.exists() and starts.read_text().count("\n") >= 5)
        status = it.status("looping")
        assert status.state is ServerState.FAILED
        said = " ".join(f"{one.reason} {one.message}" for one in status.conditions)
        assert "exited with code 3" in said
        assert "exiting at once, as told" in said
        assert "next start" in said
        async with it.caller() as caller:
            with pytest.raises(CallFailedError, match=r"looping|Unknown tool"):
                await caller.text("looping__echo", text="x")
        times = [float(line) for line in starts.read_text().splitlines()]
        pauses = [after - before for before, after in pairwise(times)]
        for pause, least in zip(pauses, (0.0, 0.1, 0.2, 0.4), strict=False):
            assert pause >= least, pauses
    assert it.said("looping", "exited with code 3")


@pytest.mark.parametrize("how", REPLACEMENTS)
async def test_two_serve_while_the_third_does_not_come_back(tmp_path: Path, how: str):
    flags, said = REPLACEMENTS[how]
    broken = tmp_path / "broken"
    quick = POOL["timeouts"] | {"start": "2s"}
    async with trial(tmp_path, "--only-if", str(broken), *flags, timeouts=quick) as it:
        broken.touch()
        victim = it.instances()[0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(
            lambda: any(said in condition.message for condition in it.status().conditions),
            lambda: f"a condition says {said!r}: {it.status().conditions}",
            guard=10,
        )
        assert it.status().state is ServerState.READY
        assert len(it.instances()) == 2
        await it.pool.more(300)
        broken.unlink()
    assert it.said("pool", said)
