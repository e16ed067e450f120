from __future__ import annotations

import asyncio
import json

import pytest

from fairlead.access.keys import KeyDigests
from fairlead.model.access import ApiKey, Principal, Role
from fairlead.ports import Identities
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.identities import SqlIdentityStore
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore, digest


def kept(state: StateFolder) -> Identities:
    async def read() -> Identities:
        database = await Database.open(sqlite_url(state.database("orchestrator")), service="orchestrator")
        try:
            return await SqlIdentityStore(database).read()
        finally:
            await database.close()

    return asyncio.run(read())


def key_of(state: StateFolder, value: str) -> ApiKey:
    wanted = KeyDigests(state.key()).of(value.encode())
    return next(key for key in kept(state).keys if key.digest == wanted)


def test_a_token_is_made_listed_and_revoked(fairlead, state: StateFolder):
    value = fairlead("token", "add", "ci").stdout.strip()
    assert key_of(state, value).principal == "ci"
    (principal,) = kept(state).principals
    assert (principal.name, principal.role) == ("ci", Role.ADMIN)
    assert value.encode() not in state.database("orchestrator").read_bytes()
    listed = fairlead("token", "list")
    assert listed.stdout.splitlines()[1].startswith("ci    20")
    assert value not in listed.output
    assert fairlead("token", "revoke", "ci").stdout == "ci is not valid any more\n"
    assert key_of(state, value).revoked is not None
    assert fairlead("token", "add", "ci").exit_code == 0


def test_as_json(fairlead, state: StateFolder, monkeypatch: pytest.MonkeyPatch):
    made = json.loads(fairlead("token", "add", "ci", "--json").stdout)
    assert made["name"] == "ci"
    assert key_of(state, made["token"])
    fairlead("token", "add", "local")
    monkeypatch.setenv("FAIRLEAD_TOKEN", "0123456789abcdef")
    names = [row["name"] for row in json.loads(fairlead("token", "list", "--json").stdout)["tokens"]]
    assert names == ["ci", "local", "env"]
    assert json.loads(fairlead("token", "revoke", "ci", "--json").stdout) == {"name": "ci", "revoked": True}


def test_the_local_token(fairlead, state: StateFolder):
    value = fairlead("token", "add", "local").stdout.strip()
    assert TokenStore(state).local() == value
    assert fairlead("token", "revoke", "local").exit_code == 0
    assert TokenStore(state).local() is None


def test_bad_names_are_bad_input(fairlead):
    fairlead("token", "add", "there")
    for arguments in (
        ("add", "No Good"),
        ("revoke", "nonesuch"),
        ("add", "env"),
        ("add", "oauth:x"),
        ("add", "there"),
    ):
        result = fairlead("token", *arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.output


def test_tokens_of_earlier_versions_become_keys_that_still_fit(fairlead, state: StateFolder):
    state.prepare()
    rows = {name: {"sha256": digest(name).hex(), "created": 1000.5} for name in ("ada", "local")}
    state.tokens_file.write_text(json.dumps({"version": 1, "tokens": rows}))
    assert [line.split()[0] for line in fairlead("token", "list").stdout.splitlines()] == ["NAME", "ada"]
    assert kept(state).principals == (Principal("ada", Role.ADMIN, created=1000.5),)
    assert key_of(state, "ada").created == 1000.5
    assert not state.tokens_file.exists()


def test_a_slow_database_says_so_beside_the_answer(fairlead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.stores.sql.database.TOLD_AFTER", 0.0)
    result = fairlead("token", "add", "ci")
    assert len(result.stdout.splitlines()) == 1
    assert "the tables are up to date" in result.stderr


def test_a_damaged_file_is_an_error(fairlead, state: StateFolder):
    state.prepare()
    state.tokens_file.write_text("{")
    result = fairlead("token", "list")
    assert result.exit_code == 1
    assert str(state.tokens_file) in result.stderr


def test_another_key_is_told_and_can_be_made_the_one(
    fairlead, state: StateFolder, monkeypatch: pytest.MonkeyPatch
):
    old = fairlead("token", "add", "ci").stdout.strip()
    monkeypatch.setenv("FAIRLEAD_KEY", "another-key-of-some-length")
    wrong = fairlead("token", "list")
    assert wrong.exit_code == 1
    assert "fairlead key renew" in wrong.stderr
    assert fairlead("key", "renew", stdin="n\n").exit_code == 1
    assert fairlead("token", "list").exit_code == 1
    renewed = fairlead("key", "renew", "--yes")
    assert renewed.exit_code == 0, renewed.output
    assert fairlead("token", "list").stdout.splitlines() == ["NAME  CREATED"]
    assert kept(state).keys == ()
    assert old
    assert fairlead("token", "add", "ci").exit_code == 0
    monkeypatch.delenv("FAIRLEAD_KEY")
    assert fairlead("token", "list").exit_code == 1
