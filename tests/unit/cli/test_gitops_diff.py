"""`fairlead gitops diff|resolve`."""

from __future__ import annotations

import json

import pytest

from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import application, diff, difference


def test_the_three_versions(fairlead, controller: RestService):
    mine = difference(object=".mcp.json", key="", case="drift", action="propose", base=None, live='"a  b"')
    document = diff(difference(), mine, text="--- live/fleet\n+++ git/fleet\n-  1\n+  2")
    controller.answers = {
        "GET /api/applications/fleet/diff": (200, document),
        "GET /api/applications/fleet": (200, application()),
    }
    assert fairlead("gitops", "diff", "fleet").output.splitlines() == [
        "fleet differs from commit 9a0b1c2d3e4f at 2 places",
        "",
        "fleet servers.filesystem.args  conflict, policy manual: waits for a person",
        '    before  ["/notes"]',
        '    live    ["/"]',
        '    Git     ["/notes", "/papers"]',
        "    `fairlead gitops resolve fleet fleet servers.filesystem.args --take remote` (Git's), `local` "
        "(the live one) or `merge`",
        "",
        ".mcp.json  drift, policy manual: Git is asked to take the live one",
        "    before  (nothing)",
        '    live    "a  b"',
        '    Git     ["/notes", "/papers"]',
        "",
        "--- live/fleet",
        "+++ git/fleet",
        "-  1",
        "+  2",
    ]
    assert json.loads(fairlead("gitops", "diff", "fleet", "--json").output) == document


def test_what_is_only_observed_is_not_written(fairlead, controller: RestService):
    controller.answers = {
        "GET /api/applications/fleet/diff": (200, diff(difference(case="drift", action="write"))),
        "GET /api/applications/fleet": (200, application(mode="observe")),
    }
    told = fairlead("gitops", "diff", "fleet").output
    assert "only observed" in told
    assert "resolve" not in told


def test_a_key_with_spaces_can_be_pasted(fairlead, controller: RestService):
    controller.answers = {
        "GET /api/applications/fleet/diff": (200, diff(difference(object="a b.md", key='x."y z"'))),
        "GET /api/applications/fleet": (200, application()),
    }
    assert "resolve fleet 'a b.md' 'x.\"y z\"' --take" in fairlead("gitops", "diff", "fleet").output


def test_nothing_differs(fairlead, controller: RestService):
    controller.answers = {
        "POST /api/drift/check": (200, {}),
        "GET /api/applications/fleet/diff": (200, diff()),
        "GET /api/applications/fleet": (200, application()),
    }
    result = fairlead("gitops", "diff", "fleet", "--check")
    assert result.output == "fleet is as Git says (commit 9a0b1c2d3e4f)\n"
    assert controller.received[0].body == {"application": "fleet"}


@pytest.mark.parametrize(("key", "sent"), [(("servers.x",), "servers.x"), ((), "")])
def test_a_place_is_decided(fairlead, controller: RestService, key: tuple[str, ...], sent: str):
    answer = application(conflicts=2, drift=2)
    controller.answers = {"POST /api/applications/fleet/resolve": (200, answer)}
    given = ("gitops", "resolve", "fleet", "fleet", *key, "--take", "local")
    result = fairlead(*given)
    assert result.output.splitlines()[-1] == "2 conflicts left: `fairlead gitops diff fleet` shows them"
    assert controller.received[0].body == {"object": "fleet", "key": sent, "take": "local"}
    assert json.loads(fairlead(*given, "--json").output) == answer


def test_the_last_one_is_decided(fairlead, controller: RestService):
    controller.answers = {"POST /api/applications/fleet/resolve": (200, application())}
    assert "left" not in fairlead("gitops", "resolve", "fleet", "fleet", "--take", "remote").output


def test_a_place_that_does_not_differ(fairlead, controller: RestService):
    answer = problem(404, "unknown-difference", "Not found", "it does at: 'servers.a'")
    controller.answers = {"POST /api/applications/fleet/resolve": answer}
    result = fairlead("gitops", "resolve", "fleet", "fleet", "servers.b", "--take", "remote")
    assert result.exit_code == 1
    assert "it does at: 'servers.a'" in result.stderr


@pytest.mark.parametrize("more", [(), ("--take", "mine"), ("--take",)])
def test_wrong_usage(fairlead, controller: RestService, more: tuple[str, ...]):
    assert fairlead("gitops", "resolve", "fleet", "fleet", "x", *more).exit_code == 2
    assert not controller.received
