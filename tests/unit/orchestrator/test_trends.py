"""Metrics rolled up: nothing is counted twice or lost, over minutes, restarts and outages."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.model.status import InstanceStatus, ServerState, ServerStatus
from fairlead.orchestrator import trends as module
from fairlead.orchestrator.metrics import MetricsCollector, Outcome
from fairlead.orchestrator.trends import HOUR, MINUTE, Trends, merged, points, since_then
from fairlead.ports import StoreAwayError, Trend
from support.trend_stores import MemoryTrendStore

DAY = 1_800_000_000.0 // 86400 * 86400

values = st.dictionaries(
    st.sampled_from(["requests", "errors", "b0", "b3", "sessions", "memoryBytes"]),
    st.integers(1, 100),
    max_size=6,
)


def server(ready: int = 1) -> ServerStatus:
    instances = [InstanceStatus(id=f"s-{number}", state="ready") for number in range(ready)]
    return ServerStatus(
        id="s", state=ServerState.READY, message="", conditions=[], instances=instances, source="x",
        sharing="shared", capabilities=[], weight=1.0, wanted_instances=2,
    )  # fmt: skip


class Service:
    """Starts of one service on one store."""

    def __init__(self) -> None:
        self.now = DAY
        self.store = MemoryTrendStore()
        self.ready = 1
        self.start()

    def start(self) -> None:
        self.metrics = MetricsCollector(lambda: [server(self.ready)], clock=lambda: self.now)
        self.trends = Trends(
            self.metrics, lambda: [server(self.ready)], self.store, "n1", clock=lambda: self.now
        )

    async def minute(self, calls: int = 0, *, outcome: Outcome = Outcome.OK, took: float = 0.002) -> None:
        for _ in range(calls):
            self.metrics.calls("s", "tools/call").record(took, outcome)
        self.now += MINUTE
        await self.trends.roll_up()

    async def read(self, server: str = "s", *, step: int = MINUTE):
        return await self.trends.read(server, since=DAY, until=self.now + 1, step=step)


@pytest.fixture
def service() -> Service:
    return Service()


async def test_each_minute_has_what_happened_in_it(service):
    await service.minute(3)
    await service.minute(1, outcome=Outcome.TIMEOUT, took=20.0)
    await service.minute()
    first, second = await service.read()
    assert (first.at, first.requests, first.errors) == (DAY, 3, 0)
    assert first.mean_seconds == pytest.approx(0.002)
    assert first.p99_seconds == pytest.approx(0.0025, rel=0.5)
    assert (second.at, second.requests, second.errors, second.mean_seconds) == (DAY + 60, 1, 1, 20.0)
    assert first.gauges == {"readyInstances": 1, "wantedInstances": 2}


async def test_the_service_itself_is_told_of_in_quiet_minutes_too(service):
    await service.minute()
    service.metrics.refused("invalid-token")
    service.metrics.sessions = 7
    await service.minute(2)
    quiet, busy = await service.read("")
    assert (quiet.requests, busy.requests) == (0, 2)
    assert quiet.p50_seconds is None
    assert (busy.gauges["refused"], busy.gauges["sessions"]) == (1, 7)
    assert busy.gauges["memoryBytes"] > 10**6


async def test_hours_are_rolled_up_as_they_go_on(service):
    for _ in range(90):
        await service.minute(2)
    hours = await service.read(step=HOUR)
    assert [(point.at - DAY, point.requests) for point in hours] == [(0, 120), (HOUR, 60)]
    assert len([row for row in service.store.rows.values() if row.seconds == HOUR]) == 4  # of both
    assert len(service.trends._rows) <= 4


async def test_a_restart_within_the_hour_and_the_minute_loses_and_doubles_nothing(service):
    await service.minute(5)
    service.now += 20
    service.metrics.calls("s", "tools/call").record(0.1, Outcome.OK)
    await service.trends.roll_up()  # the end of a run
    service.start()
    service.now += 10
    service.metrics.calls("s", "tools/call").record(0.1, Outcome.OK)
    await service.trends.roll_up()
    await service.minute(1)
    assert [point.requests for point in await service.read()] == [5, 3]
    (hour,) = await service.read(step=HOUR)
    assert hour.requests == 8


async def test_while_the_store_is_away_rows_wait(service):
    await service.minute(1)
    service.store.away = True
    await service.minute(2)
    await service.minute(3)
    with pytest.raises(StoreAwayError):
        await service.read()
    service.store.away = False
    await service.minute(4)
    assert [point.requests for point in await service.read()] == [1, 2, 3, 4]
    assert (await service.read(step=HOUR))[0].requests == 10


async def test_what_waits_is_bounded(service, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 6)
    service.store.away = True
    for _ in range(20):
        await service.minute(1)
    assert len(service.trends._rows) == 6


async def test_nodes_are_added_up(service):
    await service.minute(5)
    other = Trend(
        DAY, MINUTE, "n2", "s", {"requests": 3, "errors": 1, "seconds": 3.0, "b15": 3, "readyInstances": 4}
    )
    await service.store.add([other])
    (point,) = await service.read()
    assert (point.requests, point.errors) == (8, 1)
    assert point.gauges["readyInstances"] == 4
    assert point.p99_seconds > 10


async def test_a_long_span_is_read_in_parts(service):
    rows = [Trend(DAY + MINUTE * n, MINUTE, "n1", "s", {"requests": 1}) for n in range(3000)]
    await service.store.add(rows)
    found = await service.trends.read("s", since=DAY, until=DAY + 3000 * MINUTE, step=5 * MINUTE)
    assert [point.requests for point in found] == [5] * 600


@given(st.lists(values), st.lists(values))
def test_merging_does_not_care_about_the_order(left, right):
    assert merged([*left, *right]) == merged([merged(right), merged(left)])


@given(values, values)
def test_what_was_between_two_readings_adds_up_to_the_second(before, more):
    gauges = {"sessions", "memoryBytes"}
    now = {name: more[name] if name in gauges else before.get(name, 0) + more[name] for name in more}
    assert since_then(before, now) == more


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 50)), unique_by=lambda row: row[0]))
def test_steps_hold_every_call_once(rows):
    trends = [Trend(DAY + MINUTE * n, MINUTE, "n1", "s", {"requests": count}) for n, count in rows]
    found = points(trends, 15 * MINUTE)
    assert sum(point.requests for point in found) == sum(count for _, count in rows)
    assert [point.at for point in found] == sorted({point.at // 900 * 900 for point in found})


@pytest.mark.looptime
async def test_it_rolls_up_at_each_full_minute(service, monkeypatch):

    loop = asyncio.get_running_loop()
    began = loop.time()
    service.trends._clock = lambda: DAY + 42.0 + loop.time() - began
    task = asyncio.ensure_future(service.trends.follow())
    await asyncio.sleep(17.9)
    assert not service.store.rows
    await asyncio.sleep(0.2)
    assert {row.seconds for row in service.store.rows.values()} == {MINUTE, HOUR}
    task.cancel()
