"""What the metrics were, minute by minute and hour by hour: rolled up into a store, and read back.

Once a minute the difference to the last time becomes rows: one for the service, one for each server that had
calls. Counters and latency buckets add up, over time and over nodes, so percentiles can be told of any span;
gauges keep their highest value. A row is written again as its hour goes on, and a start in the middle of it
takes up what the run before had written.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psutil
import structlog

from fairlead.kit.metric_families import BOUNDS
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector, quantile
from fairlead.ports import StoreAwayError, Trend, TrendStore

LOG: Final = structlog.get_logger("fairlead.trends")
MINUTE: Final = 60
HOUR: Final = 3600
MAX_WAITING: Final = 20_000  # rows, while the store is away
_BUCKET: Final = "b"  # b0, b1, ...: calls by how long they took
_GAUGES: Final = frozenset({"sessions", "connections", "memoryBytes", "readyInstances", "wantedInstances"})

Values = Mapping[str, float]


class _Place(NamedTuple):
    """Of a row."""

    at: float
    seconds: int
    server: str  # empty: the service


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in one step from `at` on; seconds are None where there was no call."""

    at: float
    requests: int
    errors: int
    mean_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    gauges: Values  # and further counters


def merged(parts: Iterable[Values]) -> dict[str, float]:
    """Spans as one: counters are added, of gauges the highest stays."""
    whole: dict[str, float] = {}
    for part in parts:
        for name, number in part.items():
            known = whole.get(name)
            if known is None:
                whole[name] = number
            else:
                whole[name] = max(known, number) if name in _GAUGES else known + number
    return whole


def since_then(before: Values, now: Values) -> dict[str, float]:
    """What two readings of counters have between them, without what is zero. Gauges are as they are now."""
    found = {
        name: number if name in _GAUGES else number - before.get(name, 0.0) for name, number in now.items()
    }
    return {name: number for name, number in found.items() if number}


def points(trends: Iterable[Trend], step: int) -> list[Point]:
    """The steps (s) in which something was rolled up, in order."""
    steps: dict[float, list[Values]] = {}
    for trend in trends:
        steps.setdefault(trend.at // step * step, []).append(trend.values)
    return [_point(at, merged(parts)) for at, parts in sorted(steps.items())]


def _point(at: float, values: dict[str, float]) -> Point:
    counts = [int(values.pop(f"{_BUCKET}{number}", 0)) for number in range(len(BOUNDS) + 1)]
    requests, seconds = int(values.pop("requests", 0)), values.pop("seconds", 0.0)
    return Point(
        at=at,
        requests=requests,
        errors=int(values.pop("errors", 0)),
        mean_seconds=seconds / requests if requests else None,
        p50_seconds=quantile(counts, 0.50),
        p95_seconds=quantile(counts, 0.95),
        p99_seconds=quantile(counts, 0.99),
        gauges=values,
    )


class Trends:
    """Of one process; `node` is its state folder's id, `clock` Unix time, s."""

    def __init__(
        self,
        metrics: MetricsCollector,
        servers: Callable[[], list[ServerStatus]],
        store: TrendStore,
        node: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._servers = servers
        self._store = store
        self._node = node
        self._clock = clock
        self._process = psutil.Process()
        self._begun = self._since = clock()
        self._before: dict[str, dict[str, float]] = {}
        self._rows: dict[_Place, dict[str, float]] = {}
        self._changed: set[_Place] = set()
        self._taken_up: set[_Place] = set()  # what an earlier run has written of them is in them
        self._before = self._totals()

    def __repr__(self) -> str:
        return f"<Trends rows={len(self._rows)} unwritten={len(self._changed)}>"

    async def follow(self) -> None:
        """Roll up at each full minute, until cancelled."""
        while True:
            now = self._clock()
            await asyncio.sleep(MINUTE - now % MINUTE + 0.01)
            await self.roll_up()

    async def roll_up(self) -> None:
        """Put what happened since the last time into rows, and write them. At the end, too."""
        since, self._since = self._since, self._clock()
        totals = self._totals()
        for server, total in totals.items():
            part = since_then(self._before.get(server, {}), total)
            if not server or part.get("requests"):
                self._add(server, part, since)
        self._before = totals
        try:
            await self._write()
        except StoreAwayError as away:
            LOG.debug("roll-ups wait", reason=str(away))
        self._forget(self._since)

    async def read(self, server: str, *, since: float, until: float, step: int) -> list[Point]:
        """Steps of `step` s (a multiple of a minute) of all nodes. Raises StoreAwayError.

        Whole hours are read as such; a long span is read in parts, so that it holds up nobody.
        """
        seconds = HOUR if step % HOUR == 0 else MINUTE
        found: list[Trend] = []
        start = since // step * step
        while start < until:
            end = min(until, start + 1000 * seconds)
            found += await self._store.read(server, since=start, until=end, seconds=seconds)
            start = end
        return points(found, step)

    def _add(self, server: str, part: Values, since: float) -> None:
        for seconds in (MINUTE, HOUR):
            place = _Place(since // seconds * seconds, seconds, server)
            if place not in self._rows and len(self._rows) >= MAX_WAITING:
                continue
            self._rows[place] = merged((self._rows.get(place, {}), part))
            self._changed.add(place)

    async def _write(self) -> None:
        for place in sorted(self._changed):
            if place.at < self._begun and place not in self._taken_up:
                await self._take_up(place)
        rows = [Trend(p.at, p.seconds, self._node, p.server, self._rows[p]) for p in sorted(self._changed)]
        await self._store.add(rows)
        self._changed.clear()

    async def _take_up(self, place: _Place) -> None:
        """A row that began before this run did: what is there of it belongs to it."""
        there = await self._store.read(
            place.server, since=place.at, until=place.at + place.seconds, seconds=place.seconds
        )
        mine = [trend.values for trend in there if trend.node == self._node]
        self._rows[place] = merged((self._rows[place], *mine))
        self._taken_up.add(place)

    def _forget(self, now: float) -> None:
        """Rows that are written and over."""
        over = [p for p in self._rows if p.at + p.seconds <= now and p not in self._changed]
        for place in over:
            del self._rows[place]
            self._taken_up.discard(place)

    def _totals(self) -> dict[str, dict[str, float]]:
        """All counters since the start, and the gauges of now; by server, and of the service under ""."""
        summary = self._metrics.summary()
        totals = {server: _numbers(calls) for server, calls in summary["servers"].items()}
        for status in self._servers():
            if status.id in totals:
                ready = sum(instance.state == "ready" for instance in status.instances)
                totals[status.id] |= {"readyInstances": ready, "wantedInstances": status.wanted_instances}
        usage = resource.getrusage(resource.RUSAGE_SELF)
        totals[""] = _numbers(summary) | {
            "refused": sum(summary["refused"].values()),
            "sessions": summary["sessions"],
            "connections": self._metrics.connections,
            "memoryBytes": self._process.memory_info().rss,
            "cpuSeconds": usage.ru_utime + usage.ru_stime,
        }
        return totals


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    requests = summary["requests"]
    counts = {f"{_BUCKET}{number}": count for number, count in enumerate(summary["latencyCounts"]) if count}
    seconds = (summary["meanSeconds"] or 0.0) * requests
    return {"requests": requests, "errors": summary["errors"], "seconds": seconds, **counts}
