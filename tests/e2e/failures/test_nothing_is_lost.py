"""A real orchestrator is killed in the middle of its work, again and again: what it has said stays true."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from support.service_process import Service, Watcher
from support.stack import until

KILLS = 10
EACH = 1000  # events and calls in a life


class Worker:
    """Changes and calls, one after the other in each of its tasks; remembers what was acknowledged."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.acknowledged: set[str] = set()
        self.overrides: dict[str, int] = {}
        self.calls = 0
        self.wrong: list[str] = []

    @property
    def done(self) -> int:
        return len(self.acknowledged) + self.calls

    async def change(self, life: int, task: int) -> None:
        for number in range(10**6):
            name = f"p{life}-{task}-{number}"
            try:
                answer = await self.service.http.put(f"/api/principals/{name}", json={"role": "viewer"})
            except httpx.HTTPError:
                return
            if answer.is_success:
                self.acknowledged.add(name)
            else:
                self.wrong.append(answer.text)

    async def edit(self, life: int) -> None:
        for number in range(2, 10**6):
            body = {"weights": {"s": life + number / 1000}}
            try:
                answer = await self.service.http.post("/api/load-balancer/strategy", json=body)
            except httpx.HTTPError:
                return
            if answer.is_success:
                self.overrides["weight"] = life + number / 1000
            else:
                self.wrong.append(answer.text)

    async def call(self, life: int, task: int) -> None:
        for number in range(10**6):
            text = f"c{life}-{task}-{number}"
            try:
                answer = await self.service.call(text)
            except httpx.HTTPError:
                return
            if answer.status_code == 200 and f'"{text}"' in answer.text:
                self.calls += 1
            else:
                self.wrong.append(answer.text)


@pytest.mark.timeout(600)
async def test_ten_kills_in_ten_thousand_events_and_calls(tmp_path: Path) -> None:
    service = Service(tmp_path)
    worker, watcher = Worker(service), Watcher(service)
    rng = random.Random(5)
    watching: asyncio.Task[None] | None = None
    try:
        for life in range(1, KILLS + 1):
            await service.start()
            watching = watching or asyncio.create_task(watcher.watch())
            aim = life * EACH + rng.randrange(-EACH // 4, EACH // 4)
            async with asyncio.TaskGroup() as tasks:
                for task in range(4):
                    tasks.create_task(worker.change(life, task))
                    tasks.create_task(worker.call(life, task))
                tasks.create_task(worker.edit(life))
                await until(lambda aim=aim: worker.done >= aim, lambda: str(worker.done), guard=120)
                await service.kill()  # ends the tasks, too
        await service.start()
        kept = await service.events()
        assert [int(event["sequence"]) for event in kept] == list(range(1, len(kept) + 1))
        assert len({event["id"] for event in kept}) == len(kept)

        known = {each["name"] for each in (await service.get("/api/principals"))["principals"]}
        assert worker.acknowledged <= known
        told = {event["subject"] for event in kept if event["type"] == "access-changed"}
        assert worker.acknowledged <= told
        balance = await service.get("/api/load-balancer/status")
        weights = {server["id"]: server["weight"] for server in balance["servers"]}
        assert weights["s"] >= worker.overrides["weight"]
        assert worker.wrong == []

        await until(lambda: len(watcher.seen) >= len(kept), lambda: f"{len(watcher.seen)} of {len(kept)}")
        assert watcher.sequences == list(range(1, len(watcher.seen) + 1))
        assert watcher.seen[: len(kept)] == kept
        assert watcher.connections >= KILLS
        losses = [e for e in kept if e["type"] == "events-lost"]
        assert losses == []
        print(f"{len(kept)} events, {worker.calls} calls, {len(worker.acknowledged)} changes acknowledged")
    finally:
        if watching is not None:
            watching.cancel()
        await service.stop()
