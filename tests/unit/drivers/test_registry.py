from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairlead.drivers import registry as module
from fairlead.drivers.process_table import boot_id
from fairlead.drivers.registry import Record, Registry

RECORD = Record("me:one#1", 50, frozenset({(50, 7.0), (51, 8.5)}))


@pytest.fixture
def files():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "instances.json"


async def test_the_next_orchestrator_reads_what_this_one_wrote(path, files):
    registry = Registry(path, files)
    registry.add(RECORD)
    await registry.save()
    assert await Registry(path, files).load() == {"me:one#1": RECORD.known}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_an_ended_instance_is_forgotten(path, files):
    registry = Registry(path, files)
    registry.add(RECORD)
    registry.save()
    registry.remove(RECORD)
    registry.remove(RECORD)
    await registry.save()
    assert await registry.load() == {}
    assert [each.name for each in path.parent.iterdir()] == ["instances.json"]


async def test_after_another_boot_pids_mean_nothing(path, files):
    registry = Registry(path, files)
    registry.add(RECORD)
    await registry.save()
    content = json.loads(path.read_text())
    assert content["boot"] == boot_id()
    path.write_text(json.dumps(content | {"boot": "another"}))
    assert await registry.load() == {}


async def test_what_has_not_changed_is_not_written_again(path, files):
    registry = Registry(path, files)
    registry.add(RECORD)
    await registry.save()
    written = path.stat().st_ino
    await registry.save()
    assert path.stat().st_ino == written
    registry.remove(RECORD)
    await registry.save()
    assert path.stat().st_ino != written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"boot": "%b"}',
        b'{"boot": "%b", "instances": []}',
        b'{"boot": "%b", "instances": {"me:one#1": [[1]]}}',
        b'{"boot": "%b", "instances": {"me:one#1": [["x", 1]]}}',
        b'{"boot": "%b", "instances": {"me:one#1": [[1, null]]}}',
        b"[" * 100_000,
    ],
)
async def test_a_damaged_file_is_reported_and_counts_as_empty(path, files, content, monkeypatch):
    warnings = []
    monkeypatch.setattr(module._log, "warning", lambda event, **more: warnings.append((event, more)))
    path.write_bytes(content % boot_id().encode() if b"%b" in content else content)
    assert await Registry(path, files).load() == {}
    assert len(warnings) == 1
    assert str(path) in warnings[0][1]["file"]


async def test_a_file_that_is_not_there_is_no_cause_for_a_warning(path, files, monkeypatch):
    monkeypatch.setattr(module._log, "warning", lambda *_, **__: pytest.fail("warned"))
    assert await Registry(path, files).load() == {}


async def test_a_file_that_cannot_be_written_stops_nothing(tmp_path, files, monkeypatch):
    warnings = []
    monkeypatch.setattr(module._log, "warning", lambda event, **more: warnings.append(event))
    registry = Registry(tmp_path / "missing" / "instances.json", files)
    registry.add(RECORD)
    await registry.save()
    assert warnings == ["cannot note which instances run"]
