"""What the GitOps controller counts, for Prometheus.

Much of it is read off the events that the controller notes, so that each of them is counted where it is told
and nowhere else; what is so now (queue, sources, applications) is asked for at every scrape. Labels are
bounded: applications and sources come from configuration, all others from closed lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from fairlead.kit.keyed_queue import QueueStatistics
from fairlead.kit.metric_families import Latency, ServiceMetrics, counter, gauge, histogram, value
from fairlead.model.events import EventType

KEPT: Final = "claude_gitops_"
"""Of the metrics that dashboards know from before."""

BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds of the buckets for syncs, s."""

_NO_QUEUE: Final = QueueStatistics(0, 0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class ApplicationHealth:
    """`environment` and whether it is as Git says; `drift` counts its rows by kind and severity."""

    environment: str
    healthy: bool
    drift: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Readings:
    """What others know, asked in the event loop at each scrape."""

    applications: Callable[[], Mapping[str, ApplicationHealth]] = dict
    queue: Callable[[], QueueStatistics] = lambda: _NO_QUEUE
    source_ages: Callable[[], Mapping[str, float | None]] = dict
    """s since each was last seen to be as its remote, None if never."""
    git_operations: Callable[[], Mapping[tuple[str, str], int]] = dict
    """How often git was run, by operation and outcome."""


class MetricsExporter(ServiceMetrics):
    """Implements `ports.Recorder`, to count events."""

    def __init__(self, readings: Readings | None = None) -> None:
        super().__init__("GitOps controller")
        self._readings = readings or Readings()
        self._drift: Counter[tuple[str, str, str]] = Counter()
        self._deployments: Counter[tuple[str, str, str]] = Counter()
        self._changes: Counter[str] = Counter()
        self._syncs: dict[tuple[str, str], Latency] = {}

    def __repr__(self) -> str:
        return f"MetricsExporter(drift={self._drift.total()}, deployments={self._deployments.total()})"

    # -- what is counted ---------------------------------------------------------------------------------

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        said = {name: str(item) for name, item in data.items() if isinstance(item, str)}
        application = said.get("application", subject)
        if event_type is EventType.DRIFT_DETECTED:
            self._drift[application, said.get("kind", ""), said.get("severity", "")] += 1
        elif event_type is EventType.DEPLOYMENT_COMPLETED:
            environment = said.get("environment", "")
            self._deployments[application, environment, said.get("state", "")] += 1
        elif event_type is EventType.SYNC_COMPLETED:
            self._changes[application] += int(data.get("changed", 0))
            key = (application, said.get("outcome", ""))
            if (latency := self._syncs.get(key)) is None:
                latency = self._syncs[key] = Latency(BOUNDS)
            latency.observe(float(data.get("seconds", 0.0)))

    # -- what a scrape shows -----------------------------------------------------------------------------

    def snapshot(self) -> Collector:
        """What a scrape shows, for prometheus_client's encoders. Call it in the event loop."""
        ask = self._readings
        return _Snapshot(
            self,
            applications=dict(ask.applications()),
            queue=ask.queue(),
            source_ages=dict(ask.source_ages()),
            git_operations=dict(ask.git_operations()),
        )

    def counted(self) -> Iterator[Metric]:
        """What has happened since the start."""
        yield counter(
            "drift",
            "Drift that was detected.",
            ["application", "kind", "severity"],
            list(self._drift.items()),
            prefix=KEPT,
        )
        syncs = list(self._syncs.items())
        text = "Time from the start of a sync to its end."
        yield histogram("sync_duration_seconds", text, ["application", "outcome"], syncs, prefix=KEPT)
        labels = ["application", "environment", "state"]
        ended = list(self._deployments.items())
        yield counter("deployments", "Deployments that ended.", labels, ended, prefix=KEPT)
        changes = [((application,), count) for application, count in list(self._changes.items())]
        text = "Objects of targets that were changed."
        yield counter("config_changes", text, ["application"], changes, prefix=KEPT)


@dataclass(frozen=True, slots=True)
class _Snapshot(Collector):
    """What is so at one moment, and the numbers as they are."""

    metrics: MetricsExporter
    applications: Mapping[str, ApplicationHealth]
    queue: QueueStatistics
    source_ages: Mapping[str, float | None]
    git_operations: Mapping[tuple[str, str], int]

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics.process()
        yield from self.metrics.door()
        yield from self.metrics.counted()
        yield from self._now()

    def _now(self) -> Iterator[Metric]:
        named = self.applications.items()
        health = [((name, each.environment), int(each.healthy)) for name, each in named]
        text = "1 for an application that is as Git says, else 0."
        yield gauge("health_status", text, ["application", "environment"], health, prefix=KEPT)
        drift = [((name, *key), count) for name, each in named for key, count in each.drift.items()]
        text = "Places that are not as Git says now."
        yield gauge("gitops_drift", text, ["application", "kind", "severity"], drift)
        queue = self.queue
        states = {
            "waiting": queue.waiting,
            "working": queue.working,
            "later": queue.later,
            "failing": queue.failing,
        }
        samples = [((state,), count) for state, count in states.items()]
        yield gauge(
            "gitops_queue_depth", "Applications and sources, by what they wait for.", ["state"], samples
        )
        looked = [((), queue.done)]
        yield counter("gitops_looks", "Looks at applications and sources.", [], looked)
        text = "For how long the one that waits longest has waited."
        yield value("gitops_reconcile_lag_seconds", text, queue.lag)
        ages = [((name,), age) for name, age in self.source_ages.items() if age is not None]
        text = "Time since a source was last seen to be as its remote."
        yield gauge("gitops_source_age_seconds", text, ["source"], ages)
        ran = self.git_operations.items()
        yield counter("git_operations", "What git was run for.", ["operation", "outcome"], ran, prefix=KEPT)
