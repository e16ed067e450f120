import json

import pytest

from unit.cli.fleet_service import FleetService, balance, breaker, problem

STATUS = "GET /api/load-balancer/status"
STRATEGY = "POST /api/load-balancer/strategy"
BREAKERS = "GET /api/circuit-breakers"


def test_the_strategies_are_shown(fairlead, fleet: FleetService):
    fleet.answers = {STATUS: (200, balance())}
    assert fairlead("strategy").output.splitlines() == [
        "The fleet's strategy: resource-based",
        "",
        "SERVER   STRATEGY  WEIGHT  IN FLIGHT  WAITING  PRESSURE  CALLS",
        "git      weighted  1       4          2                  125    panicking: all that live get calls",
        "  git-1            0.5     3 of 64             0.25      120",
        "  git-2            0.5     1 of 64             0.25      5      gets no calls",
        "history: git, hg have the same tools and share its calls",
    ]
    assert json.loads(fairlead("strategy", "--json").output) == balance()


def test_the_strategy_of_one_server_is_shown(fairlead, fleet: FleetService):
    other = balance()["servers"][0] | {"id": "hg", "instances": [], "panicking": False}
    fleet.answers = {STATUS: (200, balance() | {"servers": [balance()["servers"][0], other]})}
    assert [
        row["id"] for row in json.loads(fairlead("strategy", "--server", "hg", "--json").output)["servers"]
    ] == ["hg"]
    result = fairlead("strategy", "--server", "gitt")
    assert result.exit_code == 1
    assert "did you mean 'git'?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (("round-robin",), {"strategy": "round-robin"}),
        (("weighted", "--server", "git"), {"strategy": "weighted", "server": "git"}),
        (("fleet", "--server", "git"), {"strategy": None, "server": "git"}),
    ],
)
def test_a_strategy_is_set(
    fairlead, fleet: FleetService, arguments: tuple[str, ...], body: dict[str, object]
):
    fleet.answers = {STRATEGY: (200, balance(strategy="round-robin"))}
    output = fairlead("strategy", *arguments).output
    assert fleet.received[0].body == body
    assert "The fleet's strategy: round-robin" in output
    assert "This is a live edit" in output


@pytest.mark.parametrize("arguments", [("fleet",), ("random",), ("weighted", "extra")])
def test_no_such_strategy(fairlead, fleet: FleetService, arguments: tuple[str, ...]):
    assert fairlead("strategy", *arguments).exit_code == 2
    assert not fleet.received


@pytest.mark.parametrize(("status", "exit_code"), [(404, 1), (409, 1), (422, 2)])
def test_a_refused_strategy(fairlead, fleet: FleetService, status: int, exit_code: int):
    fleet.answers = {STRATEGY: problem(status, "x", "No", "because")}
    result = fairlead("strategy", "weighted", "--server", "x")
    assert (result.exit_code, result.stderr) == (exit_code, "error: No\n  because\n")


def test_the_breakers_are_shown(fairlead, fleet: FleetService):
    opened = breaker(
        "git-1", scope="instance", server="git", state="open", calls=40, failures=24, slow=1, openedTotal=2,
        retryAfter=7.4, reason="24 of 40\x1b[2J calls failed",
    )  # fmt: skip
    fleet.answers = {BREAKERS: (200, {"breakers": [breaker("git", calls=9), opened]})}
    assert fairlead("breakers").output.splitlines() == [
        "BREAKER  SCOPE     STATE   CALLS  FAILED  SLOW  OPENED",
        "git      server    closed  9      0       0     0",
        "git-1    instance  open    40     24      1     2       tried again in 7 s: 24 of 40 calls failed",
    ]
    assert json.loads(fairlead("breakers", "--json").output)["breakers"][1] == opened
    fleet.answers = {BREAKERS: (200, {"breakers": []})}
    assert fairlead("breakers").output.splitlines() == ["BREAKER  SCOPE  STATE  CALLS  FAILED  SLOW  OPENED"]


def test_a_breaker_is_reset(fairlead, fleet: FleetService):
    fleet.answers = {"POST /api/circuit-breakers/git-1/reset": (200, breaker("git-1", scope="instance"))}
    assert "git-1    instance  closed" in fairlead("breakers", "--reset", "git-1").output
    assert json.loads(fairlead("breakers", "--reset", "git-1", "--json").output)["id"] == "git-1"


def test_a_breaker_whose_id_is_a_servers_too_is_told_apart_by_its_scope(fairlead, fleet: FleetService):
    fleet.answers = {"POST /api/circuit-breakers/git-1/reset": (200, breaker("git-1"))}
    for scope in ("server", "instance"):
        assert fairlead("breakers", "--reset", "git-1", "--scope", scope).exit_code == 0
        assert fleet.received[-1].query == {"scope": [scope]}
    assert fairlead("breakers", "--scope", "server").exit_code == 2
