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
from itertools import accumulate
from operator import add
from typing import Any, Final

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead import __version__
from fairlead.model.status import ServerState, ServerStatus

BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the latency buckets, s."""

_EDGES: Final = (*map(str, BOUNDS), "+Inf")
_HTTP_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
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
OTHER: Final = "other"


class Outcome(IntEnum):
    """How a call ended."""

    OK = 0
    TOOL_ERROR = 1  # a result with isError
    RPC_ERROR = 2
    UPSTREAM_FAILED = 3  # the instance died or could not be reached
    TIMEOUT = 4
    CANCELLED = 5
    REFUSED = 6  # by the gateway, before the server saw it


class Latency:
    """A histogram with fixed buckets: counts by bucket, and the sum of seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


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


class MetricsCollector:
    """All numbers of the orchestrator. `servers` gives the fleet's present state, in the event loop.

    The public integers are for whoever owns the thing counted: add and subtract directly.
    """

    def __init__(
        self, servers: Callable[[], list[ServerStatus]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._clock = clock
        self._started = clock()
        self._process = psutil.Process()
        self._calls: dict[tuple[str, str], CallStats] = {}
        self._refused: Counter[str] = Counter()
        self._http: Counter[tuple[str, str, str]] = Counter()
        self._http_latency: dict[str, Latency] = {}
        self.connections = 0  # open now
        self.sessions = 0  # legacy MCP sessions, now
        self.streams = 0  # open event streams, now
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

    def refused(self, reason: str) -> None:
        """Count a request that was refused at the door; `reason` is its problem's code."""
        self._refused[reason] += 1

    def http(self, route: str, method: str, *, status: int, seconds: float) -> None:
        """Count a request of the REST lane; `route` is the template, such as `/api/servers/{id}`."""
        self._http[(route, method if method in _HTTP_METHODS else OTHER, str(status))] += 1
        if (latency := self._http_latency.get(route)) is None:
            latency = self._http_latency[route] = Latency()
        latency.observe(seconds)

    def snapshot(self) -> Collector:
        """What a scrape shows, for prometheus_client's encoders. Call it in the event loop."""
        return _Snapshot(self, self._servers())

    def system(self) -> Iterator[Metric]:
        """The orchestrator's own process."""
        process = self._process
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            descriptors, created = process.num_fds(), process.create_time()
        yield _gauge("build_info", "Always 1; the label says what runs.", ["version"], [((__version__,), 1)])
        yield _counter(
            "process_cpu_seconds", "CPU time of the orchestrator.", [], [((), cpu.user + cpu.system)]
        )
        yield _value("process_resident_memory_bytes", "Resident memory of the orchestrator.", memory.rss)
        yield _value("process_open_fds", "Open file descriptors of the orchestrator.", descriptors)
        yield _value("process_start_time_seconds", "When the orchestrator started, Unix time.", created)
        yield _counter("network_received_bytes", "Bytes of MCP requests.", [], [((), self.bytes_in)])
        yield _counter("network_sent_bytes", "Bytes of MCP answers.", [], [((), self.bytes_out)])

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
        yield _counter("requests", "Calls of servers by how they ended.", [*key, "outcome"], ended)
        latencies = [(labels, stats.latency) for labels, stats in calls]
        yield _histogram("request_duration_seconds", "Time from a call to its answer.", key, latencies)
        reasons = [((reason,), count) for reason, count in list(self._refused.items())]
        yield _counter("refused", "Requests refused at the door.", ["reason"], reasons)
        yield _counter(
            "http_requests", "REST requests.", ["route", "method", "status"], list(self._http.items())
        )
        routes = [((route,), latency) for route, latency in list(self._http_latency.items())]
        yield _histogram("http_request_duration_seconds", "Time to a REST answer.", ["route"], routes)
        yield _value("connections", "Open client connections.", self.connections)
        yield _value("sessions", "Live MCP sessions of the legacy era.", self.sessions)
        yield _value("streams", "Open event streams.", self.streams)

    def summary(self) -> dict[str, Any]:
        """The calls since the start, for people: totals, rates, and percentiles read off the buckets.

        Keys are in camelCase; seconds are null where there was no call.
        """
        uptime = max(self._clock() - self._started, 1e-9)
        servers: dict[str, list[CallStats]] = {}
        for (server, _), stats in self._calls.items():
            servers.setdefault(server, []).append(stats)
        return {
            "uptimeSeconds": uptime,
            **_summary(self._calls.values(), uptime),
            "refused": dict(self._refused),
            "servers": {server: _summary(stats, uptime) for server, stats in servers.items()},
        }


@dataclass(frozen=True, slots=True)
class _Snapshot(Collector):
    """The fleet as it was, and the numbers as they are."""

    metrics: MetricsCollector
    servers: list[ServerStatus]

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics.system()
        yield from self.metrics.application()
        yield from _infrastructure(self.servers)


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
        "outcomes": {outcome.name.lower(): outcomes[outcome] for outcome in Outcome},
    }


def _infrastructure(servers: list[ServerStatus]) -> Iterator[Metric]:
    server = ["server"]
    states = [((s.id, state.value), int(s.state is state)) for s in servers for state in ServerState]
    yield _gauge("server_state", "1 for the state that a server is in.", [*server, "state"], states)
    counted = Counter((s.id, instance.state) for s in servers for instance in s.instances)
    yield _gauge("server_instances", "Instances by state.", [*server, "state"], counted.items())
    restarts = [((s.id,), s.restarts) for s in servers]
    yield _counter("server_restarts", "Starts of a server's instances after a failure.", server, restarts)
    weights = [((s.id,), s.weight) for s in servers]
    yield _gauge("server_weight", "Balancing weight.", server, weights)
    tools = [((s.id,), s.tools) for s in servers]
    yield _gauge("server_tools", "Tools that a server offers.", server, tools)
    instances = [((s.id, i.id), i) for s in servers for i in s.instances]
    label = ["server", "instance"]
    in_flight = [(key, i.calls_in_flight) for key, i in instances]
    yield _gauge("instance_calls_in_flight", "Calls that wait for an answer.", label, in_flight)
    taken = [(key, i.calls_total) for key, i in instances]
    yield _counter("instance_calls", "Calls that balancing gave to an instance.", label, taken)
    memory = [(key, i.memory_bytes) for key, i in instances if i.memory_bytes is not None]
    yield _gauge("instance_memory_bytes", "Resident memory of an instance's processes.", label, memory)


_Samples = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, text: str, labels: Sequence[str], samples: _Samples) -> Metric:
    family = GaugeMetricFamily(f"fairlead_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _value(name: str, text: str, value: float) -> Metric:
    return _gauge(name, text, [], [((), value)])


def _counter(name: str, text: str, labels: Sequence[str], samples: _Samples) -> Metric:
    family = CounterMetricFamily(f"fairlead_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Latency]]
) -> Metric:
    family = HistogramMetricFamily(f"fairlead_{name}", text, labels=labels)
    for values, latency in samples:
        buckets = list(zip(_EDGES, accumulate(latency.counts), strict=True))
        family.add_metric(values, buckets, latency.seconds)
    return family
