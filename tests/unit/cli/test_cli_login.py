from __future__ import annotations

import json

from support.rest_service import RestService
from unit.cli.conftest import Fairlead

LINK = {"url": "http://127.0.0.1:3002/login?code=" + "c" * 43, "expires": 1795349400.0}


def test_it_prints_the_link_alone_on_stdout(service: RestService, fairlead: Fairlead):
    service.answers["POST /api/login-links"] = (201, LINK)
    result = fairlead("login")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == LINK["url"]
    assert "do not pass it on" in result.output
    [received] = service.received
    assert (received.method, received.path) == ("POST", "/api/login-links")


def test_json(service: RestService, fairlead: Fairlead):
    service.answers["POST /api/login-links"] = (201, LINK)
    assert json.loads(fairlead("login", "--json").stdout) == LINK


def test_what_is_refused_is_told(service: RestService, fairlead: Fairlead):
    problem = {
        "type": "urn:fairlead:problem:store-unavailable",
        "title": "The database is away",
        "detail": "x",
    }
    service.answers["POST /api/login-links"] = (503, problem)
    result = fairlead("login")
    assert result.exit_code == 1
    assert "The database is away" in result.output


def test_nothing_runs(fairlead: Fairlead):
    result = fairlead("login")
    assert result.exit_code != 0
    assert "fairlead up" in result.output
