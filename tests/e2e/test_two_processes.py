"""Two orchestrators, one PostgreSQL, one Valkey: what one knows the other knows, also after an outage."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.servers import CuttableProxy, cuttable_proxy
from support.service_process import Service, Watcher
from support.stack import until

OUTAGE = 30.0  # s
RATE = 1200  # requests a minute
BURST = 60
WHILE = 15.0  # s of load


@dataclass
class Pair:
    services: tuple[Service, Service]
    store: CuttableProxy
    bus: CuttableProxy

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[tuple[Watcher, Watcher]]:
        """A client of each that wants every event."""
        first, second = (Watcher(service) for service in self.services)
        tasks = [asyncio.create_task(watcher.watch()) for watcher in (first, second)]
        try:
            yield first, second
        finally:
            for task in tasks:
                task.cancel()


@pytest.fixture
def sections() -> dict[str, Any]:
    return {}


@pytest.fixture
async def pair(
    tmp_path: Path, postgres_url: str, valkey_url: str, sections: dict[str, Any]
) -> AsyncIterator[Pair]:
    async with cuttable_proxy(postgres_url) as store, cuttable_proxy(valkey_url) as bus:
        variables = {
            "FAIRLEAD_DATABASE": store.url,
            "FAIRLEAD_BUS": bus.url,
            "FAIRLEAD_KEY": secrets.token_hex(32),
        }
        services = [Service(tmp_path / name, variables, sections) for name in ("a", "b")]
        async with services[0].running(), services[1].running():
            yield Pair((services[0], services[1]), store, bus)


async def new_key(service: Service, name: str, role: str = "developer") -> tuple[str, str]:
    """A key's id and value, of a new principal."""
    made = await service.http.put(f"/api/principals/{name}", json={"role": role})
    assert made.is_success, made.text
    key = (await service.http.post("/api/keys", json={"principal": name})).json()
    return key["id"], key["value"] if "value" in key else key["key"]


async def test_a_key_that_is_revoked_in_one_is_refused_in_the_other_within_a_second(pair: Pair) -> None:
    first, second = pair.services
    key, value = await new_key(first, "ada")
    loop = asyncio.get_running_loop()

    async def accepted() -> bool:
        return (await second.call("x", token=value)).status_code == 200

    async def becomes(wanted: bool) -> float:
        since = loop.time()
        while await accepted() is not wanted:
            assert loop.time() < since + 10
            await asyncio.sleep(0.01)
        return loop.time() - since

    await becomes(True)
    assert (await first.http.delete(f"/api/keys/{key}")).is_success
    took = await becomes(False)
    assert took < 1.0
    print(f"revoked in the other process after {1000 * took:.0f} ms")


async def test_events_of_both_reach_both(pair: Pair) -> None:
    async with pair.watched() as (first, second):
        for number in range(50):
            name = {"role": "viewer"}
            answers = await asyncio.gather(
                *(
                    service.http.put(f"/api/principals/{i}-{number}", json=name)
                    for i, service in enumerate(pair.services)
                )
            )
            assert all(answer.is_success for answer in answers)
        kept = await pair.services[0].events()
        await until(lambda: len(first.seen) >= len(kept) and len(second.seen) >= len(kept))
        assert first.sequences == second.sequences == list(range(1, len(kept) + 1))
        assert first.seen == second.seen == kept
        assert len({event["source"] for event in kept}) == 2


async def test_the_fleet_spec_of_one_is_put_in_force_in_the_other(pair: Pair) -> None:
    first, second = pair.services
    edit = await first.http.post("/api/load-balancer/strategy", json={"weights": {"s": 3.5}})
    assert edit.is_success, edit.text

    async def weight() -> float:
        balance = await second.get("/api/load-balancer/status")
        return balance["servers"][0]["weight"]

    async with asyncio.timeout(20):
        while await weight() != 3.5:
            await asyncio.sleep(0.05)
    generations = [(await service.get("/api/fleet"))["generation"] for service in pair.services]
    assert generations[0] == generations[1]


LIMITED = {"maxConcurrentRequests": 1000, "rateLimiting": {"requestsPerMinute": RATE, "burst": BURST}}


@pytest.mark.parametrize("sections", [{"security": {"resourceLimits": LIMITED}}])
@pytest.mark.parametrize("share", [0.5, 0.0], ids=["both busy", "one busy"])
async def test_limits_hold_in_sum(pair: Pair, share: float) -> None:
    _, value = await new_key(pair.services[0], "load")
    while (await pair.services[1].call("x", token=value)).status_code == 401:
        await asyncio.sleep(0.05)
    loop = asyncio.get_running_loop()
    end = loop.time() + WHILE
    admitted = 0

    async def load(service: Service) -> None:
        nonlocal admitted
        while loop.time() < end:
            answer = await service.call("x", token=value)
            if answer.status_code == 200:
                admitted += 1
            else:
                assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
                await asyncio.sleep(0.01)

    busy = pair.services if share else pair.services[:1]
    await asyncio.gather(*(load(service) for service in busy for _ in range(4)))
    allowed = RATE / 60 * WHILE + BURST
    print(f"{admitted} admitted of {allowed:.0f}")
    assert 0.9 * allowed <= admitted <= 1.1 * allowed


@pytest.mark.timeout(300)
@pytest.mark.parametrize("away", ["store", "bus"])
async def test_one_is_away_for_half_a_minute(pair: Pair, away: str) -> None:
    first, second = pair.services
    proxy = pair.store if away == "store" else pair.bus
    acknowledged: set[str] = set()
    refusals: set[int] = set()
    calls = wrong = 0
    over = asyncio.Event()

    async def call(service: Service) -> None:
        nonlocal calls, wrong
        while not over.is_set():
            answer = await service.call("x")
            calls += 1
            wrong += answer.status_code != 200
            await asyncio.sleep(0.02)

    async def change(service: Service, number: int) -> None:
        for index in range(10**6):
            if over.is_set():
                return
            name = f"p{number}-{index}"
            try:
                answer = await service.http.put(f"/api/principals/{name}", json={"role": "viewer"})
            except httpx.HTTPError:
                continue
            if answer.is_success:
                acknowledged.add(name)
            else:
                refusals.add(answer.status_code)
                assert "retry-after" in answer.headers
            await asyncio.sleep(0.05)

    async def health(service: Service) -> tuple[str, list[str]]:
        answer = (await service.http.get("/health")).json()
        return answer["status"], answer["away"]

    async with pair.watched() as watchers, asyncio.TaskGroup() as tasks:
        for number, service in enumerate(pair.services):
            tasks.create_task(call(service))
            tasks.create_task(change(service, number))
        await asyncio.sleep(1)
        await proxy.cut()
        before = calls
        await asyncio.sleep(OUTAGE / 2)
        assert [await health(service) for service in pair.services] == [("degraded", [away])] * 2
        await asyncio.sleep(OUTAGE / 2)
        assert calls > before + 100
        await proxy.heal()
        async with asyncio.timeout(30):
            while [await health(service) for service in pair.services] != [("ok", [])] * 2:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        over.set()
        await asyncio.sleep(1)

        kept = await first.events()
        assert wrong == 0
        assert refusals <= ({503} if away == "store" else set())
        assert [int(event["sequence"]) for event in kept] == list(range(1, len(kept) + 1))
        told = {event["subject"] for event in kept if event["type"] == "access-changed"}
        known = {each["name"] for each in (await second.get("/api/principals"))["principals"]}
        assert acknowledged <= known
        assert acknowledged <= told
        assert {"service-degraded", "service-recovered"} <= {event["type"] for event in kept}
        await until(lambda: all(len(watcher.seen) >= len(kept) for watcher in watchers))
        for watcher in watchers:
            assert watcher.seen[: len(kept)] == kept
        print(f"{away} away: {calls} calls, {len(acknowledged)} changes, {len(kept)} events")
