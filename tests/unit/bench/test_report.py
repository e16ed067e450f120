import io
import json

import pytest
from bench.gitops import GitOps
from bench.latency import Latency
from bench.load import Load, Round
from bench.memory import Idle
from bench.recovery import Kill, Recovery
from bench.report import Report, Resident, marks, rows
from rich.console import Console


def one_round(speed, *, wrong=0, gateway_us=20.0):
    load = Load(seconds=1, calls=speed, p50_us=500, p99_us=900, wrong=wrong, refused=0, lost=0)
    return Round(load, gateway_us, server_us=2.0, wrk_us=10.0)


def rounds_of(fairlead, nginx, connections=32, name="Fairlead"):
    return {
        ("nginx", "HTTP", connections): [one_round(speed) for speed in nginx],
        (name, "stdio", connections): [one_round(speed) for speed in fairlead],
    }


def trial(ready_ms, *, wanted=None, failed=0, wrong=0, fault=""):
    kills = tuple(Kill(0.5, 3, 2, 4, ready, 50, 0, 0) for ready in ready_ms)
    example = "failed: HTTP 503" if failed else ""
    return Recovery(3, wanted or len(kills), kills, 1234, failed, wrong, example, fault)


GITOPS = GitOps(
    1000,
    commit_file_ms=(100.0, 200.0, 300.0),
    commit_fleet_ms=(1500.0,),
    edit_file_ms=(10.0, 600.0),
    edit_fleet_ms=(),
    idle_cpu_s=(0.5,),
    looks=(3, 3),
    resident_mib=120.0,
)


def report(found, **changes):
    values = {
        "made": "2026-11-22T00:00:00+00:00",
        "machine": {"cpus": 2, "load_average_before": 0.1},
        "versions": {},
        "rounds": 3,
        "seconds": 3,
        "calls": found,
        "checks": {},
        "failures": [],
        "latency": [Latency("direct", "stdio", 10, 70, 90, None, None)],
        "resident": [Resident("Fairlead", "stdio", 60.0, 61.0)],
        "idle": Idle(1024, start_mib=60, sessions_mib=64, streams_mib=74, closed_mib=65),
        "recovery": [trial([1234.5])],
        "gitops": GITOPS,
        "not_measured": {"supergateway": "[npm] is away"},
    }
    return Report(**(values | changes))


def test_a_row_holds_medians_and_the_ratio_of_the_same_rounds():
    _, row = rows(rounds_of([800, 300, 900], [1000, 400, 1000]))
    assert row.calls_per_second == 800
    assert row.ratio == 0.8
    assert row.rounds == (800, 300, 900)


def test_the_ratio_is_that_of_the_same_number_of_connections():
    found = rows(rounds_of([500], [1000], connections=1) | rounds_of([900], [1000], connections=32))
    assert {(row.contender, row.connections): row.ratio for row in found}["Fairlead", 1] == 0.5


def test_a_contender_that_missed_a_round_has_no_ratio():
    _, row = rows(rounds_of([800], [1000, 1000]))
    assert row.ratio is None


def test_a_row_without_a_gateway_has_no_gateway_cpu():
    [row] = rows({("direct", "HTTP", 1): [one_round(5, gateway_us=None)]})
    assert row.gateway_us is None


@pytest.mark.parametrize(
    ("name", "speed", "met"),
    [
        ("Fairlead", 700, True),
        ("Fairlead", 699, False),
        ("Fairlead, pool of 2", 800, True),
        ("Fairlead, pool of 2", 799, False),
    ],
)
def test_the_mark_is_a_share_of_nginx(name, speed, met):
    [mark] = marks(rows(rounds_of([speed], [1000], name=name)), [])
    assert (mark.found, mark.met) == (speed / 1000, met)


@pytest.mark.parametrize("found", [{}, rounds_of([700], []), rounds_of([700], [1000], connections=8)])
def test_a_mark_that_was_not_measured_is_not_claimed(found):
    assert marks(rows({key: values for key, values in found.items() if values}), []) == []
    assert marks([], [trial([], wanted=5)]) == []


@pytest.mark.parametrize(
    ("ready_ms", "wanted", "met"),
    [([200, 1049], 2, True), ([200, 1050], 2, False), ([200], 2, False)],
)
def test_the_mark_of_recovery_leaves_out_the_servers_own_start_and_wants_every_kill(ready_ms, wanted, met):
    [mark] = marks([], [trial(ready_ms, wanted=wanted)])
    assert (mark.found, mark.met) == (max(ready_ms) - 50, met)


def test_any_wrong_answer_is_a_fault():
    found = rows({("nginx", "HTTP", 8): [one_round(5), one_round(5, wrong=1)]})
    check = Load(1, 5, 1, 1, wrong=0, refused=2, lost=0, example="HTTP 429: slow down")
    [under_load, at_check, died] = report(found, checks={"fairlead": check}, failures=["it died"]).faults()
    assert died == "it died"
    assert under_load == "nginx to HTTP, 8 connections: 1 wrong, 0 refused, 0 lost"
    assert at_check.endswith("0 wrong, 2 refused, 0 lost HTTP 429: slow down")


def test_calls_that_a_kill_cost_and_kills_that_were_not_done_are_faults():
    lossy = trial([200], wanted=50, failed=2, wrong=1, fault="after 1 of 50 kills: it was too slow")
    assert report([], failures=[], recovery=[trial([200]), lossy]).faults() == [
        "recovery, pool of 3: after 1 of 50 kills: it was too slow",
        "recovery, pool of 3: 2 retry-safe calls failed, 1 answers wrong; failed: HTTP 503",
    ]


def test_the_document_is_json_with_mark_faults_and_what_each_session_costs():
    document = json.loads(json.dumps(report(rows(rounds_of([700], [1000]))).as_json()))
    assert [mark["found"] for mark in document["marks"][:2]] == [0.7, 1184.5]
    assert document["recovery"][0]["figures"]["replacement ready"]["p99_ms"] == 1234.5
    assert document["recovery"][0]["kills"][0]["own_start_ms"] == 50
    assert document["faults"] == []
    assert (document["idle"]["session_kib"], document["idle"]["stream_kib"]) == (4.0, 10.0)
    assert document["calls"][1]["contender"] == "Fairlead"


def test_the_tables_show_every_contender_and_what_was_not_measured():
    output = io.StringIO()
    report(rows(rounds_of([600], [1000]))).show(Console(file=output, width=130))
    shown = output.getvalue()
    for words in (
        "Fairlead",
        "0.600",
        "mark MISSED: 0.6 ",
        "mark MISSED: 1,184.5 ",
        "1,234.5",
        "supergateway: [npm] is away",
        "1,024 sessions",
        "10.00",
    ):
        assert words in shown
    assert "busy" not in shown


def test_a_busy_machine_is_told():
    output = io.StringIO()
    report([], machine={"cpus": 2, "load_average_before": 1.5}).show(Console(file=output, width=130))
    assert "The machine was busy before the run (load 1.5 on 2 CPUs)" in output.getvalue()


def test_the_marks_of_gitops_say_what_was_met_and_claim_nothing_that_was_not_measured():
    assert [(mark.what.partition(" (")[0], mark.found, mark.met) for mark in marks([], [], GITOPS)] == [
        ("commit to converged under 1,000 ms", 200.0, True),
        ("commit to converged under 1,000 ms", 1500.0, False),
        ("edit to drift-detected under 500 ms", 600.0, False),
        ("an idle pass over 1,000 under 1 s of CPU", 0.5, True),
        ("a commit that touches one application wakes one", 3.0, True),
    ]
    assert marks([], [], None) == []
