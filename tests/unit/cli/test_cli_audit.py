"""`fairlead audit`."""

from __future__ import annotations

import json
import time
from urllib.parse import parse_qs, urlsplit

import click
import pytest

from fairlead.cli import audit
from fairlead.cli.moments import Moment

CALL = {
    "at": 1_795_348_800.0,
    "kind": "call",
    "principal": "ada",
    "action": "tools/call",
    "server": "git",
    "instance": "git-1",
    "tool": "log",
    "outcome": "tool_error",
    "seconds": 0.0123,
    "arguments": "sha256:" + "ab" * 32,
}
REFUSAL = {
    "at": 1_795_348_801.0,
    "kind": "refusal",
    "peer": "10.0.0.9",
    "action": "POST /mcp\x1b[2J",
    "outcome": "invalid-token",
    "detail": {"status": 401, "count": 7},
}


def asked(service) -> dict[str, str]:
    query = parse_qs(urlsplit(service.received[-1].path).query)
    return {name: value for name, (value,) in query.items()}


@pytest.fixture
def answers(service):
    """The service answers any search."""

    class Any(dict):
        def get(self, key, default=None):
            return super().get(key.partition("?")[0], default)

    service.answers = Any({"GET /api/audit": (200, {"records": [REFUSAL, CALL]})})
    return service


def test_it_shows_the_records_in_their_order(fairlead, answers):
    result = fairlead("audit")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "2026-11-22 12:00:00Z  call     ada       tools/call  git/log  tool_error     12.3 ms  "
        "git-1 sha256:abababababababab",
        "2026-11-22 12:00:01Z  refusal  10.0.0.9  POST /mcp            invalid-token           count=7",
    ]
    assert asked(answers) == {"limit": "50"}


def test_it_passes_on_what_is_looked_for(fairlead, answers):
    before = time.time()
    result = fairlead(
        "audit", "--since", "2h", "--until", "2026-11-23T09:30+00:00", "--kind", "call", "--principal", "ada",
        "--server", "git", "--tool", "log", "--outcome", "ok", "-n", "7", "--json",
    )  # fmt: skip
    assert json.loads(result.output) == {"records": [CALL, REFUSAL]}
    query = asked(answers)
    assert float(query.pop("since")) == pytest.approx(before - 7200, abs=60)
    assert float(query.pop("until")) == 1_795_426_200.0
    assert query == {
        "kind": "call", "principal": "ada", "server": "git", "tool": "log", "outcome": "ok", "limit": "7"
    }  # fmt: skip


def test_nothing_found_shows_nothing(fairlead, answers):
    answers.answers["GET /api/audit"] = (200, {"records": []})
    result = fairlead("audit")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("wrong", ["soon", "3x", "-5m", "", "99999999999999w"])
def test_a_moment_that_cannot_be_is_refused(fairlead, wrong):
    result = fairlead("audit", f"--since={wrong}")
    if wrong == "99999999999999w":  # so long ago is just the beginning
        assert "is no moment" not in result.output
        return
    assert result.exit_code == 2
    assert "is no moment" in result.output


def test_moments():
    kind = Moment()
    assert kind.convert("1970-01-02T00:00+00:00", None, None) == 86400.0
    assert kind.convert("90s", None, None) == pytest.approx(time.time() - 90, abs=30)
    assert kind.convert(5.0, None, None) == 5.0
    with pytest.raises(click.BadParameter):
        kind.convert("9999999999-01-01", None, None)


def test_following_shows_what_comes_once(monkeypatch):
    monkeypatch.setattr(audit, "POLL", 0.0)
    old, shown, late, new = (
        {"at": at, "kind": "call", "action": str(at)} for at in (90.0, 100.0, 99.5, 101.0)
    )
    pages = [[old, shown], [late, shown, new], [late, shown, new]]
    wanted = []

    class Service:
        def get(self, path):
            query = parse_qs(urlsplit(path).query)
            wanted.append({name: value for name, (value,) in query.items()})
            return {"records": pages.pop(0)[::-1]}

    following = audit.following(Service(), {"since": 1.0, "until": 200.0, "tool": "log"}, [shown])
    assert [next(following) for _ in range(3)] == [[], [late, new], []]
    assert [query["since"] for query in wanted] == ["90.0", "90.0", "91.0"]
    assert {query["tool"] for query in wanted} == {"log"}
    assert not any("until" in query for query in wanted)


def test_following_prints_a_line_of_json_for_each(fairlead, answers, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(audit.time, "sleep", interrupted)
    result = fairlead("audit", "--follow", "--json")
    assert [json.loads(line) for line in result.output.splitlines()] == [CALL, REFUSAL]
