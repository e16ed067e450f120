"""`fairlead key` and `fairlead principal`: what they ask of the service, and what they show."""

from __future__ import annotations

import json
import time

import pytest

from support.rest_service import RestService

ROW = {
    "id": "k1",
    "principal": "ada",
    "label": "lap\x1b[31mtop",
    "created": 1000.0,
    "expires": None,
    "revoked": None,
}
GRANTS = [
    {"effect": "allow", "servers": ["docs", "f*"], "toolsets": ["*"], "tools": ["read_*"]},
    {"effect": "deny", "servers": ["*"], "toolsets": ["*"], "tools": ["rm"]},
]
ADA = {"name": "ada", "role": "developer", "grants": GRANTS, "disabled": True, "created": 1000.0}


def test_a_key_is_made_and_its_value_alone_is_printed(fairlead, service: RestService):
    service.answers["POST /api/keys"] = (201, {**ROW, "key": "flk_x"})
    assert fairlead("key", "add", "ada").stdout == "flk_x\n"
    made = fairlead("key", "add", "ada", "--label", "laptop", "--expires", "90d", "--json")
    assert json.loads(made.stdout)["key"] == "flk_x"
    assert [each.body for each in service.received] == [
        {"principal": "ada", "label": ""},
        {"principal": "ada", "label": "laptop", "expiresIn": 90 * 86400.0},
    ]


@pytest.mark.parametrize("text", ["", "0s", "-1d", "90", "1y", "soon", "1.5h"])
def test_a_time_that_is_none(fairlead, service: RestService, text: str):
    result = fairlead("key", "add", "ada", "--expires", text)
    assert result.exit_code == 2
    assert "90d" in result.stderr
    assert service.received == []


def test_keys_are_listed_with_what_became_of_them(fairlead, service: RestService):
    later = time.time() + 1000
    keys = [ROW, {**ROW, "revoked": 2000.0}, {**ROW, "expires": 3000.0}, {**ROW, "expires": later}]
    service.answers["GET /api/keys"] = (200, {"keys": keys})
    service.answers["GET /api/keys?principal=a%2Fb"] = (200, {"keys": []})
    lines = fairlead("key", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "k1", "k1", "k1", "k1"]
    for line, word in zip(lines[1:], ("good", "revoked 1970", "ended 1970", "good until"), strict=True):
        assert word in line
    assert "\x1b[31m" not in lines[1]
    assert json.loads(fairlead("key", "list", "--principal", "a/b", "--json").stdout) == {"keys": []}


def test_a_key_is_revoked(fairlead, service: RestService):
    service.answers["DELETE /api/keys/a%2Fb"] = (204, None)
    assert fairlead("key", "revoke", "a/b").stdout == "a/b is not valid any more\n"
    assert json.loads(fairlead("key", "revoke", "a/b", "--json").stdout) == {"id": "a/b", "revoked": True}
    assert fairlead("key", "revoke", "other").exit_code == 1


def test_a_principal_is_set_with_grants(fairlead, service: RestService):
    service.answers["PUT /api/principals/ada"] = (200, ADA)
    arguments = ("--grant", "servers=docs,f* tools=read_*", "--deny", "tools=rm", "--disabled")
    shown = fairlead("principal", "set", "ada", "--role", "developer", *arguments)
    assert "fairlead key add ada" in shown.stdout
    (sent,) = service.received
    assert sent.body == {
        "role": "developer",
        "grants": [
            {"effect": "allow", "servers": ["docs", "f*"], "tools": ["read_*"]},
            {"effect": "deny", "tools": ["rm"]},
        ],
        "disabled": True,
    }
    assert json.loads(fairlead("principal", "set", "ada", "--role", "viewer", "--json").stdout) == ADA


@pytest.mark.parametrize(
    "grant", ["docs", "server=docs", "servers=", "servers=a,,b", "servers=a servers=b", "=a"]
)
@pytest.mark.parametrize("option", ["--grant", "--deny"])
def test_a_grant_that_could_mean_something_else_is_refused(
    fairlead, service: RestService, option: str, grant: str
):
    result = fairlead("principal", "set", "ada", "--role", "viewer", option, grant)
    assert result.exit_code == 2
    assert option in result.stderr
    assert service.received == []


def test_principals_are_listed_and_removed(fairlead, service: RestService):
    service.answers["GET /api/principals"] = (200, {"principals": [ADA]})
    service.answers["DELETE /api/principals/ada"] = (204, None)
    line = fairlead("principal", "list").stdout.splitlines()[1]
    assert line.startswith("ada   developer (disabled)  1970-")
    assert line.endswith("allow servers=docs,f* tools=read_*; deny tools=rm")
    assert json.loads(fairlead("principal", "list", "--json").stdout) == {"principals": [ADA]}
    assert fairlead("principal", "remove", "ada").stdout == "ada may not come in any more\n"
    assert json.loads(fairlead("principal", "remove", "ada", "--json").stdout) == {
        "name": "ada",
        "removed": True,
    }


def test_without_a_service_they_say_so(fairlead):
    for arguments in (("key", "list"), ("principal", "list")):
        result = fairlead(*arguments)
        assert result.exit_code == 1
        assert "fairlead up" in result.stderr
