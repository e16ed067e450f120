"""The controller's numbers, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.gitops.metrics import ApplicationHealth, MetricsExporter, Readings
from fairlead.kit.keyed_queue import QueueStatistics
from fairlead.model.events import EventType

APPLICATIONS = {
    "tools": ApplicationHealth("production", False, {("configuration", "high"): 2}),
    "files": ApplicationHealth("development", True, {}),
}


def exporter() -> MetricsExporter:
    return MetricsExporter(
        Readings(
            lambda: APPLICATIONS,
            queue=lambda: QueueStatistics(3, 1, 5, 2, 1.5),
            source_ages=lambda: {"main": 12.0, "never": None},
            git_operations=lambda: {("fetch", "ok"): 3, ("push", "failed"): 1},
        )
    )


class Shown(dict[tuple[str, frozenset[str]], float]):
    """Samples by name and label values, in any order."""

    def __missing__(self, key: tuple[str, ...]) -> float:
        name, *values = key
        return self.get((name, frozenset(values)), -1.0)


def shown(metrics: MetricsExporter) -> Shown:
    text = generate_latest(metrics.snapshot()).decode()
    return Shown(
        {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def test_the_names_that_dashboards_know_are_there():
    metrics = exporter()
    drift = {"application": "tools", "kind": "configuration", "severity": "high", "state": "open"}
    for _ in range(3):
        metrics.note(EventType.DRIFT_DETECTED, "tools", drift)
    ended = {"application": "tools", "environment": "production", "state": "rolled-back"}
    metrics.note(EventType.DEPLOYMENT_COMPLETED, "tools", ended)
    metrics.note(EventType.CONFIG_CHANGED, "fleet", {"generation": 1})
    for seconds, changed in ((0.3, 3), (1000.0, 1)):
        synced = {"application": "tools", "outcome": "succeeded", "changed": changed, "seconds": seconds}
        metrics.note(EventType.SYNC_COMPLETED, "tools", synced)
    found = shown(metrics)
    assert found["claude_gitops_drift_total", "tools", "configuration", "high"] == 3
    assert found["claude_gitops_deployments_total", "tools", "production", "rolled-back"] == 1
    bucket = ("claude_gitops_sync_duration_seconds_bucket", "tools", "succeeded")
    assert [found[(*bucket, edge)] for edge in ("0.25", "0.5", "900.0", "+Inf")] == [0, 1, 1, 2]
    assert found["claude_gitops_sync_duration_seconds_sum", "tools", "succeeded"] == 1000.3
    assert found["claude_gitops_health_status", "tools", "production"] == 0
    assert found["claude_gitops_health_status", "files", "development"] == 1
    assert found["claude_gitops_config_changes_total", "tools"] == 4
    assert found["claude_gitops_git_operations_total", "fetch", "ok"] == 3
    assert found["claude_gitops_git_operations_total", "push", "failed"] == 1
    assert repr(metrics) == "MetricsExporter(drift=3, deployments=1)"


def test_what_is_so_now():
    found = shown(exporter())
    states = ("waiting", "working", "later", "failing")
    assert [found["fairlead_gitops_queue_depth", state] for state in states] == [3, 1, 5, 2]
    assert found[("fairlead_gitops_reconcile_lag_seconds",)] == 1.5
    assert found["fairlead_gitops_source_age_seconds", "main"] == 12.0
    assert found["fairlead_gitops_source_age_seconds", "never"] == -1, "there is none"
    assert found["fairlead_gitops_drift", "tools", "configuration", "high"] == 2


def test_the_door_and_the_process_are_counted_as_in_every_service():
    metrics = MetricsExporter()
    metrics.http("/api/drift/status", "GET", status=200, seconds=0.002)
    metrics.http("/api/drift/status", "BREW", status=405, seconds=0.002)
    metrics.refused("missing-token")
    metrics.live_readers = lambda: 4
    found = shown(metrics)
    assert found["fairlead_http_requests_total", "/api/drift/status", "GET", "200"] == 1
    assert found["fairlead_http_requests_total", "/api/drift/status", "other", "405"] == 1
    assert found["fairlead_http_request_duration_seconds_count", "/api/drift/status"] == 2
    assert found["fairlead_refused_total", "missing-token"] == 1
    assert found[("fairlead_live_readers",)] == 4
    assert found[("fairlead_process_resident_memory_bytes",)] > 1_000_000
