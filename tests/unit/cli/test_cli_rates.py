"""What `fairlead top` makes of two looks at the fleet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.rates import Breaker, Frame, InstanceRow, Sample, ServerRow, frame, matching, ordered
from support.rest_service import server_status
from unit.cli.fleet_service import breaker

LATENCIES = {"p50Seconds": 0.002, "p95Seconds": 0.01, "p99Seconds": 0.05}


def calls(requests: int, errors: int = 0, **more: object) -> dict[str, object]:
    return {"requests": requests, "errors": errors, **LATENCIES, **more}


def instance(name: str, **more: object) -> dict[str, object]:
    return {"id": name, "state": "ready", "inRotation": True, **more}


def sample(
    uptime: float, total: dict[str, object], servers: dict[str, dict[str, object]] | None = None
) -> Sample:
    """A fleet of `git`, with two instances that took 100 calls, and `idle`, without any."""
    instances = [
        instance("git-1", callsInFlight=2, callsTotal=100, cpuCores=0.5, memoryBytes=1000),
        instance("git-2", callsInFlight=1, callsTotal=100, cpuCores=0.25, memoryBytes=500),
    ]
    git = server_status("git", instances=instances, wantedInstances=3, callsWaiting=4, breaker="open")
    fleet = {"generation": 3, "servers": [git, server_status("nap", "idle", "")]}
    summary = {"uptimeSeconds": uptime, "sessions": 5, **total, "servers": servers or {}}
    return Sample(
        fleet, summary, [breaker("git", state="half-open"), breaker("git-1", state="open", retryAfter=4.0)]
    )


def git(shown: Frame) -> ServerRow:
    return next(row for row in shown.servers if row.id == "git")


def test_rates_are_differences_over_the_services_own_time():
    before = sample(100.0, calls(1000, 10), {"git": calls(400, 1)})
    shown = frame(before, sample(102.0, calls(1300, 14), {"git": calls(500, 2), "nap": calls(8)}))
    assert (shown.traffic.calls_per_second, shown.traffic.errors_per_second) == (150.0, 2.0)
    assert (git(shown).traffic.calls_per_second, git(shown).traffic.errors_per_second) == (50.0, 0.5)
    assert shown.servers[1].traffic.calls_per_second == 4.0  # not in the summary before: no calls then
    assert (shown.generation, shown.sessions, shown.in_flight) == (3, 5, 3)


def test_what_is_of_now_needs_no_look_before():
    row = git(frame(None, sample(100.0, calls(0))))
    assert (row.state, row.ready, row.wanted, row.in_flight, row.waiting) == ("ready", 2, 3, 3, 4)
    assert (row.cpu_cores, row.memory_bytes) == (0.75, 1500)
    assert row.instances[0] == InstanceRow(
        "git-1", "ready", True, True, 2, None, Breaker("open", 4.0), 0.5, 1000
    )
    nap = frame(None, sample(100.0, calls(0))).servers[1]
    assert (nap.cpu_cores, nap.memory_bytes, nap.instances) == (None, None, ())


def test_without_a_look_before_there_are_no_rates():
    shown = frame(None, sample(100.0, calls(1000, 1)))
    assert shown.traffic.calls_per_second is shown.traffic.errors_per_second is None
    assert git(shown).traffic.calls_per_second is None
    assert git(shown).instances[0].calls_per_second is None


@pytest.mark.parametrize("uptime", [99.0, 100.0, 0.5])
def test_a_service_that_was_started_anew_has_no_rates_yet(uptime: float):
    shown = frame(sample(100.0, calls(1000)), sample(uptime, calls(2000)))
    assert shown.traffic.calls_per_second is None
    assert (shown.latency_of, shown.traffic.p50) == ("start", 0.002)


def test_a_counter_that_went_back_has_no_rate():
    shown = frame(sample(1.0, calls(1000, 5)), sample(60.0, calls(100, 6)))
    assert shown.traffic.calls_per_second is None
    assert shown.traffic.errors_per_second == pytest.approx(1 / 59)


def test_an_instances_rate():
    before, now = sample(100.0, calls(0)), sample(110.0, calls(0))
    instances = before.fleet["servers"][0]["instances"]
    instances[0]["callsTotal"] = 60
    del instances[1]  # it came up in between
    rows = git(frame(before, now)).instances
    assert [row.calls_per_second for row in rows] == [4.0, 10.0]


@pytest.mark.parametrize(
    ("state", "health", "shown"),
    [
        ("ready", "healthy", "ready"),
        ("ready", "suspect", "suspect"),
        ("ready", "unhealthy", "unhealthy"),
        ("draining", "unhealthy", "draining"),
        ("launching", "healthy", "launching"),
    ],
)
def test_an_instances_state_in_one_word(state: str, health: str, shown: str):
    now = sample(1.0, calls(0))
    now.fleet["servers"][0]["instances"][0].update(state=state, health=health, inRotation=False)
    row = git(frame(None, now))
    assert (row.instances[0].state, row.instances[0].in_rotation) == (shown, False)
    assert row.ready == (2 if state == "ready" else 1)


def test_a_breaker_that_is_not_listed_is_as_its_server_says():
    row = git(frame(None, sample(1.0, calls(0))))
    assert row.breaker == Breaker("half-open")
    assert row.instances[1].breaker == Breaker("closed")
    bare = sample(1.0, calls(0))
    assert git(frame(None, Sample(bare.fleet, bare.summary, []))).breaker == Breaker("open")


def buckets(**counts: int) -> list[int]:
    """Calls by bucket; b7 is the one that ends at 0.1 s."""
    listed = [0] * 17
    for name, count in counts.items():
        listed[int(name[1:])] = count
    return listed


def test_percentiles_are_of_the_interval_where_the_summary_has_buckets():
    before = sample(
        10.0, calls(100, latencyCounts=buckets(b16=100)), {"git": calls(0, latencyCounts=buckets())}
    )
    now = sample(
        11.0,
        calls(200, latencyCounts=buckets(b16=100, b7=100)),
        {"git": calls(0, latencyCounts=buckets()), "nap": calls(2, latencyCounts=buckets(b0=2))},
    )
    shown = frame(before, now)
    assert shown.latency_of == "interval"
    assert shown.traffic.p50 == pytest.approx(0.075)  # in the middle of the bucket from 0.05 to 0.1
    assert shown.traffic.p99 == pytest.approx(0.0995)
    assert git(shown).traffic.p50 is None  # no calls in the interval
    assert shown.servers[1].traffic.p50 == pytest.approx(0.00025)
    first = frame(None, now)
    assert (first.latency_of, first.traffic.p99) == ("start", 0.05)


def test_percentiles_are_since_the_start_where_it_has_none():
    shown = frame(sample(10.0, calls(1)), sample(11.0, calls(2), {"git": calls(2)}))
    assert shown.latency_of == "start"
    assert (shown.traffic.p50, shown.traffic.p95, shown.traffic.p99) == (0.002, 0.01, 0.05)
    assert git(shown).traffic.p95 == 0.01
    assert shown.servers[1].traffic.p50 is None


def row(
    name: str, rate: float | None = None, cores: float | None = None, memory: int | None = None
) -> ServerRow:
    template = frame(None, sample(1.0, calls(0))).servers[0]
    from dataclasses import replace

    traffic = replace(template.traffic, calls_per_second=rate)
    return replace(template, id=name, traffic=traffic, cpu_cores=cores, memory_bytes=memory)


ROWS = (row("b", 1.0, 0.1, 10), row("a", 1.0, None, 30), row("d", None, 0.3, None), row("c", 5.0, 0.2, 20))


@pytest.mark.parametrize(
    ("key", "order"), [("calls", "cbad"), ("cpu", "dcba"), ("memory", "acbd"), ("name", "abcd")]
)
def test_the_most_comes_first_and_equals_stay(key: str, order: str):
    assert "".join(row.id for row in ordered(ROWS, key)) == order


def test_a_filter_by_name():
    rows = (row("git-main"), row("docs"))
    assert [row.id for row in matching(rows, "GIT")] == ["git-main"]
    assert matching(rows, "") == rows
    assert matching(rows, "x") == ()


@given(
    before=st.integers(0, 10**9),
    added=st.integers(0, 10**9),
    start=st.floats(0.001, 1e9),
    seconds=st.floats(0.5, 3600),
)
def test_a_rate_times_the_time_is_what_was_added(before: int, added: int, start: float, seconds: float):
    shown = frame(sample(start, calls(before)), sample(start + seconds, calls(before + added)))
    rate = shown.traffic.calls_per_second
    assert rate is not None
    assert rate * (start + seconds - start) == pytest.approx(added)
