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
