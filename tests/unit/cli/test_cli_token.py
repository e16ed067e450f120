import json

import pytest

from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore, digest


def test_a_token_is_made_listed_and_revoked(fairlead, state: StateFolder):
    value = fairlead("token", "add", "ci").stdout.strip()
    assert TokenStore(state).digests() == {digest(value): "ci"}
    listed = fairlead("token", "list")
    assert listed.stdout.splitlines()[1].startswith("ci    20")
    assert value not in listed.output
    assert fairlead("token", "revoke", "ci").stdout == "ci is not valid any more\n"
    assert TokenStore(state).digests() == {}


def test_as_json(fairlead, state: StateFolder, monkeypatch: pytest.MonkeyPatch):
    made = json.loads(fairlead("token", "add", "ci", "--json").stdout)
    assert made["name"] == "ci"
    assert digest(made["token"]) in TokenStore(state).digests()
    monkeypatch.setenv("FAIRLEAD_TOKEN", "0123456789abcdef")
    names = [row["name"] for row in json.loads(fairlead("token", "list", "--json").stdout)["tokens"]]
    assert names == ["ci", "env"]
    assert json.loads(fairlead("token", "revoke", "ci", "--json").stdout) == {"name": "ci", "revoked": True}


def test_bad_names_are_bad_input(fairlead):
    for arguments in (("add", "No Good"), ("revoke", "nonesuch"), ("add", "env")):
        result = fairlead("token", *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.output


def test_a_damaged_file_is_an_error(fairlead, state: StateFolder):
    state.prepare()
    state.tokens_file.write_text("{")
    result = fairlead("token", "list")
    assert result.exit_code == 1
    assert str(state.tokens_file) in result.stderr
