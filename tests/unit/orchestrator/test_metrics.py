from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fairlead.model.reports import BreakerScope, BreakerStatus
from fairlead.model.status import BreakerState, InstanceStatus, ServerState, ServerStatus, Standing
from fairlead.orchestrator.metrics import BOUNDS, CallStats, MetricsCollector, Outcome, quantile


def status(**members) -> ServerStatus:
    given = {
        "id": "a",
        "state": ServerState.READY,
        "message": "",
        "conditions": [],
        "instances": [],
        "source": "command:true",
        "sharing": "shared",
        "capabilities": [],
        "weight": 1.5,
    }
    return ServerStatus(**{**given, **members})


@pytest.fixture
def servers() -> list[ServerStatus]:
    return []


@pytest.fixture
def metrics(servers) -> MetricsCollector:
    return MetricsCollector(lambda: servers)


def breaker(server: str, breaker_id: str, state: BreakerState, opened: int) -> BreakerStatus:
    scope = BreakerScope.SERVER if breaker_id == server else BreakerScope.INSTANCE
    counts = {"calls": 9, "failures": 9, "slow": 0}
    return BreakerStatus(
        id=breaker_id, scope=scope, server=server, state=state, opened_total=opened, **counts
    )


def scrape(metrics: MetricsCollector) -> dict:
    """Every sample of a scrape, as Prometheus would read it (its strictest format and parser)."""
    encode, _ = choose_encoder("application/openmetrics-text;version=1.0.0")
    text = encode(metrics.snapshot()).decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    read = {(s.name, *sorted(s.labels.items())): s.value for s in samples}
    assert len(read) == len(samples)  # nothing twice
    return read


def test_calls_by_outcome_and_latency(metrics):
    stats = metrics.calls("a", "tools/call")
    for seconds, outcome in (
        (0.0004, Outcome.OK),
        (0.0005, Outcome.OK),
        (0.02, Outcome.TIMEOUT),
        (99, Outcome.OK),
    ):
        stats.record(seconds, outcome)
    read = scrape(metrics)
    labels = (("method", "tools/call"), ("server", "a"))

    def total(outcome: str) -> float | None:
        return read.get(("fairlead_requests_total", labels[0], ("outcome", outcome), labels[1]))

    assert (total("ok"), total("timeout"), total("rpc_error")) == (3, 1, None)
    buckets = {
        key[1][1]: value
        for key, value in read.items()
        if key[0] == "fairlead_request_duration_seconds_bucket"
    }
    assert buckets["0.0005"] == 2  # the bound itself belongs to its bucket
    assert buckets["0.01"] == 2
    assert buckets["0.025"] == 3
    assert buckets["60.0"] == 3
    assert buckets["+Inf"] == 4
    assert read["fairlead_request_duration_seconds_sum", *labels] == pytest.approx(99.0209)
    assert read["fairlead_request_duration_seconds_count", *labels] == 4


def test_the_same_stats_for_the_same_calls(metrics):
    assert metrics.calls("a", "ping") is metrics.calls("a", "ping")
    assert metrics.calls("a", "ping") is not metrics.calls("b", "ping")


def test_methods_that_mcp_does_not_know_share_one_label(metrics):
    assert metrics.calls("a", "evil\n1") is metrics.calls("a", "evil/2")
    metrics.calls("a", "evil/3").record(0.1, Outcome.RPC_ERROR)
    read = scrape(metrics)
    assert (
        read["fairlead_requests_total", ("method", "other"), ("outcome", "rpc_error"), ("server", "a")] == 1
    )


def test_rest_methods_are_bounded_too(metrics):
    for number in range(50):
        metrics.http("/x", f"M{number}", status=405, seconds=0.001)
    read = scrape(metrics)
    assert read["fairlead_http_requests_total", ("method", "other"), ("route", "/x"), ("status", "405")] == 50


def test_refusals_and_gauges(metrics):
    metrics.refused("foreign-host")
    metrics.refused("foreign-host")
    metrics.connections += 3
    metrics.sessions += 2
    metrics.streams += 1
    metrics.bytes_in += 10
    metrics.bytes_out += 20
    read = scrape(metrics)
    assert read["fairlead_refused_total", ("reason", "foreign-host")] == 2
    assert [read[(f"fairlead_{name}",)] for name in ("connections", "sessions", "streams")] == [3, 2, 1]
    assert read[("fairlead_network_received_bytes_total",)] == 10
    assert read[("fairlead_network_sent_bytes_total",)] == 20


def test_the_process(metrics):
    read = scrape(metrics)
    assert read[("fairlead_process_cpu_seconds_total",)] > 0
    assert read[("fairlead_process_resident_memory_bytes",)] > 10**6
    assert read[("fairlead_process_open_fds",)] >= 3
    assert read[("fairlead_process_start_time_seconds",)] > 1.7e9


def test_the_fleet_at_scrape_time(metrics, servers):
    servers.append(
        status(
            restarts=4,
            tools=14,
            instances=[
                InstanceStatus(id="a-1", state="ready", calls_in_flight=2, calls_total=9, memory_bytes=100),
                InstanceStatus(id="a-2", state="ready", calls_in_flight=1),
                InstanceStatus(id="a-3", state="starting"),
            ],
        )
    )
    servers.append(status(id="b", state=ServerState.FAILED))
    read = scrape(metrics)
    states = {
        (s, state): read["fairlead_server_state", ("server", s), ("state", state)]
        for s in "ab"
        for state in ServerState
    }
    assert {key for key, value in states.items() if value == 1} == {("a", "ready"), ("b", "failed")}
    assert len(states) == 2 * len(ServerState)
    a = ("server", "a")
    assert read["fairlead_server_instances", a, ("state", "ready")] == 2
    assert read["fairlead_server_instances", a, ("state", "starting")] == 1
    assert read["fairlead_server_restarts_total", a] == 4
    assert read["fairlead_server_tools", a] == 14
    assert read["fairlead_server_weight", a] == 1.5
    assert read["fairlead_instance_calls_in_flight", ("instance", "a-1"), a] == 2
    assert read["fairlead_instance_calls_total", ("instance", "a-1"), a] == 9
    assert read["fairlead_instance_memory_bytes", ("instance", "a-1"), a] == 100
    assert ("fairlead_instance_memory_bytes", ("instance", "a-2"), a) not in read
    servers.clear()
    assert not [key for key in scrape(metrics) if key[0].startswith(("fairlead_server", "fairlead_instance"))]


def test_balancing_and_scaling_at_scrape_time(metrics, servers):
    instances = [
        InstanceStatus(id="a-1", state="ready", in_rotation=True, cpu_cores=0.25),
        InstanceStatus(id="a-2", state="ready", in_rotation=True, cpu_cores=0.0, health=Standing.SUSPECT),
        InstanceStatus(id="a-3", state="ready", health=Standing.UNHEALTHY),
    ]
    servers.append(status(instances=instances, wanted_instances=4, calls_waiting=5, panicking=True))
    servers.append(status(id="b", state=ServerState.IDLE))
    read = scrape(metrics)

    def server(name: str) -> list[float]:
        return [read[f"fairlead_server_{name}", ("server", id_)] for id_ in "ab"]

    assert server("instances_in_rotation") == [2, 0]
    assert server("wanted_instances") == [4, 0]
    assert server("calls_waiting") == [5, 0]
    assert server("panicking") == [1, 0]
    a = ("server", "a")
    assert read["fairlead_instance_cpu_cores", ("instance", "a-1"), a] == 0.25
    assert read["fairlead_instance_cpu_cores", ("instance", "a-2"), a] == 0
    assert ("fairlead_instance_cpu_cores", ("instance", "a-3"), a) not in read
    health = {key[1:]: value for key, value in read.items() if key[0] == "fairlead_instance_health"}
    assert len(health) == 3 * len(Standing)
    assert {(key[0][1], key[2][1]) for key, value in health.items() if value} == {
        ("a-1", "healthy"),
        ("a-2", "suspect"),
        ("a-3", "unhealthy"),
    }


def test_breakers_at_scrape_time():
    present = [
        breaker("a", "a", BreakerState.CLOSED, 0),
        breaker("a", "a-1", BreakerState.OPEN, 3),
        breaker("b", "b", BreakerState.HALF_OPEN, 1),
    ]
    read = scrape(MetricsCollector(list, lambda: present))
    states = {key[1:]: value for key, value in read.items() if key[0] == "fairlead_breaker_state"}
    assert len(states) == 3 * len(BreakerState)
    assert {tuple(text for _, text in key) for key, value in states.items() if value} == {
        ("a", "a", "closed"),
        ("a-1", "a", "open"),
        ("b", "b", "half-open"),
    }
    assert read["fairlead_breaker_opened_total", ("breaker", "a-1"), ("server", "a")] == 3


def test_replays_and_health_checks(metrics):
    metrics.replayed("a")
    metrics.replayed("a")
    metrics.not_replayed("a")
    metrics.replayed("b")
    for passed in (True, True, False):
        metrics.checked("a", passed)
    read = scrape(metrics)

    def total(name: str, outcome: str, server: str = "a") -> float | None:
        return read.get((f"fairlead_{name}_total", ("outcome", outcome), ("server", server)))

    assert (total("replays", "replayed"), total("replays", "refused")) == (2, 1)
    assert (total("replays", "replayed", "b"), total("replays", "refused", "b")) == (1, None)
    assert (total("health_checks", "passed"), total("health_checks", "failed")) == (2, 1)


def test_every_name_has_the_prefix_and_help(metrics):
    for family in metrics.snapshot().collect():
        assert family.name.startswith("fairlead_")
        assert family.documentation.endswith(".")


def test_a_snapshot_may_be_read_while_new_calls_appear(metrics):
    """As happens when it is written out in a thread."""

    class Meddling(list[int]):
        def __getitem__(self, index):
            metrics.calls(f"s{index}", "ping")
            return super().__getitem__(index)

    metrics.calls("a", "ping").outcomes = Meddling([1] * len(Outcome))
    for family in metrics.snapshot().collect():
        metrics.refused(family.name)
        metrics.http(family.name, "GET", status=200, seconds=0.1)


def test_summary():
    now = iter((100.0, 160.0))
    metrics = MetricsCollector(list, clock=now.__next__)
    for _ in range(98):
        metrics.calls("a", "tools/call").record(0.002, Outcome.OK)
    metrics.calls("a", "tools/list").record(0.7, Outcome.TOOL_ERROR)
    metrics.calls("b", "ping").record(70.0, Outcome.TIMEOUT)
    metrics.refused("missing-token")
    summary = metrics.summary()
    assert summary["uptimeSeconds"] == 60.0
    assert (summary["requests"], summary["errors"], summary["requestsPerMinute"]) == (100, 2, 100.0)
    assert summary["meanSeconds"] == pytest.approx((98 * 0.002 + 70.7) / 100)
    assert 0.001 <= summary["p50Seconds"] <= 0.0025
    assert 0.5 <= summary["p99Seconds"] <= 1.0
    assert summary["outcomes"]["timeout"] == 1
    assert summary["refused"] == {"missing-token": 1}
    assert {server: s["requests"] for server, s in summary["servers"].items()} == {"a": 99, "b": 1}
    assert summary["servers"]["b"]["p50Seconds"] == 60.0
    methods = {method: s["requests"] for method, s in summary["methods"].items()}
    assert methods == {"tools/call": 98, "tools/list": 1, "ping": 1}


def test_summary_of_one_server():
    now = iter((0.0, 120.0))
    metrics = MetricsCollector(list, clock=now.__next__)
    metrics.calls("a", "tools/call").record(0.002, Outcome.OK)
    metrics.calls("a", "tools/list").record(0.7, Outcome.TOOL_ERROR)
    metrics.calls("b", "ping").record(70.0, Outcome.TIMEOUT)
    metrics.replayed("a")
    metrics.not_replayed("b")
    metrics.checked("a", False)
    summary = metrics.server_summary("a")
    assert (summary["uptimeSeconds"], summary["requestsPerMinute"]) == (120.0, 1.0)
    assert (summary["requests"], summary["errors"], summary["outcomes"]["tool_error"]) == (2, 1, 1)
    assert {method: s["errors"] for method, s in summary["methods"].items()} == {
        "tools/call": 0,
        "tools/list": 1,
    }
    assert summary["replays"] == {"replayed": 1, "refused": 0}
    assert summary["healthChecks"] == {"passed": 0, "failed": 1}


def test_summary_of_a_server_that_is_not_there(metrics):
    summary = metrics.server_summary("nope")
    assert (summary["requests"], summary["methods"]) == (0, {})
    assert "nope" not in str(metrics.summary())
    assert not [key for key in scrape(metrics) if ("server", "nope") in key]


def test_summary_of_nothing():
    summary = MetricsCollector(list, clock=lambda: 5.0).summary()
    assert (summary["requests"], summary["meanSeconds"], summary["p99Seconds"]) == (0, None, None)
    assert summary["requestsPerMinute"] == 0


@given(st.lists(st.floats(1e-6, 59.0), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(durations, share):
    stats = CallStats()
    for seconds in durations:
        stats.record(seconds, Outcome.OK)
    exact = sorted(durations)[max(0, -int(-share * len(durations) // 1) - 1)]
    lower = max((bound for bound in BOUNDS if bound < exact), default=0.0)
    upper = min(bound for bound in BOUNDS if bound >= exact)
    found = quantile(stats.latency.counts, share)
    assert found is not None
    assert lower <= found <= upper


def test_reprs(metrics):
    stats = metrics.calls("a", "ping")
    stats.record(1, Outcome.TIMEOUT)
    assert repr(stats) == "CallStats(timeout=1)"
    assert repr(metrics) == "MetricsCollector(calls=1, refused=0)"
