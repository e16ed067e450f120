"""What befalls a server becomes events. All in virtual time."""

import asyncio

import pytest

from fairlead.model import event_data
from fairlead.model.event_data import DATA, GITOPS_DATA
from fairlead.model.events import EventType
from fairlead.model.fleet import CircuitBreaker, Scaling
from fairlead.model.status import ContractChange, ServerState
from fairlead.orchestrator.pool_events import PoolEvents
from fairlead.ports import LinkLost
from support.event_logs import Noted
from support.pool_rig import PoolRig, problem, silent
from support.scripted import legacy
from support.until import until

pytestmark = pytest.mark.looptime

HEALTH = EventType.SERVER_HEALTH_CHANGED
STARTED, READY = EventType.INSTANCE_STARTED, EventType.INSTANCE_READY
STOPPED, LOST = EventType.INSTANCE_STOPPED, EventType.INSTANCE_LOST


def noting(rig):
    rig.pool.events.recorder = noted = Noted()
    return noted


def check(noted):
    """Every event has the data that its type promises."""
    for event_type, _, data in noted.events:
        assert set(data) == DATA[event_type].__required_keys__


async def test_a_life_from_start_to_stop():
    rig = PoolRig()
    noted = noting(rig)
    async with rig:
        (instance,) = await rig.ready()
        await rig.pool.stop()
    assert noted.types == [HEALTH, STARTED, READY, HEALTH, HEALTH, STOPPED]
    states = [(data["before"], data["state"]) for data in noted.of(HEALTH)]
    assert states == [("stopped", "starting"), ("starting", "ready"), ("ready", "stopped")]
    assert noted.of(READY) == [{"server": "s", "instance": instance.id, "era": "legacy"}]
    assert noted.of(STOPPED)[0]["calls"] == 0
    check(noted)


async def test_one_that_dies_is_lost_with_its_calls_and_the_server_starts_again():
    async with PoolRig(silent()) as rig:
        (instance,) = await rig.ready()
        noted = noting(rig)
        rig.send(instance)
        rig.send(instance)
        rig.link(instance).lose("killed by SIGKILL")
        await until(lambda: noted.of(READY))
        assert noted.of(LOST) == [
            {"server": "s", "instance": instance.id, "reason": "killed by SIGKILL", "calls": 2}
        ]
        assert [data["state"] for data in noted.of(HEALTH)] == ["starting", "ready"]
        assert not noted.of(STOPPED)
        check(noted)


async def test_one_that_hangs_is_lost_though_we_end_it():
    async with PoolRig(silent("ping"), ticking=True) as rig:
        (instance,) = await rig.ready()
        noted = noting(rig)
        await until(lambda: noted.of(LOST), guard=300)
        (lost,) = noted.of(LOST)
        assert lost["instance"] == instance.id
        assert "health checks" in lost["reason"]
        assert not [data for data in noted.of(STOPPED) if data["instance"] == instance.id]


async def test_one_that_never_answers_the_handshake_is_lost():
    rig = PoolRig(lambda message: [])
    noted = noting(rig)
    async with rig:
        await until(lambda: noted.of(LOST), guard=300)
        assert [each for each in noted.types if each is not HEALTH][:2] == [STARTED, LOST]


async def test_what_could_not_even_be_launched_has_no_instance_events():
    rig = PoolRig()
    rig.launcher.problems = [problem("missing-secrets", "needs KEY")]
    noted = noting(rig)
    async with rig:
        await until(lambda: rig.pool.state is ServerState.BLOCKED)
        assert noted.types == [HEALTH, HEALTH]
        assert noted.of(HEALTH)[1]["reason"] == "needs KEY"


async def test_breakers_tell_each_of_their_states():
    breaker = CircuitBreaker(minimum_calls=1, failure_rate=50, consecutive_failures=1, open_for=10, trials=1)
    async with PoolRig(ticking=True, circuit_breaker=breaker) as rig:
        (instance,) = await rig.ready()
        noted = noting(rig)
        rig.send(instance)
        instance.request_failed(instance.sent, "HTTP 502", None)
        of_instance = [d for d in noted.of(EventType.BREAKER_CHANGED) if d["instance"]]
        of_server = [d for d in noted.of(EventType.BREAKER_CHANGED) if not d["instance"]]
        assert [(d["before"], d["state"]) for d in of_instance] == [("closed", "open")]
        assert [(d["before"], d["state"]) for d in of_server] == [("closed", "open")]
        assert "HTTP 502" in of_instance[0]["reason"]
        await asyncio.sleep(12)
        rig.pool.reset_breaker("s")
        rig.pool.reset_breaker(instance.id)
        told = [(d["instance"], d["state"], d["reason"]) for d in noted.of(EventType.BREAKER_CHANGED)][2:]
        assert [each[1] for each in told if each[0]] == ["half-open", "closed"]
        assert [each[1] for each in told if not each[0]] == ["half-open", "closed"]
        assert {reason for _, state, reason in told if state == "closed"} == {""}
        check(noted)


async def test_scaling_is_told_once():
    async with PoolRig(scaling=Scaling(min_instances=1, max_instances=3)) as rig:
        await rig.ready()
        noted = noting(rig)
        rig.pool.scale_to(2, "calls wait")
        rig.pool.scale_to(2, "calls wait")
        assert noted.of(EventType.SERVER_SCALED) == [
            {"server": "s", "before": 1, "instances": 2, "reason": "calls wait"}
        ]
        await rig.ready(2)
        check(noted)


async def test_a_long_reason_is_cut_and_a_long_list_too():
    events = PoolEvents("s", ServerState.READY)
    events.recorder = noted = Noted()
    async with PoolRig(legacy()) as rig:
        (instance,) = await rig.ready()
        events.ended(instance, LinkLost("x" * 5000))
    assert len(noted.of(LOST)[0]["reason"]) == 1000
    events.contracts("flag", [ContractChange(tool=f"t{n}", change="new", impact="review") for n in range(99)])
    (changed,) = noted.of(EventType.CONTRACT_CHANGED)
    assert changed["count"] == 99
    assert len(changed["tools"]) == 20
    assert changed["tools"][0] == {"tool": "t0", "change": "new", "impact": "review"}
    check(noted)


def test_every_data_of_an_event_is_in_the_table():
    shapes = {
        each
        for each in vars(event_data).values()
        if isinstance(each, type) and each.__module__ == event_data.__name__
    }
    assert shapes - {event_data.ChangedTool} == {*DATA.values(), *GITOPS_DATA.values()}
