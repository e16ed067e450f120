import asyncio
import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import psutil
import pytest
from bench.connection import Access, Reply
from bench.echo_http import Echo
from bench.load import Running
from bench.own_start import start_ms
from bench.processes import Programs, StartError
from bench.recovery import Kill, Recovery, _own_start_ms, _Trial, ready_times

KILL = Kill(first_ms=1, wait_ms=5, gap_ms=3, launched_ms=10, ready_ms=80, own_start_ms=60, failed=0, wrong=0)


def recovery(kills, **changes):
    whole = Recovery(3, len(kills), tuple(kills), calls=100, failed=0, wrong=0, example="", fault="")
    return replace(whole, **changes)


def test_figures_are_median_p99_and_maximum_of_each_measure():
    figures = recovery([replace(KILL, ready_ms=ready) for ready in (100, 70, 90)]).figures
    assert figures["replacement ready"] == {"p50_ms": 90, "p99_ms": 100, "max_ms": 100}
    assert figures["ready, less the own start"] == {"p50_ms": 30, "p99_ms": 40, "max_ms": 40}
    assert figures["longest wait of a call"]["max_ms"] == 5


def test_what_never_happened_has_no_figures():
    figures = recovery([replace(KILL, first_ms=None)]).figures
    assert "first answer to a call under way" not in figures
    assert figures["longest gap without an answer"]["p50_ms"] == 3
    assert recovery([]).figures == {}


def test_a_trial_without_loss_has_no_faults():
    assert recovery([KILL]).faults == []
    assert len(recovery([KILL], wrong=1, fault="too slow").faults) == 2


def test_when_instances_were_ready_is_read_from_the_log():
    lines = [
        "Traceback (most recent call last): instance ready?"[:34],
        json.dumps({"time": "2026-11-22T20:00:00.250000Z", "event": "instance ready", "instance": "echo-1"}),
        json.dumps({"time": "2026-11-22T20:00:01.5Z", "event": "instance died", "instance": "echo-1"}),
        json.dumps({"time": "2026-11-22T20:00:02.000001Z", "event": "instance ready", "instance": "echo-2"}),
        json.dumps({"time": "2026-11-22T20:00:03Z", "event": "quoted", "detail": "instance ready"}),
    ]
    assert ready_times("\n".join(lines)) == {"echo-1": 1795377600.25, "echo-2": 1795377602.000001}


async def test_the_servers_own_start_is_measured_and_nothing_is_left():
    before = set(psutil.Process().children(recursive=True))
    assert 1 < await _own_start_ms() < 60_000
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_server_that_does_not_answer_has_no_start(monkeypatch):
    monkeypatch.setattr("bench.own_start.ECHO_STDIO", [sys.executable, "-c", "input()"])
    with pytest.raises(RuntimeError, match="the echo server answered"):
        start_ms()


async def test_a_start_that_fails_ends_the_trial(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.recovery.HERE", tmp_path / "bench")  # no such module there
    with pytest.raises(StartError, match="could not be started directly"):
        await _own_start_ms()


@pytest.fixture
def sleeper(tmp_path):
    with Programs(tmp_path) as programs:
        yield programs.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])


def test_only_what_the_gateway_started_is_killed(sleeper):
    trial = _Trial(Running("Fairlead", "stdio", Access(1), sleeper), 1)
    with pytest.raises(StartError, match="none of the gateway's"):
        trial._process(psutil.Process().pid)


class Killed(_Trial):
    """A pool of two that gets `echo-3` a quarter of a second after one of them was killed."""

    def __init__(self, program, victims):
        super().__init__(Running("Fairlead", "stdio", Access(1), program), 2)
        self.victims = victims
        self.asked = 0

    async def _ready(self):
        self.asked += 1
        pool = {
            f"echo-{number}": {"pid": victim.process.pid} for number, victim in enumerate(self.victims, 1)
        }
        if self.asked == 1:
            return pool
        gone = [name for name, victim in zip(pool, self.victims, strict=True) if not is_alive(victim)]
        if not gone:
            return pool
        [killed] = gone
        del pool[killed]
        if self.asked > 3:
            pool["echo-3"] = {"pid": 1, "startedAt": self.killed + 0.2}
        return pool

    def _process(self, pid):
        self.killed = time.time()
        moment = datetime.fromtimestamp(self.killed + 0.25, UTC).isoformat()
        line = {"time": moment, "event": "instance ready", "instance": "echo-3"}
        self._running.program.output = lambda: json.dumps(line)
        return psutil.Process(pid)


def is_alive(program):
    return program.process.is_running() and program.process.status() != psutil.STATUS_ZOMBIE


async def test_a_kill_is_over_when_another_instance_has_taken_the_place(tmp_path):
    with Programs(tmp_path) as programs:
        gateway, *victims = [
            programs.start(name, [sys.executable, "-c", "import time; time.sleep(600)"])
            for name in ("gateway", "one", "two")
        ]
        trial = Killed(gateway, victims)
        kill = await trial._kill_one()
        assert sorted(is_alive(victim) for victim in victims) == [False, True]
    assert trial.asked > 3
    assert kill.ready_ms - kill.launched_ms == pytest.approx(50, abs=0.1)
    assert -10_000 < kill.launched_ms <= 200.1  # 200, less what this machine stood still before the kill
    assert kill.added_ms == kill.ready_ms - kill.own_start_ms
    assert (kill.first_ms, kill.failed, kill.wrong) == (None, 0, 0)
    assert kill.gap_ms > 0


async def test_a_pool_that_is_not_whole_is_waited_for_and_nothing_is_killed(sleeper, monkeypatch):
    monkeypatch.setattr("bench.recovery.WHOLE_SECONDS", 0)
    trial = Killed(sleeper, [sleeper])
    with pytest.raises(StartError, match="after 0 s 1 of 2 instances are ready"):
        await trial._kill_one()
    assert is_alive(sleeper)


async def test_a_call_that_began_after_the_kill_and_is_never_answered_ends_the_trial(sleeper, monkeypatch):
    monkeypatch.setattr("bench.recovery.WHOLE_SECONDS", 0)
    trial = _Trial(Running("Fairlead", "stdio", Access(1), sleeper), 1)
    watch = trial._callers.watch()
    trial._callers._begin()
    with pytest.raises(StartError, match="1 calls had no answer 0 s after the pool was whole"):
        await trial._answered(watch)


async def test_an_instance_is_ready_when_both_rest_and_the_log_say_so(sleeper, monkeypatch):
    async def rest(access, path):
        states = {"echo-1": "ready", "echo-2": "failed", "echo-3": "ready"}
        instances = [{"id": one, "state": state} for one, state in states.items()]
        return Reply(200, {}, json.dumps({"instances": instances}).encode())

    monkeypatch.setattr("bench.recovery.get", rest)
    times = [
        {"time": "2026-11-22T20:00:00Z", "event": "instance ready", "instance": f"echo-{n}"} for n in (1, 2)
    ]
    sleeper.output = lambda: "\n".join(json.dumps(line) for line in times)
    trial = _Trial(Running("Fairlead", "stdio", Access(1), sleeper), 1)
    assert list(await trial._ready()) == ["echo-1"]


async def a_trial(sleeper, kill_one):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    async with server:
        access = Access(server.sockets[0].getsockname()[1])
        trial = _Trial(Running("Fairlead", "stdio", access, sleeper), 3)
        trial._kill_one = kill_one
        return await trial.run(3)


async def test_a_trial_goes_on_until_all_kills_are_done(sleeper):
    async def kill_one():
        await asyncio.sleep(0)
        return KILL

    found = await a_trial(sleeper, kill_one)
    assert (found.kills, found.wanted, found.fault) == ((KILL,) * 3, 3, "")


async def test_a_pool_that_is_never_whole_again_ends_the_trial_with_what_was_found(sleeper):
    kills = iter([KILL])

    async def kill_one():
        if (kill := next(kills, None)) is None:
            raise StartError("2 instances were ready")
        return kill

    found = await a_trial(sleeper, kill_one)
    assert found.kills == (KILL,)
    assert found.faults == ["recovery, pool of 3: after 1 of 3 kills: 2 instances were ready"]


async def test_a_trial_that_takes_too_long_is_cut_and_says_so(sleeper, monkeypatch):
    monkeypatch.setattr("bench.recovery.TRIAL_SECONDS", 0)

    async def kill_one():
        await asyncio.sleep(0.001)
        return KILL

    found = await a_trial(sleeper, kill_one)
    assert len(found.kills) <= 1
    assert "0 s are over: replacing takes too long" in found.fault
