"""`fairlead events`, over a service with answers laid out beforehand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.cli import events as module
from fairlead.cli.client import Client
from fairlead.cli.events import following
from fairlead.model.errors import ProblemError
from support.rest_service import RestService


def event(number: int, **changes: Any) -> dict[str, Any]:
    data = {
        "server": "magic",
        "before": "ready",
        "state": "failed",
        "reason": "exited \x1b[2Jwith 1",
        "tools": [],
    }
    return {
        "specversion": "1.0",
        "type": "server-health-changed",
        "source": "/orchestrator/n",
        "id": f"e{number}",
        "time": "2026-11-23T04:05:06.789Z",
        "sequence": str(number),
        "subject": "magic",
        "data": data,
    } | changes


def page(*events: dict[str, Any], following_from: int = 9) -> tuple[int, Any]:
    return 200, {"events": list(events), "next": following_from, "latest": following_from}


def stream(*parts: tuple[str, dict[str, Any]]) -> tuple[int, bytes]:
    text = "retry: 2000\n\n: \n\n"
    for name, data in parts:
        text += f"id: {data.get('sequence', '')}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
    return 200, text.encode()


def gone(oldest: int) -> dict[str, Any]:
    return {"type": "urn:fairlead:problem:events-gone", "title": "Gone", "detail": "x", "oldest": oldest}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECONNECT", 0.0)


def test_the_last_events_for_people(fairlead, service) -> None:
    service.answers["GET /api/events?limit=50"] = page(
        event(8), event(9, type="of-a-newer-version", subject="x")
    )
    result = fairlead("events")
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()
    assert first.split()[:5] == ["8", "2026-11-23", "04:05:06Z", "server-health-changed", "magic"]
    assert first.endswith("server=magic before=ready state=failed reason=exited with 1")
    assert "of-a-newer-version" in second


def test_filters_and_json(fairlead, service) -> None:
    asked = "type=config-changed&type=breaker-changed&subject=a%2A&server=magic&since=3&limit=7"
    service.answers[f"GET /api/events?{asked}"] = page(event(4))
    options = (
        "--type",
        "config-changed",
        "--type",
        "breaker-changed",
        "--subject",
        "a*",
        "--server",
        "magic",
    )
    result = fairlead("events", *options, "--since", "3", "-n", "7", "--json")
    assert json.loads(result.output)["events"] == [event(4)]


def test_no_events(fairlead, service) -> None:
    service.answers["GET /api/events?limit=50"] = page()
    assert (fairlead("events").output, fairlead("events").exit_code) == ("", 0)


@pytest.mark.parametrize("options", [("--type", "nonsense"), ("--since", "-1"), ("-n", "1001")])
def test_bad_options(fairlead, service, options) -> None:
    assert fairlead("events", *options).exit_code == 2


def test_what_is_gone_is_said(fairlead, service) -> None:
    service.answers["GET /api/events?since=1&limit=50"] = (410, gone(40))
    result = fairlead("events", "--since", "1")
    assert result.exit_code == 1
    assert "Gone" in result.output


def test_following_goes_on_after_the_page_until_it_may_not(fairlead, service) -> None:
    service.answers["GET /api/events?limit=1"] = page(event(8))
    service.answers["GET /api/events?since=9"] = stream(("server-health-changed", event(10)))
    refused = {"type": "urn:fairlead:problem:invalid-token", "title": "The token is not valid", "detail": "x"}
    service.answers["GET /api/events?since=10"] = (401, refused)
    result = fairlead("events", "-f", "-n", "0", "--json")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == ["10"]
    assert "not valid" in result.stderr


class TestFollowing:
    @pytest.fixture
    def client(self, service: RestService) -> Client:
        return Client(service.address, "a-token", timeout=10)

    def test_over_every_kind_of_break(self, client, service, capsys) -> None:
        service.answers |= {
            "GET /api/events?server=a&since=0": stream(("x", event(1)), ("x", event(2))),
            "GET /api/events?server=a&since=2": stream(("x", event(3)), ("slow", {"resumeFrom": 5})),
            "GET /api/events?server=a&since=5": stream(("goodbye", {"resumeFrom": 6, "reason": "stopping"})),
            "GET /api/events?server=a&since=6": stream(("error", gone(9))),
            "GET /api/events?server=a&since=8": (410, gone(12)),
            "GET /api/events?server=a&since=11": stream(("x", event(12))),
        }
        events = following(client, [("server", "a")], 0)
        assert [int(next(events)["sequence"]) for _ in range(4)] == [1, 2, 3, 12]
        events.close()
        told = capsys.readouterr().err
        assert "before 9 are not kept" in told
        assert "before 12 are not kept" in told
        assert {each.token for each in service.received} == {"a-token"}

    def test_another_history(self, client, service, capsys) -> None:
        other = gone(5)
        other["epoch"] = "b"
        service.answers |= {
            "GET /api/events?since=2&epoch=a": (410, other),
            "GET /api/events?since=4&epoch=b": stream(("error", other | {"oldest": 8, "epoch": "c"})),
            "GET /api/events?since=7&epoch=c": stream(("x", event(8))),
        }
        events = following(client, [], 2, "a")
        assert next(events)["sequence"] == "8"
        events.close()
        assert "before 5 have another history" in capsys.readouterr().err

    def test_a_service_that_is_away_is_waited_for_and_told_of_once(
        self, client, service, capsys, monkeypatch
    ) -> None:
        away = {
            "type": "urn:fairlead:problem:store-unavailable",
            "title": "The database is away",
            "detail": "x",
        }
        service.answers["GET /api/events?since=0"] = (503, away)
        tries = []

        def pause(_: float) -> None:
            tries.append(1)
            if len(tries) == 3:
                service.answers["GET /api/events?since=0"] = stream(("x", event(1)))

        monkeypatch.setattr(module.time, "sleep", pause)
        assert next(following(client, [], 0))["sequence"] == "1"
        assert capsys.readouterr().err.count("The database is away; trying again") == 1

    def test_a_stream_that_is_none(self, client, service) -> None:
        service.answers["GET /api/events?since=0"] = (200, b"event: x\ndata: {nonsense\n\n")
        with pytest.raises(ProblemError, match="does not answer"):
            list(client.stream("/api/events?since=0"))
