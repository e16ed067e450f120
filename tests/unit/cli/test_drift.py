"""`fairlead drift`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from fairlead.cli import drift as module
from fairlead.cli.options import load
from fairlead.stores.state import GITOPS, StateFolder
from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import drift, drift_status

ALL = "GET /api/drift/status?limit=1000"
OTHER = drift(
    object=".mcp.json", key="", severity="critical", state="conflict", kind="file", base="1", live="2",
    desired=None, by="", message="changed on both sides",
)  # fmt: skip
TOOL = drift(
    key="tools.node", kind="environment", severity="low", base=None, live=None, desired=None, by="",
    message="18.19.0 is installed, \x1b[2J>=20 is declared",
)  # fmt: skip


def test_each_place_with_its_versions(fairlead, controller: RestService):
    document = drift_status(OTHER, drift(), TOOL)
    controller.answers = {ALL: (200, document)}
    result = fairlead("drift")
    assert result.output.splitlines() == [
        "critical  fleet  .mcp.json  conflict  file, 3 h ago",
        "    changed on both sides",
        "    before  1",
        "    live    2",
        "    Git     (nothing)",
        "",
        "high  fleet  fleet servers.filesystem.args  open  configuration, 3 h ago by ada",
        '    live    ["/"]',
        '    Git     ["/notes"]',
        "",
        "low  fleet  fleet tools.node  open  environment, 3 h ago",
        "    18.19.0 is installed, >=20 is declared",
        "",
        "3 places not as Git says (1 critical, 1 high, 1 low); looked 3 h ago",
    ]
    assert result.exit_code == 0
    assert json.loads(fairlead("drift", "--json").output) == document


@pytest.mark.parametrize("width", ["80", "200"])
def test_a_message_fits_the_terminal(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch, width: str
):
    monkeypatch.setenv("COLUMNS", width)
    row = drift(base=None, live=None, desired=None, message="words " * 30)
    controller.answers = {ALL: (200, drift_status(row))}
    lines = fairlead("drift").output.splitlines()
    assert max(map(len, lines)) <= int(width)
    assert " ".join(lines[1:]).split().count("words") == 30


def test_there_is_none(fairlead, controller: RestService):
    controller.answers = {ALL: (200, drift_status())}
    result = fairlead("drift", "--exit-code")
    assert result.output == "2 applications: as Git says; looked 3 h ago\n"
    assert result.exit_code == 0


def test_not_everything_was_looked_at(fairlead, controller: RestService):
    controller.answers = {ALL: (200, drift_status(checked=None))}
    said = "2 applications: nothing found; not everything was looked at yet\n"
    assert fairlead("drift").output == said


def test_looking_first_and_what_is_wanted(fairlead, controller: RestService):
    query = "application=fleet&kind=file&severity=high&state=held&limit=1"
    found = drift_status(drift(), bySeverity={"high": 5})
    controller.answers = {
        "POST /api/drift/check": (200, {}),
        f"GET /api/drift/status?{query}": (200, found),
    }
    given = ("--kind", "file", "--severity", "high", "--state", "held", "--limit", "1")
    result = fairlead("drift", "fleet", "--check", *given)
    assert "5 places not as Git says (5 high); the first 1 are shown, --limit gives more" in result.output
    assert controller.received[0].body == {"application": "fleet"}


def test_all_are_looked_at(fairlead, controller: RestService):
    controller.answers = {"POST /api/drift/check": (200, {}), ALL: (200, drift_status())}
    assert fairlead("drift", "--check").exit_code == 0
    assert controller.received[0].body == {}


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_exit_code(fairlead, controller: RestService, more: tuple[str, ...]):
    controller.answers = {ALL: (200, drift_status(drift()))}
    assert fairlead("drift", "--exit-code", *more).exit_code == 1


@pytest.mark.parametrize("given", [("--watch", "--exit-code"), ("--kind", "x"), ("a/b",), ("--limit", "0")])
def test_wrong_usage(fairlead, controller: RestService, given: tuple[str, ...]):
    assert fairlead("drift", *given).exit_code == 2
    assert not controller.received


def test_an_unknown_application(fairlead, controller: RestService):
    answer = problem(404, "unknown-application", "No such application", "known: fleet")
    controller.answers = {"GET /api/drift/status?application=flet&limit=1000": answer}
    assert fairlead("drift", "flet").stderr == "error: No such application\n  known: fleet\n"


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int, act: Any = None) -> None:
    """Ctrl-C comes after so many looks; `act` is called before each."""

    class Ringing:
        looks = 0

        def __init__(self, _: object) -> None:
            return

        def close(self) -> None:
            return

        def wait(self, _: float) -> None:
            self.looks += 1
            if act is not None:
                act(self.looks)
            if self.looks > after:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "Bell", Ringing)


def test_it_is_watched(fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch):
    healed = drift(state="held")
    coming = [drift_status(OTHER), drift_status(OTHER, drift()), drift_status(healed), drift_status(healed)]
    controller.answers = {ALL: (200, coming)}
    interrupted(monkeypatch, 3)
    lines = fairlead("drift", "--watch").output.splitlines()
    assert lines[lines.index("1 place not as Git says (1 critical); looked 3 h ago") + 1 :] == [
        "new  high  fleet  fleet servers.filesystem.args  open  configuration, 3 h ago by ada",
        '    live    ["/"]',
        '    Git     ["/notes"]',
        "changed  high  fleet  fleet servers.filesystem.args  held  configuration, 3 h ago by ada",
        '    live    ["/"]',
        '    Git     ["/notes"]',
        "gone  fleet  .mcp.json",
    ]


def test_what_is_only_beyond_the_limit_has_not_gone(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch
):
    row = drift()
    more = drift_status(OTHER, bySeverity={"critical": 1, "high": 1})
    coming = [drift_status(OTHER, row), more, drift_status(OTHER, row), drift_status(row)]
    controller.answers = {ALL: (200, coming)}
    interrupted(monkeypatch, 3)
    lines = fairlead("drift", "--watch").output.splitlines()
    last = next(at for at, line in enumerate(lines) if "; looked " in line)
    assert lines[last + 1 :] == ["gone  fleet  .mcp.json"]


def test_it_is_watched_by_a_program(fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch):
    first, second = drift_status(), drift_status(drift())
    controller.answers = {ALL: (200, [first, first, second])}
    interrupted(monkeypatch, 2)
    lines = fairlead("drift", "--watch", "--json").output.splitlines()
    assert [json.loads(line) for line in lines] == [first, second]


def test_a_service_that_goes_away_is_waited_for(
    fairlead, controller: RestService, state: StateFolder, monkeypatch: pytest.MonkeyPatch
):
    controller.answers = {ALL: (200, drift_status())}

    def act(looks: int) -> None:
        if looks == 1:
            state.of(GITOPS).clear_run()
        if looks == 3:
            state.of(GITOPS).write_run({GITOPS: controller.address}, "0")
            controller.answers = {ALL: (200, drift_status(drift()))}

    interrupted(monkeypatch, 3, act)
    result = fairlead("drift", "--watch")
    assert result.stderr == "warning: the GitOps controller does not run; trying again\n"
    assert "new  high" in result.output


def test_what_does_not_pass_ends_it(fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch):
    controller.answers = {ALL: (200, drift_status())}

    def act(_: int) -> None:
        controller.answers = {ALL: problem(401, "unauthorized", "Not let in")}

    interrupted(monkeypatch, 5, act)
    result = fairlead("drift", "--watch")
    assert result.exit_code == 1
    assert "fairlead token list" in result.stderr


def test_the_bell_rings_with_each_event_and_listens_again(
    fairlead, controller: RestService, state: StateFolder
):
    told = b"retry: 2000\n\nid: x:8\nevent: drift-detected\ndata: {}\n\n"
    controller.answers = {
        "GET /api/events?limit=1": (200, {"events": [], "next": 7, "latest": 7, "epoch": "x"}),
        "GET /api/events?since=7&epoch=x": (200, told),
    }
    with closing(module.Bell(load(state_dir=state.root).settings)) as bell:
        for _ in range(3):
            assert bell.wait(30.0)
