import json
import shlex

import pytest

from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore
from support.rest_service import RestService

ENTRY = {
    "type": "http",
    "url": "http://127.0.0.1:3002/mcp",
    "headers": {"Authorization": "Bearer ${FAIRLEAD_TOKEN}"},
}


def test_the_line_holds_the_local_token_and_the_snippet_does_not(fairlead, state: StateFolder):
    result = fairlead("connect", "claude")
    token = TokenStore(state).local()
    line = (
        'claude mcp add --transport http fairlead http://127.0.0.1:3002/mcp --header "Authorization: Bearer '
    )
    assert f'{line}{token}"' in result.stdout.splitlines()
    assert result.stdout.count(str(token)) == 1
    assert '"Bearer ${FAIRLEAD_TOKEN}"' in result.stdout


@pytest.mark.parametrize("scope", ["user", "project", "local"])
def test_the_scope_is_taken_over(fairlead, scope: str):
    (line,) = [
        line
        for line in fairlead("connect", "claude", "--scope", scope).stdout.splitlines()
        if "--scope" in line
    ]
    words = shlex.split(line)
    assert words[words.index("--scope") + 1] == scope


def test_the_entry_alone(fairlead):
    assert json.loads(fairlead("connect", "claude", "--print-json").stdout) == {
        "mcpServers": {"fairlead": ENTRY}
    }


def test_as_json(fairlead, state: StateFolder):
    document = json.loads(fairlead("connect", "claude", "--json").stdout)
    assert document["url"] == ENTRY["url"]
    assert document["command"] == shlex.split(document["line"])
    assert document["command"][-1] == f"Authorization: Bearer {TokenStore(state).local()}"
    assert document["mcpJson"] == {"mcpServers": {"fairlead": ENTRY}}


def test_a_running_systems_address_is_taken(fairlead, service: RestService):
    assert f"{service.address}/mcp" in fairlead("connect", "claude").stdout


def test_any_free_port_is_not_known_before_it_runs(fairlead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAIRLEAD_PORT", "0")
    result = fairlead("connect", "claude")
    assert result.exit_code == 1
    assert "does not run" in result.stderr


def test_an_unknown_scope_is_wrong_usage(fairlead):
    assert fairlead("connect", "claude", "--scope", "galaxy").exit_code == 2
