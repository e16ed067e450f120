"""What happens becomes events that are kept and told, also while database or bus are away."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fairlead.events.feed import Subscription
from fairlead.model.event_data import DATA
from fairlead.model.events import EventType, StoredEvent
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.events import SqlEventLog
from support.servers import cuttable_proxy
from support.stack import Stack, light, running, until

GUARD = 60.0  # s
ONE = "/servers/a/mcp"
RECORDER = Path(__file__).parents[1] / "support" / "killed_recorder.py"


async def stored(stack: Stack) -> list[StoredEvent]:
    return await stack.system.kept.events.read(0, 10_000)


async def happened(stack: Stack, *types: EventType) -> list[StoredEvent]:
    return [each for each in await stored(stack) if each.event.type in types]


class Reader:
    """Reads a service's events from the first one on, in the background."""

    def __init__(self, subscription: Subscription) -> None:
        self.seen: list[StoredEvent] = []
        self._subscription = subscription
        self.task = asyncio.ensure_future(self._read())

    @classmethod
    async def of(cls, stack: Stack) -> Reader:
        return cls(await stack.system.kept.feed.follow(0))

    async def _read(self) -> None:
        async for event in self._subscription:
            self.seen += [event]

    @property
    def types(self) -> list[EventType]:
        return [each.event.type for each in self.seen]

    async def end(self) -> None:
        self._subscription.close()
        await self.task


def gapless(events: list[StoredEvent]) -> bool:
    return [each.sequence for each in events] == list(range(1, len(events) + 1))


async def test_a_service_keeps_what_happens_and_its_next_run_goes_on_with_the_number(tmp_path: Path) -> None:
    for run in (1, 2):
        async with running(tmp_path, {"a": light()}) as stack:
            assert (await stack.rest("POST", "/api/servers/a/restart")).status_code == 200
            for token in ("flt_wrong-token-0123456789", ""):
                answer = await stack.http.get(
                    f"{stack.url}/api/servers", headers={"authorization": f"Bearer {token}"} if token else {}
                )
                assert answer.status_code == 401
            answer = await stack.http.post(f"{stack.url}/mcp", headers={"authorization": "Bearer no"})
            assert answer.status_code == 401
            await stack.system.kept.journal.flush(GUARD)
            failed = (await happened(stack, EventType.AUTHENTICATION_FAILED))[-2:]
            assert {each.event.data["problem"] for each in failed} == {"missing-token", "invalid-token"}
            assert {each.event.data["peer"] for each in failed} == {"127.0.0.1"}
        database = await Database.open(
            sqlite_url(tmp_path / "state" / "orchestrator.db"), service="orchestrator"
        )
        events = await SqlEventLog(database).read(0, 10_000)
        await database.close()
        assert gapless(events)
        types = [each.event.type for each in events]
        assert types[0] is EventType.SERVICE_STARTED
        assert types[-1] is EventType.SERVICE_STOPPED
        assert types.count(EventType.SERVICE_STARTED) == run
        assert types.count(EventType.CONFIG_CHANGED) == 1  # the second run found it as it was
        assert types.count(EventType.INSTANCE_READY) == 2 * run
        stops = types.count(EventType.INSTANCE_STOPPED)
        assert stops == 2 * run  # the last one by the shutdown itself
        for each in events:
            assert set(each.event.data) == DATA[each.event.type].__required_keys__
            assert each.event.source.startswith("urn:fairlead:orchestrator:")
            assert "wrong-token" not in repr(each)


async def test_an_instance_that_is_killed_and_a_change_of_the_fleet_are_events(tmp_path: Path) -> None:
    async with running(tmp_path, {"a": light()}) as stack:
        reader = await Reader.of(stack)
        await stack.modern(ONE).call("exit", code=1)
        await until(lambda: EventType.INSTANCE_LOST in reader.types)
        await stack.ready("a")
        edit = {"strategy": "round-robin"}
        assert (await stack.rest("POST", "/api/load-balancer/strategy", json=edit)).status_code == 200
        await until(lambda: reader.types.count(EventType.CONFIG_CHANGED) == 2)
        changed = [e.event.data for e in reader.seen if e.event.type is EventType.CONFIG_CHANGED]
        assert [each["generation"] for each in changed] == [1, 2]
        assert changed[0]["started"] == ["a"]
        assert changed[1]["by"] == "env"
        await reader.end()
        assert gapless(reader.seen)


@contextlib.asynccontextmanager
async def away_able(tmp_path: Path, **settings: SecretStr) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"a": light()}, settings=settings) as stack:
        await stack.system.kept.journal.flush(GUARD)
        yield stack


async def health(stack: Stack) -> dict[str, Any]:
    return (await stack.http.get(f"{stack.url}/health")).json()


@pytest.mark.parametrize("how", ["cut", "hang"])
async def test_while_the_database_is_away_calls_go_on_and_changes_wait(
    tmp_path: Path, postgres_url: str, how: str
) -> None:
    async with (
        cuttable_proxy(postgres_url) as proxy,
        away_able(tmp_path, database=SecretStr(proxy.url)) as stack,
    ):
        kept, client = stack.system.kept, stack.modern(ONE)
        reader = await Reader.of(stack)
        before = (await kept.events.bounds())[1]
        await until(lambda: len(reader.seen) == before)
        await (proxy.cut() if how == "cut" else asyncio.sleep(0, proxy.hang()))
        kept.journal.note(EventType.EVENTS_LOST, "probe", {})
        await until(lambda: not kept.database.available)
        for number in range(50):
            assert await client.text("echo", message=str(number))
        answer = await stack.rest("POST", "/api/servers/a/restart")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:fairlead:problem:store-unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await stack.rest("GET", "/api/servers")).status_code == 200
        assert await health(stack) | {"version": ""} == {
            "status": "degraded",
            "version": "",
            "away": ["store"],
        }
        info = (await stack.rest("GET", "/api/system/info")).json()
        assert info["away"]["store"]
        await until(lambda: kept.journal.statistics().waiting >= 2)  # the probe, and that it is degraded
        await proxy.heal()
        await until(lambda: kept.database.available)
        await until(lambda: EventType.SERVICE_RECOVERED in reader.types[before:])
        assert (await stack.rest("POST", "/api/servers/a/restart")).status_code == 200
        assert (await health(stack))["away"] == []
        assert await kept.journal.flush(GUARD) == 0
        events = await stored(stack)
        assert gapless(events)
        types = [each.event.type for each in events[before:]]
        assert types[0] is EventType.EVENTS_LOST  # the probe: what waited has kept its place
        assert types.count(EventType.SERVICE_DEGRADED) == types.count(EventType.SERVICE_RECOVERED) == 1
        await until(lambda: len(reader.seen) >= len(events))
        await reader.end()
        assert gapless(reader.seen)


async def test_a_start_without_the_database_and_its_coming_later(tmp_path: Path, postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        await proxy.cut()
        async with running(tmp_path, {"a": light()}, settings={"database": SecretStr(proxy.url)}) as stack:
            assert await stack.modern(ONE).text("echo", message="x")
            assert (await health(stack))["away"] == ["store"]
            await proxy.heal()
            await until(lambda: stack.system.kept.database.available)
            assert await stack.system.kept.journal.flush(GUARD) == 0
            events = await stored(stack)
            assert gapless(events)
            assert events[0].event.type is EventType.SERVICE_STARTED


async def test_a_stop_without_the_database_is_bounded(tmp_path: Path, postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        async with away_able(tmp_path, database=SecretStr(proxy.url)):
            await proxy.cut()
            stopping = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - stopping < 25


async def test_without_the_bus_all_goes_on(tmp_path: Path, valkey_url: str) -> None:
    async with (
        cuttable_proxy(valkey_url) as proxy,
        away_able(tmp_path, bus=SecretStr(proxy.url)) as stack,
    ):
        kept = stack.system.kept
        await until(lambda: kept.bus.connected)
        reader = await Reader.of(stack)
        await proxy.cut()
        await until(lambda: "bus" in kept.standing.away())
        assert (await stack.rest("POST", "/api/servers/a/restart")).status_code == 200
        assert (await health(stack))["away"] == ["bus"]
        await until(lambda: EventType.SERVICE_DEGRADED in reader.types)
        await proxy.heal()
        await until(lambda: EventType.SERVICE_RECOVERED in reader.types)
        await reader.end()
        assert gapless(reader.seen)


async def test_two_processes_tell_each_other(tmp_path: Path, postgres_url: str, valkey_url: str) -> None:
    key = "the-key-that-both-have-0123456789"
    settings = {
        name: SecretStr(v) for name, v in (("database", postgres_url), ("bus", valkey_url), ("key", key))
    }
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        running(tmp_path / "one", {"a": light()}, settings=settings) as one,
        running(tmp_path / "two", {"a": light()}, settings=settings) as two,
    ):
        readers = [await Reader.of(stack) for stack in (one, two)]
        for number in range(100):
            for name, stack in (("one", one), ("two", two)):
                stack.system.kept.journal.note(EventType.SERVER_SCALED, f"{name}-{number}", {})
        for stack in (one, two):
            await stack.system.kept.journal.settled()
        latest = (await one.system.kept.events.bounds())[1]
        await until(lambda: all(each.seen and each.seen[-1].sequence >= latest for each in readers))
        for reader in readers:
            await reader.end()
            assert gapless(reader.seen)
            told = [each.event.subject for each in reader.seen if each.event.type is EventType.SERVER_SCALED]
            for name in ("one", "two"):
                assert [each for each in told if each.startswith(name)] == [f"{name}-{n}" for n in range(100)]


async def test_what_was_acknowledged_survives_a_sigkill(tmp_path: Path) -> None:
    """Each run records events one after the other, says which are acknowledged, and is killed."""
    acknowledged: list[str] = []
    for run in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(RECORDER), str(tmp_path), str(run), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(GUARD):
            said = b"".join([await process.stdout.readline() for _ in range(25 + 7 * run)])
        process.kill()
        said += await process.stdout.read()
        acknowledged += said.decode().split("\n")[:-1]  # the last line may be cut off
        await process.wait()
    database = await Database.open(sqlite_url(tmp_path / "test.db"), service="test")
    events = await SqlEventLog(database).read(0, 100_000)
    await database.close()
    assert gapless(events)
    kept = [each.event.subject for each in events]
    assert len(set(kept)) == len(kept)
    assert set(acknowledged) <= set(kept)
    recorded = [int(each.partition("-")[2]) for each in kept if each.startswith("3-")]
    assert recorded == list(range(len(recorded)))
