import json

import pytest

from support.rest_service import server_status
from unit.cli.fleet_service import FleetService, problem


def scaled(**more: object) -> dict[str, object]:
    one = {"id": "git-1", "state": "ready"}
    counts = {"wantedInstances": 3, "minInstances": 3, "maxInstances": 4}
    return server_status("git", instances=[one, {"id": "git-2", "state": "launching"}], **counts, **more)


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (("3",), {"instances": 3}),
        (("0",), {"instances": 0}),
        (("--min", "0"), {"minInstances": 0}),
        (("--max", "4"), {"maxInstances": 4}),
        (("--min", "3", "--max", "4"), {"minInstances": 3, "maxInstances": 4}),
    ],
)
def test_scale(fairlead, fleet: FleetService, arguments: tuple[str, ...], body: dict[str, int]):
    fleet.answers = {"POST /api/servers/git/scale": (200, scaled())}
    result = fairlead("scale", "git", *arguments)
    assert result.exit_code == 0
    assert fleet.received[0].body == body
    assert result.output.splitlines() == [
        "git: 1 of 3 instances ready; 3 to 4 allowed",
        "This is a live edit, kept across restarts; `fairlead overrides` lists it.",
    ]
    assert json.loads(fairlead("scale", "git", *arguments, "--json").output) == scaled()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("3", "--min", "1"),
        ("0", "--max", "1"),
        ("-1",),
        ("1001",),
        ("many",),
        ("--max", "0"),
        ("--min", "-1"),
    ],
)
def test_scale_used_wrongly(fairlead, fleet: FleetService, arguments: tuple[str, ...]):
    assert fairlead("scale", "git", *arguments).exit_code == 2
    assert not fleet.received


@pytest.mark.parametrize(("status", "exit_code"), [(404, 1), (409, 1), (422, 2), (503, 1)])
@pytest.mark.parametrize(("command", "path"), [(("scale", "git", "1"), "scale"), (("drain", "git"), "drain")])
def test_a_refusal_is_shown(fairlead, fleet: FleetService, command, path: str, status: int, exit_code: int):
    fleet.answers = {f"POST /api/servers/git/{path}": problem(status, "x", "No", "because")}
    result = fairlead(*command)
    assert result.exit_code == exit_code
    assert result.stderr == "error: No\n  because\n"


@pytest.mark.parametrize(("options", "body"), [((), {}), (("--instance", "git-1"), {"instance": "git-1"})])
def test_drain(fairlead, fleet: FleetService, options: tuple[str, ...], body: dict[str, str]):
    drained = server_status("git", "stopped", "drained")
    fleet.answers = {"POST /api/servers/git/drain": (200, drained)}
    assert "git     stopped  -      drained" in fairlead("drain", "git", *options).output
    assert fleet.received[0].body == body
    assert json.loads(fairlead("drain", "git", *options, "--json").output) == drained


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("stopped", "It is stopped: `fairlead start git` starts it."),
        ("disabled", "It is disabled: `enabled: true` in the fleet spec starts it."),
    ],
)
def test_scaling_what_does_not_run_says_what_starts_it(
    fairlead, fleet: FleetService, outcome: str, told: str
):
    fleet.answers = {"POST /api/servers/git/scale": (200, server_status("git", outcome, outcome))}
    assert told in fairlead("scale", "git", "2").output.splitlines()


def test_the_help_of_drain_says_what_becomes_of_a_lone_instance(fairlead):
    text = " ".join(fairlead("drain", "--help").output.split())
    assert "one that is alone goes on until the one that takes its place is ready" in text
    assert "It gets no new calls" not in text
