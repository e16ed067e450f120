"""How Prometheus' families are made, and what every service counts.

Plain integers are added to where things happen; families are built anew from them at every scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from fairlead import __version__

BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the latency buckets, s."""

PREFIX: Final = "fairlead_"
OTHER: Final = "other"
_HTTP_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Samples = Iterable[tuple[Sequence[str], float]]
"""Label values, and the number that goes with them."""


class Latency:
    """A histogram with fixed buckets: counts by bucket, and the sum of seconds."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        """`bounds` are the upper ones, s, ascending."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds


def gauge(name: str, text: str, labels: Sequence[str], samples: Samples, *, prefix: str = PREFIX) -> Metric:
    family = GaugeMetricFamily(prefix + name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def value(name: str, text: str, number: float) -> Metric:
    """A gauge without labels."""
    return gauge(name, text, [], [((), number)])


def counter(name: str, text: str, labels: Sequence[str], samples: Samples, *, prefix: str = PREFIX) -> Metric:
    family = CounterMetricFamily(prefix + name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    samples: Iterable[tuple[Sequence[str], Latency]],
    *,
    prefix: str = PREFIX,
) -> Metric:
    family = HistogramMetricFamily(prefix + name, text, labels=labels)
    for values, latency in samples:
        edges = (*map(str, latency.bounds), "+Inf")
        family.add_metric(values, list(zip(edges, accumulate(latency.counts), strict=True)), latency.seconds)
    return family


class ServiceMetrics:
    """What every service counts of itself; `name` is how people call it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process = psutil.Process()
        self._refused: Counter[str] = Counter()
        self._http: Counter[tuple[str, str, str]] = Counter()
        self._http_latency: dict[str, Latency] = {}
        self.live_readers: Callable[[], int] = lambda: 0

    def refused(self, reason: str) -> None:
        """Count a request that was refused at the door; `reason` is its problem's code."""
        self._refused[reason] += 1

    def http(self, route: str, method: str, *, status: int, seconds: float) -> None:
        """Count a request of the REST lane; `route` is the template, such as `/api/servers/{id}`."""
        self._http[(route, method if method in _HTTP_METHODS else OTHER, str(status))] += 1
        if (latency := self._http_latency.get(route)) is None:
            latency = self._http_latency[route] = Latency()
        latency.observe(seconds)

    def process(self) -> Iterator[Metric]:
        """The service's own process."""
        process, name = self._process, self._name
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            descriptors, created = process.num_fds(), process.create_time()
        yield gauge("build_info", "Always 1; the label says what runs.", ["version"], [((__version__,), 1)])
        yield counter("process_cpu_seconds", f"CPU time of the {name}.", [], [((), cpu.user + cpu.system)])
        yield value("process_resident_memory_bytes", f"Resident memory of the {name}.", memory.rss)
        yield value("process_open_fds", f"Open file descriptors of the {name}.", descriptors)
        yield value("process_start_time_seconds", f"When the {name} started, Unix time.", created)

    def door(self) -> Iterator[Metric]:
        """REST, and who listens."""
        reasons = [((reason,), count) for reason, count in list(self._refused.items())]
        yield counter("refused", "Requests refused at the door.", ["reason"], reasons)
        yield counter(
            "http_requests", "REST requests.", ["route", "method", "status"], list(self._http.items())
        )
        routes = [((route,), latency) for route, latency in list(self._http_latency.items())]
        yield histogram("http_request_duration_seconds", "Time to a REST answer.", ["route"], routes)
        yield value("live_readers", "WebSockets and event streams that are open.", self.live_readers())
