from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fairlead.secrets.vault import Vault, new_identity
from fairlead.stores.state import StateFolder

CANARY = "canary-5f1c"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "secrets.age"


@pytest.fixture
def recipient(fairlead) -> str:
    return fairlead("secrets", "init").stdout.splitlines()[-1]


def opened(file: Path, identity: str) -> Vault:
    return Vault.opened(file.read_bytes(), [identity])


def test_init_makes_a_key_and_a_file_once(fairlead, state: StateFolder, file: Path):
    made = json.loads(fairlead("secrets", "init", "--json").stdout)
    assert made == {
        "recipient": made["recipient"],
        "file": str(file),
        "madeKey": True,
        "madeFile": True,
    }
    key = state.root / "secrets-identity"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    content = key.read_bytes(), file.read_bytes()
    again = json.loads(fairlead("secrets", "init", "--json").stdout)
    assert (again["madeKey"], again["madeFile"], again["recipient"]) == (False, False, made["recipient"])
    assert content == (key.read_bytes(), file.read_bytes())


def test_a_secret_is_set_from_stdin_listed_without_its_value_and_removed(
    fairlead, state: StateFolder, file: Path, recipient: str
):
    results = [fairlead("secrets", "set", "API_KEY", stdin=f"{CANARY}\n"), fairlead("secrets", "list")]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    identity = (state.root / "secrets-identity").read_text().strip()
    assert dict(opened(file, identity).values) == {"API_KEY": CANARY}
    assert CANARY.encode() not in file.read_bytes()
    assert "${secret:API_KEY}" in results[1].stdout
    assert f"{recipient}  (this machine)" in results[1].stdout
    removed = fairlead("secrets", "remove", "API_KEY")
    assert opened(file, identity).values == {}
    for result in (*results, removed):
        assert CANARY not in result.output


def test_setting_the_same_again_does_not_touch_the_file(fairlead, file: Path, recipient: str):
    fairlead("secrets", "set", "A", stdin="same")
    before = file.read_bytes()
    fairlead("secrets", "set", "A", stdin="same")
    assert file.read_bytes() == before


def test_a_file_is_shared_and_unshared(fairlead, file: Path, recipient: str):
    fairlead("secrets", "set", "A", stdin="a")
    identity, public = new_identity()
    assert fairlead("secrets", "share", public).exit_code == 0
    assert opened(file, identity).values == {"A": "a"}
    assert json.loads(fairlead("secrets", "list", "--json").stdout) == {
        "secrets": ["A"],
        "recipients": [recipient, public],
    }
    assert fairlead("secrets", "unshare", public).exit_code == 0
    refused = fairlead("secrets", "unshare", recipient)
    assert refused.exit_code == 2
    assert "could not read the file any more" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "why"),
    [
        (("set", "1a"), "x", "cannot name a secret"),
        (("set", "a"), "", "neither empty"),
        (("set", "a"), "x" * 70_000, "too long"),
        (("remove", "none"), None, "there are: none"),
        (("share", "age1nonsense"), None, "not an age public key"),
        (("unshare", "age1nobody"), None, "no such recipient"),
    ],
)
def test_bad_input_says_what_is_wrong(fairlead, recipient: str, arguments, stdin, why: str):
    result = fairlead("secrets", *arguments, stdin=stdin)
    assert result.exit_code == 2
    assert why in result.stderr


def test_without_a_file_it_says_how_to_make_one(fairlead):
    result = fairlead("secrets", "set", "a", stdin="x")
    assert result.exit_code == 2
    assert "fairlead secrets init" in result.stderr


def test_another_machines_file_says_who_can_help(fairlead, file: Path, recipient: str):
    file.write_bytes(Vault((new_identity()[1],), {"A": CANARY}).sealed())
    result = fairlead("secrets", "list")
    assert result.exit_code == 2
    assert "fairlead secrets share" in result.stderr


def test_the_key_may_come_from_the_environment(fairlead, file: Path, monkeypatch: pytest.MonkeyPatch):
    identity, public = new_identity()
    monkeypatch.setenv("FAIRLEAD_SECRETS_IDENTITY", identity)
    made = json.loads(fairlead("secrets", "init", "--json").stdout)
    assert (made["recipient"], made["madeKey"]) == (public, False)
    assert opened(file, identity).values == {}
