"""What is kept of live edits: whole or not at all, private, and never in the way of a start."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fairlead.model.errors import ProblemError
from fairlead.model.reports import Override, Owner
from fairlead.stores.overrides import Kept, OverrideStore
from fairlead.stores.state import StateFolder

EDIT = Override(key="servers.a.scaling.maxInstances", value=9, was=4, by="ada", at=1_700_000_000.25)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    return folder


@pytest.mark.parametrize(
    "kept",
    [
        Kept(),
        Kept(overrides=(EDIT, Override(key='metadata."a.b"', removed=True, was="x", by="bob", at=2.0))),
        Kept(owner=Owner.GITOPS, accepted={"version": "1", "servers": {"ä": {"command": "x\n"}}}),
    ],
)
def test_what_is_written_is_read(state: StateFolder, kept: Kept) -> None:
    OverrideStore(state).write(kept)
    with capture_logs() as logs:
        assert OverrideStore(state).read() == kept
    assert not logs
    assert stat.S_IMODE(state.overrides_file.stat().st_mode) == 0o600
    assert [path.name for path in state.root.glob("*overrides*")] == ["overrides.json"]


def test_without_a_file_nothing_is_kept(state: StateFolder) -> None:
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Kept()
    assert not logs
    assert not state.overrides_file.exists(), "looking makes no file"


GOOD: dict[str, Any] = json.loads(Kept(overrides=(EDIT,)).model_dump_json())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Invalid JSON"),
        (b"\x00\xff", "Invalid JSON"),
        (b'{"version": 1, "overr', "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"[" * 100_000, "Invalid JSON"),
        (json.dumps(GOOD | {"version": 2}).encode(), "version: Input should be 1"),
        (json.dumps(GOOD | {"owner": "nobody"}).encode(), "owner: Input should be 'file' or 'gitops'"),
        (json.dumps(GOOD | {"owner": "gitops"}).encode(), "an accepted spec is kept exactly while"),
        (json.dumps(GOOD | {"surplus": "s3cret"}).encode(), "surplus: Extra inputs"),
        (json.dumps(GOOD | {"overrides": [GOOD["overrides"][0] | {"key": "a..b"}]}).encode(), "is not a key"),
        (json.dumps(GOOD | {"overrides": [{"key": "a"}]}).encode(), "overrides.0.by: Field required"),
    ],
)
def test_a_damaged_file_is_set_aside_with_a_warning(state: StateFolder, content: bytes, why: str) -> None:
    state.overrides_file.write_bytes(content)
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Kept()
    (warning,) = logs
    assert warning["log_level"] == "warning"
    assert why in warning["why"]
    assert "s3cret" not in repr(warning)
    aside = state.root / "overrides.json.damaged"
    assert warning["moved_to"] == str(aside)
    assert aside.read_bytes() == content, "a person can still look at it"

    OverrideStore(state).write(Kept(overrides=(EDIT,)))
    assert OverrideStore(state).read().overrides == (EDIT,), "what comes later is kept again"


def test_what_is_no_file_of_ours_is_set_aside_too(state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    state.overrides_file.symlink_to(tmp_path / "elsewhere")
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Kept()
    assert "symbolic link" in logs[0]["why"]
    assert not state.overrides_file.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_what_cannot_be_moved_does_not_stop_the_start_either(state: StateFolder) -> None:
    state.overrides_file.mkdir()
    (state.root / "overrides.json.damaged").write_text("a file where a folder should go")
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Kept()
    assert logs[0]["moved_to"].startswith("nowhere: ")
    with pytest.raises(ProblemError, match="cannot use a file of the state folder"):
        OverrideStore(state).write(Kept())


def test_a_write_that_fails_leaves_the_old_content(state: StateFolder, monkeypatch) -> None:
    store = OverrideStore(state)
    store.write(Kept(overrides=(EDIT,)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ProblemError, match="No space left"):
        store.write(Kept())
    monkeypatch.undo()
    assert store.read() == Kept(overrides=(EDIT,))
    assert [path.name for path in state.root.glob(".overrides*")] == []
