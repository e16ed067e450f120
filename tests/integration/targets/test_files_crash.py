"""A writer of files that is killed at each of its steps, and one that meets a disk that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from fairlead.ports.gitops import TargetAwayError, Write
from fairlead.targets.file_writing import FAULT_POINTS
from fairlead.targets.files import FilesTarget
from support import killed_files_writer
from support.killed_files_writer import GONE, NAME, NEW

GUARD = 60.0  # s
OLD = b'{"mcpServers": {"git": {"command": "old"}}, // mine\n "theirs": 1}\n'
PUTS = tuple(step for step in FAULT_POINTS if "remov" not in step)
KILLS = [(step, nth) for step in PUTS for nth in (1, 2)] + [
    (step, 1) for step in FAULT_POINTS if step not in PUTS
]


def run(root: Path, step: str, nth: int = 1) -> int:
    command = [sys.executable, killed_files_writer.__file__, str(root), step, str(nth)]
    return subprocess.run(command, timeout=GUARD, check=False).returncode


def left(root: Path) -> list[Path]:
    return list(root.rglob(".fairlead-*"))


@pytest.mark.parametrize(("step", "nth"), KILLS)
def test_a_process_killed_at_any_step_leaves_whole_files_and_the_next_one_finishes(
    tmp_path: Path, step: str, nth: int
):
    (tmp_path / "sub").mkdir()
    (tmp_path / NAME).write_bytes(OLD)
    (tmp_path / NAME).chmod(0o640)
    (tmp_path / GONE).write_bytes(b"going\n")
    assert run(tmp_path, step, nth) == -signal.SIGKILL
    assert (tmp_path / NAME).read_bytes() in {OLD, OLD.replace(b'"old"', b'"new"')}
    if (tmp_path / NEW).exists():
        assert (tmp_path / NEW).read_bytes() == b"made\n" * 10_000
    if (tmp_path / GONE).exists():
        assert (tmp_path / GONE).read_bytes() == b"going\n"
    assert len(left(tmp_path)) == (step in {"temp-made", "temp-written", "temp-synced", "looked-again"})

    assert run(tmp_path, "none") == 0
    assert (tmp_path / NAME).read_bytes() == OLD.replace(b'"old"', b'"new"')
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o640
    assert (tmp_path / NEW).read_bytes() == b"made\n" * 10_000
    assert not (tmp_path / GONE).exists()
    assert left(tmp_path) == []


async def test_a_read_alone_sweeps_what_a_killed_process_has_left(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / NAME).write_bytes(OLD)
    assert run(tmp_path, "temp-written") == -signal.SIGKILL
    assert len(left(tmp_path)) == 1
    await FilesTarget(tmp_path, str).read([NAME])
    assert left(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0755", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk of its own can only be mounted by root, where mounting is allowed")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_is_told_and_leaves_everything_as_it_was(small_disk: Path):
    target = FilesTarget(small_disk, str)
    tag = await target.write(Write("x.md", None, b"small\n", None))
    (small_disk / "filler").write_bytes(b"x" * 64 * 1024)
    with pytest.raises(TargetAwayError, match=r"x\.md: No space left on device; make room on the disk"):
        await target.write(Write("x.md", tag, b"large\n" * 30_000, None))
    assert (small_disk / "x.md").read_bytes() == b"small\n"
    assert left(small_disk) == []
    (small_disk / "filler").unlink()
    await target.write(Write("x.md", tag, b"large\n" * 10_000, None))
    assert (small_disk / "x.md").read_bytes() == b"large\n" * 10_000


async def test_a_disk_that_is_read_only_is_waited_for(small_disk: Path):
    target = FilesTarget(small_disk, str)
    tag = await target.write(Write("x.md", None, b"one\n", None))
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (Write("x.md", tag, b"two\n", None), Write("x.md", tag, None, None)):
        with pytest.raises(TargetAwayError, match=r"Read-only file system; mount"):
            await target.write(write)
    with pytest.raises(TargetAwayError):
        await target.write(Write("new/x.md", None, b"two\n", None))
    assert (await target.read(["x.md"]))["x.md"].tag == tag


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path):
    (tmp_path / "sub").mkdir(mode=0o555)
    target = FilesTarget(tmp_path, str)
    for act in (target.write, lambda write: target.check([write])):
        with pytest.raises(ProblemError, match="let the user that Fairlead runs as"):
            await act(Write("sub/x.md", None, b"x", None))
