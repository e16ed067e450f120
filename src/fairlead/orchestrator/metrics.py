"""What is counted, and how Prometheus and people see it.

The hot path only adds to plain integers: whoever serves a server's calls keeps the `CallStats` of each
method and records into it. Nothing is formatted, locked or looked up there. Prometheus' families are built
anew from those numbers at every scrape: `snapshot` is taken in the event loop, but building and writing it
out takes half a second for a thousand servers, so that may happen in another thread. What it then reads are
single integers and copies of dicts; a call that ends meanwhile is in one family and not yet in the next, no
more. Label values are bounded: servers come from the fleet file, methods that MCP does not know count as
`other`, routes are templates.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import add
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from fairlead.kit.metric_families import (
    BOUNDS,
    OTHER,
    Latency,
    ServiceMetrics,
    counter,
    histogram,
    value,
)
from fairlead.model.reports import BreakerStatus
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.fleet_metrics import infrastructure

_MCP_METHODS: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "subscriptions/listen", "completion/complete"),
        *("logging/setLevel", "tools/list", "tools/call", "prompts/list", "prompts/get"),
        *("resources/list", "resources/templates/list", "resources/read"),
        *("resources/subscribe", "resources/unsubscribe"),
        *("tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result"),
        *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
        "notifications/roots/list_changed",
    }
)
REPLAYED, NOT_REPLAYED = "replayed", "refused"
PASSED, NOT_PASSED = "passed", "failed"


class Outcome(IntEnum):
    """How a call ended."""

    OK = 0
    TOOL_ERROR = 1  # a result with isError
    RPC_ERROR = 2
    UPSTREAM_FAILED = 3  # the instance died or could not be reached
    TIMEOUT = 4
    CANCELLED = 5
    REFUSED = 6  # by the gateway, before the server saw it


WORDS: Final = tuple(outcome.name.lower() for outcome in Outcome)
"""By outcome, as clients know them."""


class CallStats:
    """The calls of one method of one server. `record` is for the hot path."""

    __slots__ = ("latency", "outcomes")

    def __init__(self) -> None:
        self.outcomes = [0] * len(Outcome)
        self.latency = Latency()

    def record(self, seconds: float, outcome: Outcome) -> None:
        """Count a call that took `seconds`."""
        self.outcomes[outcome] += 1
        latency = self.latency
        latency.counts[bisect_left(BOUNDS, seconds)] += 1
        latency.seconds += seconds

    def __repr__(self) -> str:
        counted = ", ".join(f"{o.name.lower()}={self.outcomes[o]}" for o in Outcome if self.outcomes[o])
        return f"CallStats({counted})"


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds below which `share` of the calls stayed, read off the buckets; None without any call.

    Within a bucket the calls count as evenly spread; what lies over the last bound counts as that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for index, bound in enumerate(BOUNDS):
        count = counts[index]
        if count and below + count >= rank:
            start = BOUNDS[index - 1] if index else 0.0
            return start + (bound - start) * (rank - below) / count
        below += count
    return BOUNDS[-1]


class MetricsCollector(ServiceMetrics):
    """All numbers of the orchestrator. `servers` and `breakers` give the present ones, in the event loop.

    The public integers are for whoever owns the thing counted: add and subtract directly.
    """

    def __init__(
        self,
        servers: Callable[[], list[ServerStatus]],
        breakers: Callable[[], list[BreakerStatus]] = list,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("orchestrator")
        self._servers = servers
        self._breakers = breakers
        self._clock = clock
        self._started = clock()
        self._calls: dict[tuple[str, str], CallStats] = {}
        self._replays: Counter[tuple[str, str]] = Counter()
        self._checks: Counter[tuple[str, str]] = Counter()
        self.connections = 0  # open now
        self.sessions = 0  # legacy MCP sessions, now
        self.streams = 0  # open event streams, now
        self.subscriptions = 0  # of clients to resources, now
        self.read_cache = {"hit": 0, "miss": 0}  # reads of modern, shared servers
        self.bytes_in = 0
        self.bytes_out = 0

    def __repr__(self) -> str:
        return f"MetricsCollector(calls={len(self._calls)}, refused={self._refused.total()})"

    def calls(self, server_id: str, method: str) -> CallStats:
        """Where calls of `method` to the server are recorded; the same object each time, so keep it."""
        key = (server_id, method if method in _MCP_METHODS else OTHER)
        stats = self._calls.get(key)
        if stats is None:
            stats = self._calls[key] = CallStats()
        return stats

    def replayed(self, server_id: str) -> None:
        """Count a call whose instance failed and that was sent to another one."""
        self._replays[server_id, REPLAYED] += 1

    def not_replayed(self, server_id: str) -> None:
        """Count a call whose instance failed and that was given up: not safe, or too many replays."""
        self._replays[server_id, NOT_REPLAYED] += 1

    def checked(self, server_id: str, passed: bool) -> None:
        """Count a health check of one of the server's instances."""
        self._checks[server_id, PASSED if passed else NOT_PASSED] += 1

    def snapshot(self) -> Collector:
        """What a scrape shows, for prometheus_client's encoders. Call it in the event loop."""
        return _Snapshot(self, self._servers(), self._breakers())

    def system(self) -> Iterator[Metric]:
        """The orchestrator's own process."""
        yield from self.process()
        yield counter("network_received_bytes", "Bytes of MCP requests.", [], [((), self.bytes_in)])
        yield counter("network_sent_bytes", "Bytes of MCP answers.", [], [((), self.bytes_out)])

    def application(self) -> Iterator[Metric]:
        """Requests, latency, errors."""
        calls = list(self._calls.items())
        key = ["server", "method"]
        ended = [
            ((*labels, outcome.name.lower()), stats.outcomes[outcome])
            for labels, stats in calls
            for outcome in Outcome
            if stats.outcomes[outcome]
        ]
        yield counter("requests", "Calls of servers by how they ended.", [*key, "outcome"], ended)
        latencies = [(labels, stats.latency) for labels, stats in calls]
        yield histogram("request_duration_seconds", "Time from a call to its answer.", key, latencies)
        by_outcome = ["server", "outcome"]
        replays = list(self._replays.items())
        yield counter("replays", "Calls of failed instances: replayed or refused.", by_outcome, replays)
        checks = list(self._checks.items())
        yield counter("health_checks", "Health checks of instances.", by_outcome, checks)
        yield from self.door()
        yield value("connections", "Open client connections.", self.connections)
        yield value("sessions", "Live MCP sessions of the legacy era.", self.sessions)
        yield value("streams", "Open event streams.", self.streams)
        cached = [((outcome,), count) for outcome, count in self.read_cache.items()]
        yield counter("read_cache", "Reads that a cached answer could serve.", ["outcome"], cached)
        yield value("resource_subscriptions", "Subscriptions of clients to resources.", self.subscriptions)

    def summary(self) -> dict[str, Any]:
        """The calls since the start, for people: totals, rates, and percentiles read off the buckets.

        In all, by server and by method. Keys are in camelCase; seconds are null where there was no call.
        """
        uptime = self._uptime()
        servers: dict[str, list[CallStats]] = {}
        methods: dict[str, list[CallStats]] = {}
        for (server, method), stats in self._calls.items():
            servers.setdefault(server, []).append(stats)
            methods.setdefault(method, []).append(stats)
        return {
            "uptimeSeconds": uptime,
            "sessions": self.sessions,
            **_summary(self._calls.values(), uptime),
            "refused": dict(self._refused),
            "servers": {server: _summary(stats, uptime) for server, stats in servers.items()},
            "methods": {method: _summary(stats, uptime) for method, stats in methods.items()},
        }

    def server_summary(self, server_id: str) -> dict[str, Any]:
        """As `summary`, of one server: its calls by method, and its replays and health checks by outcome.

        All zero for a server that had none, or that is not there.
        """
        uptime = self._uptime()
        methods = {method: stats for (server, method), stats in self._calls.items() if server == server_id}
        return {
            "uptimeSeconds": uptime,
            **_summary(methods.values(), uptime),
            "methods": {method: _summary([stats], uptime) for method, stats in methods.items()},
            "replays": {outcome: self._replays[server_id, outcome] for outcome in (REPLAYED, NOT_REPLAYED)},
            "healthChecks": {outcome: self._checks[server_id, outcome] for outcome in (PASSED, NOT_PASSED)},
        }

    def _uptime(self) -> float:
        return max(self._clock() - self._started, 1e-9)


@dataclass(frozen=True, slots=True)
class _Snapshot(Collector):
    """The fleet as it was, and the numbers as they are."""

    metrics: MetricsCollector
    servers: list[ServerStatus]
    breakers: list[BreakerStatus]

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics.system()
        yield from self.metrics.application()
        yield from infrastructure(self.servers, self.breakers)


def _summary(calls: Iterable[CallStats], uptime: float) -> dict[str, Any]:
    outcomes = [0] * len(Outcome)
    counts = [0] * (len(BOUNDS) + 1)
    seconds = 0.0
    for stats in calls:
        outcomes = [*map(add, outcomes, stats.outcomes)]
        counts = [*map(add, counts, stats.latency.counts)]
        seconds += stats.latency.seconds
    total = sum(outcomes)
    return {
        "requests": total,
        "errors": total - outcomes[Outcome.OK],
        "requestsPerMinute": total * 60.0 / uptime,
        "meanSeconds": seconds / total if total else None,
        "p50Seconds": quantile(counts, 0.50),
        "p95Seconds": quantile(counts, 0.95),
        "p99Seconds": quantile(counts, 0.99),
        "latencyCounts": counts,
        "outcomes": {outcome.name.lower(): outcomes[outcome] for outcome in Outcome},
    }
