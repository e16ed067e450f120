"""What is kept of live edits: whole or not at all, private, and never in the way of a start."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fairlead.model.errors import ProblemError
from fairlead.model.reports import Override, Owner
from fairlead.stores.overrides import Found, Kept, OverrideStore
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
def test_what_was_written_is_read(state: StateFolder, kept: Kept) -> None:
    state.overrides_file.write_text(kept.model_dump_json())
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Found(kept)
    assert not logs


def test_without_a_file_nothing_is_kept(state: StateFolder) -> None:
    with capture_logs() as logs:
        assert OverrideStore(state).read() == Found()
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
        (json.dumps(GOOD | {"version": 0}).encode(), "version: Input should be 1"),
        (json.dumps(GOOD | {"version": "2"}).encode(), "version: Input should be 1"),
        (json.dumps(GOOD | {"owner": "nobody"}).encode(), "owner: Input should be 'file' or 'gitops'"),
        (json.dumps(GOOD | {"owner": "gitops"}).encode(), "what GitOps has put is missing"),
        (json.dumps(GOOD | {"surplus": "s3cret"}).encode(), "surplus: Extra inputs"),
        (json.dumps(GOOD | {"overrides": [GOOD["overrides"][0] | {"key": "a..b"}]}).encode(), "is not a key"),
        (json.dumps(GOOD | {"overrides": [{"key": "a"}]}).encode(), "overrides.0.by: Field required"),
    ],
)
def test_a_damaged_file_is_set_aside_and_told(state: StateFolder, content: bytes, why: str) -> None:
    state.overrides_file.write_bytes(content)
    with capture_logs() as logs:
        found = OverrideStore(state).read()
    assert found.kept == Kept()
    (entry,) = logs
    assert entry["log_level"] == "error"
    assert why in entry["why"]
    assert why in found.lost
    assert "s3cret" not in repr(entry) + found.lost
    aside = state.root / "overrides.json.damaged.1"
    assert entry["moved_to"] == str(aside)
    assert str(aside) in found.lost
    assert aside.read_bytes() == content, "a person can still look at it"


def test_it_counts_as_lost_until_something_is_kept_again(state: StateFolder) -> None:
    store = OverrideStore(state)
    state.overrides_file.write_bytes(b"{")
    assert store.read().lost
    assert "overrides.json.damaged.1 was set aside" in store.read().lost, "after the next start, too"
    state.overrides_file.write_text(Kept(overrides=(EDIT,)).model_dump_json())
    assert store.read() == Found(Kept(overrides=(EDIT,)))


def test_what_was_taken_over_counts_no_more(state: StateFolder) -> None:
    state.overrides_file.write_text(Kept(overrides=(EDIT,)).model_dump_json())
    OverrideStore(state).retire()
    assert OverrideStore(state).read() == Found()
    assert (state.root / "overrides.json.imported").exists()


def test_no_file_that_was_set_aside_is_overwritten(state: StateFolder) -> None:
    store = OverrideStore(state)
    for number in range(1, 12):
        state.overrides_file.write_text(f"damaged {number}")
        store.read()
    for number in range(1, 12):
        aside = state.root / f"overrides.json.damaged.{number}"
        assert aside.read_text() == f"damaged {number}"


def test_a_newer_version_stops_the_start_and_stays(state: StateFolder) -> None:
    content = json.dumps(GOOD | {"version": 2, "more": 1})
    state.overrides_file.write_text(content)
    with pytest.raises(ProblemError, match="has version 2, this Fairlead reads 1: run the newer one"):
        OverrideStore(state).read()
    assert state.overrides_file.read_text() == content


def test_what_is_no_file_of_ours_stops_the_start_and_stays(state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    state.overrides_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProblemError, match="symbolic link"):
        OverrideStore(state).read()
    assert state.overrides_file.is_symlink()
    state.overrides_file.unlink()
    state.overrides_file.mkdir()
    with pytest.raises(ProblemError, match="not a regular file"):
        OverrideStore(state).read()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
@pytest.mark.parametrize("call", ["os.open", "os.fdopen"])
def test_what_cannot_be_read_just_now_stops_the_start_and_stays(
    state: StateFolder, monkeypatch, number: int, call: str
) -> None:
    store = OverrideStore(state)
    state.overrides_file.write_text(Kept(overrides=(EDIT,)).model_dump_json())

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(call, failing)
    with pytest.raises(ProblemError, match=os.strerror(number)):
        store.read()
    monkeypatch.undo()
    assert store.read() == Found(Kept(overrides=(EDIT,)))


def test_what_cannot_be_moved_is_told(state: StateFolder, monkeypatch) -> None:
    state.overrides_file.write_bytes(b"{")

    def readonly(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", readonly)
    assert OverrideStore(state).read().lost.endswith("was moved to nowhere: Read-only file system")
