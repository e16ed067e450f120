from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from fairlead.orchestrator.metrics import Outcome

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def values(families) -> dict:
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain; version=0.0.4", parse_text),
        ("text/plain", "text/plain; version=0.0.4", parse_text),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0", parse_text),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0", parse_openmetrics),
    ],
)
async def test_the_format_that_was_asked_for(http, behind, accept, media_type, parse):
    behind.metrics.calls("filesystem", "tools/call").record(0.01, Outcome.OK)
    answer = await http.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(f"{media_type}; charset=utf-8")
    seen = values(parse(answer.text))
    assert (
        seen["fairlead_requests_total", ("method", "tools/call"), ("outcome", "ok"), ("server", "filesystem")]
        == 1
    )
    assert seen["fairlead_server_state", ("server", "magic"), ("state", "blocked")] == 1


async def test_rest_requests_count(http, behind):
    await http.get("/api/servers/filesystem")
    await http.get("/api/servers/other")
    await http.get("/nowhere")
    await http.request("BREW", "/api/servers")
    seen = values(parse_text((await http.get("/metrics")).text))

    def count(route: str, method: str, status: int) -> float:
        labels = (("method", method), ("route", route), ("status", str(status)))
        return seen["fairlead_http_requests_total", *labels]

    assert count("/api/servers/{id}", "GET", 200) == 1
    assert count("/api/servers/{id}", "GET", 404) == 1
    assert count("none", "GET", 404) == 1
    assert count("/api/servers", "other", 405) == 1
    assert seen["fairlead_http_request_duration_seconds_count", ("route", "/api/servers/{id}")] == 2


async def test_refusals_count(http, stranger):
    await stranger.get("/api/servers")
    seen = values(parse_text((await http.get("/metrics")).text))
    assert seen["fairlead_refused_total", ("reason", "missing-token")] == 1
    assert seen["fairlead_http_requests_total", ("method", "GET"), ("route", "none"), ("status", "401")] == 1


async def test_metrics_need_a_token(stranger):
    assert (await stranger.get("/metrics")).status_code == 401


async def test_the_summary_of_all_servers(http, behind):
    behind.metrics.calls("filesystem", "tools/call").record(0.002, Outcome.OK)
    behind.metrics.calls("magic", "tools/call").record(0.2, Outcome.TIMEOUT)
    behind.metrics.refused("missing-token")
    body = (await http.get("/api/metrics/summary")).json()
    assert (body["requests"], body["errors"], body["refused"]) == (2, 1, {"missing-token": 1})
    assert body["uptimeSeconds"] > 0
    assert {name: calls["requests"] for name, calls in body["servers"].items()} == {
        "filesystem": 1,
        "magic": 1,
    }
    assert {name: calls["requests"] for name, calls in body["methods"].items()} == {"tools/call": 2}
    assert 0.001 <= body["servers"]["filesystem"]["p99Seconds"] <= 0.0025


async def test_the_summary_of_one_server(http, behind):
    behind.metrics.calls("filesystem", "tools/call").record(0.002, Outcome.OK)
    behind.metrics.calls("filesystem", "tools/list").record(0.002, Outcome.RPC_ERROR)
    behind.metrics.calls("magic", "tools/list").record(0.002, Outcome.OK)
    behind.metrics.replayed("filesystem")
    behind.metrics.not_replayed("magic")
    behind.metrics.checked("filesystem", True)
    body = (await http.get("/api/metrics/servers/filesystem")).json()
    assert (body["id"], body["requests"], body["errors"]) == ("filesystem", 2, 1)
    assert {name: calls["errors"] for name, calls in body["methods"].items()} == {
        "tools/call": 0,
        "tools/list": 1,
    }
    assert body["replays"] == {"replayed": 1, "refused": 0}
    assert body["healthChecks"] == {"passed": 1, "failed": 0}
    assert [(i["id"], i["callsInFlight"]) for i in body["instances"]] == [("filesystem-1", 0)]


async def test_the_summary_of_a_server_without_calls(http):
    body = (await http.get("/api/metrics/servers/magic")).json()
    assert (body["requests"], body["p50Seconds"], body["methods"], body["instances"]) == (0, None, {}, [])


async def test_the_summary_of_no_server(http):
    answer = await http.get("/api/metrics/servers/filesytem")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")


@pytest.mark.parametrize("path", ["summary", "servers/filesystem"])
async def test_summaries_need_a_token(stranger, path):
    assert (await stranger.get(f"/api/metrics/{path}")).status_code == 401


async def test_breakers_are_in_a_scrape(http, behind):
    behind.fleet.open = {"filesystem-1"}
    seen = values(parse_text((await http.get("/metrics")).text))
    labels = ("breaker", "filesystem-1"), ("server", "filesystem"), ("state", "open")
    assert seen["fairlead_breaker_state", *labels] == 1
