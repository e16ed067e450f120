"""What `fairlead top` shows, worked out from two looks at the running fleet. Pure.

Counters only grow, so a rate is their difference over the time between the looks, which is taken from the
service's own clock (its uptime): how long the polls took does not matter. What was not there before counts
from nought. A counter or a clock that went back means that the service was started anew: no rate then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Any

from fairlead.orchestrator.metrics import quantile

Json = Mapping[str, Any]
_NO_CALLS: Json = {"requests": 0, "errors": 0}


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: what REST answered.

    `fleet` is that of /api/servers, `summary` that of /api/metrics/summary, `breakers` the list of
    /api/circuit-breakers.
    """

    fleet: Json
    summary: Json
    breakers: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls and errors per second, None where that is not known yet; percentiles in s, None without calls."""

    calls_per_second: float | None
    errors_per_second: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Breaker:
    """`retry_after`: seconds until an open one is tried again."""

    state: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """`state` is the lifecycle's, or what checks say of an instance that is ready but not healthy."""

    id: str
    state: str
    ready: bool
    in_rotation: bool
    in_flight: int
    calls_per_second: float | None
    breaker: Breaker
    cpu_cores: float | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """CPU and memory are those of its instances, None where none is known."""

    id: str
    state: str
    ready: int
    wanted: int
    in_flight: int
    waiting: int
    traffic: Traffic
    breaker: Breaker
    cpu_cores: float | None
    memory_bytes: int | None
    instances: tuple[InstanceRow, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The fleet at one moment. `latency_of` says what the percentiles are of: `interval` or `start`."""

    generation: int
    sessions: int | None
    in_flight: int
    traffic: Traffic
    latency_of: str
    servers: tuple[ServerRow, ...]


def frame(before: Sample | None, now: Sample) -> Frame:
    """What the looks tell; without one before there are no rates, and percentiles are since the start."""
    if before is not None and now.summary["uptimeSeconds"] <= before.summary["uptimeSeconds"]:
        before = None
    span = _Span(before, now)
    servers = tuple(_server_row(server, span) for server in now.fleet["servers"])
    return Frame(
        generation=now.fleet["generation"],
        sessions=now.summary.get("sessions"),
        in_flight=sum(server.in_flight for server in servers),
        traffic=span.traffic(before.summary if before else None, now.summary),
        latency_of="interval" if before is not None and "latencyCounts" in now.summary else "start",
        servers=servers,
    )


def ordered(rows: Iterable[ServerRow], key: str) -> tuple[ServerRow, ...]:
    """By `calls`, `cpu` or `memory` (the most first; equals as they were) or by `name`."""
    return tuple(sorted(rows, key=_KEYS[key]))


def matching(rows: Iterable[ServerRow], text: str) -> tuple[ServerRow, ...]:
    """Those whose name contains the text, in whatever case."""
    return tuple(row for row in rows if text.lower() in row.id.lower())


_KEYS: dict[str, Callable[[ServerRow], Any]] = {
    "calls": lambda row: -(row.traffic.calls_per_second or 0),
    "cpu": lambda row: -(row.cpu_cores or 0),
    "memory": lambda row: -(row.memory_bytes or 0),
    "name": lambda row: row.id,
}
SORT_KEYS = tuple(_KEYS)


class _Span:
    """The time between two looks, and what was counted in it."""

    def __init__(self, before: Sample | None, now: Sample) -> None:
        self._seconds = now.summary["uptimeSeconds"] - before.summary["uptimeSeconds"] if before else 0.0
        self._known = before is not None
        self._now = now.summary["servers"]
        self._before = before.summary["servers"] if before else {}
        self._instance_calls = {
            instance["id"]: instance["callsTotal"]
            for server in (before.fleet["servers"] if before else ())
            for instance in server["instances"]
        }
        self.breakers = {breaker["id"]: breaker for breaker in now.breakers}

    def server(self, server_id: str) -> Traffic:
        before = self._before.get(server_id, _NO_CALLS) if self._known else None
        return self.traffic(before, self._now.get(server_id, _NO_CALLS))

    def traffic(self, before: Json | None, now: Json) -> Traffic:
        """Of two summaries of the same calls."""
        then = before or {}
        p50, p95, p99 = _percentiles(before, now)
        return Traffic(
            calls_per_second=self._rate(then.get("requests"), now["requests"]),
            errors_per_second=self._rate(then.get("errors"), now["errors"]),
            p50=p50,
            p95=p95,
            p99=p99,
        )

    def instance(self, instance: Json) -> float | None:
        before = self._instance_calls.get(instance["id"], 0) if self._known else None
        return self._rate(before, instance["callsTotal"])

    def _rate(self, before: int | None, now: int) -> float | None:
        return None if before is None or now < before else (now - before) / self._seconds


def _percentiles(before: Json | None, now: Json) -> tuple[float | None, ...]:
    counts = now.get("latencyCounts")
    if before is None or counts is None:
        return tuple(now.get(f"{name}Seconds") for name in ("p50", "p95", "p99"))
    added = [*map(sub, counts, before.get("latencyCounts") or [0] * len(counts))]
    return tuple(quantile(added, share) for share in (0.50, 0.95, 0.99))


def _server_row(server: Json, span: _Span) -> ServerRow:
    instances = tuple(_instance_row(instance, span) for instance in server["instances"])
    cores = [row.cpu_cores for row in instances if row.cpu_cores is not None]
    memory = [row.memory_bytes for row in instances if row.memory_bytes is not None]
    return ServerRow(
        id=server["id"],
        state=server["state"],
        ready=sum(row.ready for row in instances),
        wanted=server["wantedInstances"],
        in_flight=sum(row.in_flight for row in instances),
        waiting=server["callsWaiting"],
        traffic=span.server(server["id"]),
        breaker=_breaker(server, span),
        cpu_cores=sum(cores) if cores else None,
        memory_bytes=sum(memory) if memory else None,
        instances=instances,
    )


def _instance_row(instance: Json, span: _Span) -> InstanceRow:
    state, health = instance["state"], instance["health"]
    return InstanceRow(
        id=instance["id"],
        state=health if state == "ready" and health != "healthy" else state,
        ready=state == "ready",
        in_rotation=instance["inRotation"],
        in_flight=instance["callsInFlight"],
        calls_per_second=span.instance(instance),
        breaker=_breaker(instance, span),
        cpu_cores=instance["cpuCores"],
        memory_bytes=instance["memoryBytes"],
    )


def _breaker(whose: Json, span: _Span) -> Breaker:
    """As the list of breakers has it; one that is not in it yet, as its server or instance says."""
    status = span.breakers.get(whose["id"])
    return Breaker(whose["breaker"]) if status is None else Breaker(status["state"], status["retryAfter"])
