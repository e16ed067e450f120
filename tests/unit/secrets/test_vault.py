from __future__ import annotations

import json
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fairlead.model.errors import ProblemError
from fairlead.secrets.vault import LARGEST, Vault, VaultSecrets, new_identity, public_of

ADA, ADAS = new_identity()
BOB, BOBS = new_identity()
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
values = st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable())


@given(st.dictionaries(names, values, max_size=4))
def test_what_is_sealed_opens_for_each_recipient_and_nobody_else(given_values: dict[str, str]) -> None:
    vault = Vault((ADAS, BOBS))
    for name, value in given_values.items():
        vault = vault.with_value(name, value)
    sealed = vault.sealed()
    assert Vault.opened(sealed, [ADA]) == Vault.opened(sealed, [new_identity()[0], BOB]) == vault
    with pytest.raises(ProblemError) as refused:
        Vault.opened(sealed, [new_identity()[0]])
    assert refused.value.problem.code == "secrets-cannot-decrypt"
    for value in given_values.values():
        assert len(value) < 4 or value.encode() not in sealed


def sealed_json(document: object) -> bytes:
    return pyrage.encrypt(json.dumps(document).encode(), [pyrage.x25519.Recipient.from_str(ADAS)])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "secrets-cannot-decrypt"),
        (b"hunter2-canary", "secrets-cannot-decrypt"),
        (Vault((ADAS,), {"A": "canary"}).sealed()[:-40], "secrets-cannot-decrypt"),
        (sealed_json([]), "secrets-damaged"),
        (sealed_json({"version": 1}), "secrets-damaged"),
        (sealed_json({"version": 1, "recipients": [], "secrets": {"A": 1}}), "secrets-damaged"),
        (sealed_json({"version": 2, "recipients": [], "secrets": {"A": "canary"}}), "secrets-newer"),
    ],
)
def test_what_cannot_be_read_is_refused_without_showing_it(content: bytes, code: str) -> None:
    with pytest.raises(ProblemError) as refused:
        Vault.opened(content, [ADA])
    assert refused.value.problem.code == code
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_without_an_identity_the_error_says_how_to_make_one() -> None:
    with pytest.raises(ProblemError, match="fairlead secrets init"):
        Vault.opened(b"", [])
    with pytest.raises(ProblemError, match="AGE-SECRET-KEY") as refused:
        Vault.opened(b"", ["not-a-key-canary"])
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("", "v"), ("1a", "v"), ("a b", "v"), ("a", ""), ("a", "x\0")])
def test_a_name_or_value_that_cannot_be(name: str, value: str) -> None:
    with pytest.raises(ProblemError):
        Vault((ADAS,)).with_value(name, value)


def test_the_representations_show_no_value(tmp_path: Path) -> None:
    path = tmp_path / "secrets.age"
    path.write_bytes(Vault((ADAS,), {"A": "canary"}).sealed())
    secrets = VaultSecrets(path, lambda: [ADA])
    assert secrets.get("A") == "canary"
    assert "canary" not in repr(secrets) + repr(Vault((ADAS,), {"A": "canary"}))
    assert public_of(ADA) == ADAS


def test_the_file_is_read_anew_when_it_has_changed_and_not_before(tmp_path: Path) -> None:
    path, asked, told = tmp_path / "secrets.age", [], []
    secrets = VaultSecrets(path, lambda: asked.append(1) or [ADA], on_read=told.append)
    with capture_logs() as logs:
        assert secrets.get("A") is secrets.get("A") is None
    assert ["No such file" in each["why"] for each in logs] == [True]
    path.write_bytes(Vault((ADAS,), {"A": "one"}).sealed())
    assert [secrets.get("A"), secrets.get("B"), secrets.get("A")] == ["one", None, "one"]
    assert len(asked) == 1
    path.write_bytes(Vault((ADAS,), {"A": "twoo"}).sealed())
    assert secrets.get("A") == "twoo"
    assert told == ["one", "one", "twoo"]


def test_a_file_that_became_unreadable_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secrets.age"
    path.write_bytes(Vault((ADAS,), {"A": "one"}).sealed())
    secrets = VaultSecrets(path, lambda: [ADA])
    assert secrets.get("A") == "one"
    path.write_bytes(b"x" * (LARGEST + 1))
    with capture_logs() as logs:
        assert secrets.get("A") is None
    assert "more than" in logs[0]["why"]
