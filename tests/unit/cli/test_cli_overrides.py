import json

import pytest

from unit.cli.fleet_service import FleetService, problem


def override(key: str, **more: object) -> dict[str, object]:
    return {
        "key": key,
        "value": None,
        "removed": False,
        "was": None,
        "by": "local",
        "at": 1_700_000_000.0,
        **more,
    }


OVERRIDES = [
    override("servers.git.scaling.minInstances", value=3, was=1),
    override("servers.old", removed=True, was={"command": "old"}, by="ci\x1b[2J"),
    override(
        "servers.new", value={"command": "x", "environment": {"API_KEY": "hunter22", "LEVEL": "debug" * 20}}
    ),
    override("servers.git.environment.API_KEY", value="hunter22", was="${API_KEY}"),
]


def test_they_are_listed_without_secrets(fairlead, fleet: FleetService):
    fleet.overrides = OVERRIDES
    result = fairlead("overrides")
    lines = [line.split("  ") for line in result.output.splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    assert cells == [
        ["KEY", "LIVE", "IN THE FILE", "BY", "AT"],
        ["servers.git.scaling.minInstances", "3", "1", "local", "2023-11-14 22:13:20Z"],
        ["servers.old", "(removed)", '{"command": "old"}', "ci", "2023-11-14 22:13:20Z"],
        [
            "servers.new",
            '{"command": "x", "environment": {"API_KEY": "***", "LEVEL...',
            "-",
            "local",
            "2023-11-14 22:13:20Z",
        ],
        ["servers.git.environment.API_KEY", '"***"', '"${API_KEY}"', "local", "2023-11-14 22:13:20Z"],
    ]
    assert json.loads(fairlead("overrides", "--json").output) == {"owner": "file", "overrides": OVERRIDES}


@pytest.mark.parametrize(("owner", "says"), [("file", "the file"), ("gitops", "Git")])
def test_there_are_none(fairlead, fleet: FleetService, owner: str, says: str):
    fleet.owner = owner
    assert fairlead("overrides").output == f"no live edits: the fleet is as {says} says\n"


def test_some_are_dropped(fairlead, fleet: FleetService):
    fleet.overrides = [override('metadata."a b&c"'), override("servers.a"), override("servers.b")]
    result = fairlead("overrides", "--drop", 'metadata."a b&c"', "--drop", "servers.b")
    assert result.output == "git  adjusted, without a new process\n"
    assert [row["key"] for row in fleet.overrides] == ["servers.a"]
    assert json.loads(fairlead("overrides", "--drop", "servers.a", "--json").output)["adjusted"] == ["git"]


def test_all_are_dropped(fairlead, fleet: FleetService):
    fleet.overrides = list(OVERRIDES)
    assert fairlead("overrides", "--drop-all").exit_code == 0
    assert fleet.requests("DELETE")[0].query == {}
    assert fleet.overrides == []


def test_an_unknown_key(fairlead, fleet: FleetService):
    result = fairlead("overrides", "--drop", "servers.x")
    assert result.exit_code == 1
    assert result.stderr == "error: There is no such live edit\n  'servers.x'\n"


def test_a_drop_that_is_refused(fairlead, fleet: FleetService):
    fleet.answers = {"DELETE /api/fleet/overrides": problem(409, "change-refused", "The change was refused")}
    assert fairlead("overrides", "--drop-all").exit_code == 1


@pytest.mark.parametrize("arguments", [("--drop", "a", "--drop-all"), ("--drop",), ("servers.a",)])
def test_wrong_usage(fairlead, fleet: FleetService, arguments: tuple[str, ...]):
    assert fairlead("overrides", *arguments).exit_code == 2
    assert not fleet.received
