from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.drivers import server_log as module
from fairlead.drivers.server_log import ALLOWANCE, MAX_FILE, MAX_LINE, ServerLog

SECRET = "sk-0123456789abcdef"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z light-1 \| "


@pytest.fixture
def files():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "light.log"


def lines_of(path) -> list[str]:
    """The lines without what stands before them in each."""
    lines = path.read_text().splitlines()
    assert all(re.match(STAMP, line) for line in lines), lines
    return [re.sub(STAMP, "", line, count=1) for line in lines]


async def test_lines_are_stamped_and_named(path, files):
    log = ServerLog(path, "light-1", [], files)
    log.note("started, pid 7")
    log.feed(b"one\ntw")
    log.feed(b"o\r\n\n   \nthree")
    log.note("exited with code 0")
    await log.written()
    assert lines_of(path) == ["--- started, pid 7", "one", "two", "three", "--- exited with code 0"]
    assert log.tail() == "one\ntwo\nthree"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_tail_is_the_last_twenty_lines_cut(path, files):
    log = ServerLog(path, "light-1", [], files)
    log.feed(b"".join(b"%d\n" % number for number in range(100)) + b"x" * 5000 + b"\n")
    assert log.tail().splitlines() == [*map(str, range(81, 100)), "x" * 1000]
    await log.written()


async def test_secrets_are_masked_in_lines_notes_and_tail(path, files):
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----"
    log = ServerLog(path, "light-1", [SECRET, SECRET + "-longer", "short", pem, ""], files)
    log.feed(f"key={SECRET}-longer, {SECRET}! short\n".encode() + SECRET[:9].encode())
    log.feed(SECRET[9:].encode() + b"\n" + pem.encode() + b"\n")
    log.note(f"with {SECRET}")
    await log.written()
    assert lines_of(path) == ["key=***, ***! short", "***", "***", "***", "***", "--- with ***"]
    assert SECRET not in log.tail()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
async def test_no_secret_gets_through_however_stderr_is_cut(path, files, data):
    path.unlink(missing_ok=True)
    pieces = st.sampled_from([SECRET, "a", "\n", "x" * MAX_LINE, "y" * 70_000])
    stream = "".join(data.draw(st.lists(pieces, max_size=20))).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    log = ServerLog(path, "light-1", [SECRET], files)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        log.feed(stream[start:end])
    log.note("end")
    await log.written()
    assert SECRET not in path.read_text()
    assert SECRET[:12] not in log.tail() + path.read_text()
    assert SECRET[-12:] not in log.tail() + path.read_text()


async def test_a_long_line_is_cut_and_the_next_one_is_whole(path, files):
    log = ServerLog(path, "light-1", [], files)
    for _ in range(3):
        log.feed(b"x" * 60_000)
    log.feed(b"xxx\nnext\n" + b"y" * (MAX_LINE + 5) + b"\n")
    await log.written()
    assert lines_of(path) == ["x" * MAX_LINE, "next", "y" * MAX_LINE]


async def test_the_file_is_rotated_and_one_old_one_kept(path, files, monkeypatch):
    monkeypatch.setattr(module, "ALLOWANCE", 2**30)
    log = ServerLog(path, "light-1", [], files)
    for number in range(50):
        log.feed(b"%d " % number + b"x" * 8000 + b"\n" + (b"z" * 99 + b"\n") * 1000)
        await log.written()
    assert sorted(each.name for each in path.parent.iterdir()) == ["light.log", "light.log.1"]
    assert all(each.stat().st_size <= MAX_FILE for each in path.parent.iterdir())
    assert "\n" in path.read_text()
    lines_of(path)
    lines_of(path.with_name("light.log.1"))


async def test_a_flood_is_counted_dropped_and_its_end_still_seen(path, files):
    log = ServerLog(path, "light-1", [SECRET], files)
    block = (b"e" * 99 + b"\n") * 650
    for _ in range(1600):  # 100 MB
        log.feed(block)
    log.feed(b"e\n" * 3000 + f"the last {SECRET}\n".encode())
    log.note("exited with code 0")
    await log.written()
    lines = lines_of(path)
    assert log.tail().splitlines()[-1] == "the last ***"
    assert lines[-1] == "--- exited with code 0"
    dropped = re.fullmatch(r"--- (\d+) bytes dropped: more than is kept", lines[-2])
    assert dropped is not None
    assert int(dropped[1]) > 99e6
    assert path.stat().st_size < 3 * ALLOWANCE


async def test_after_a_flood_the_next_second_is_kept_again(path, files, monkeypatch):
    log = ServerLog(path, "light-1", [], files)
    clock = [100.0]
    monkeypatch.setattr(log._loop, "time", lambda: clock[0])
    log.feed(b"z" * ALLOWANCE + b"zz\n")
    log.feed(b"still too much\n")
    clock[0] += 1.0
    log.feed(b"heard\n")
    monkeypatch.undo()
    await log.written()
    assert lines_of(path) == [f"--- {ALLOWANCE + 18} bytes dropped: more than is kept", "heard"]


async def test_a_disk_that_hangs_takes_no_memory(path, files, monkeypatch, request):
    held = threading.Event()
    request.addfinalizer(held.set)
    files.submit(held.wait)
    monkeypatch.setattr(module, "ALLOWANCE", 1000)
    log = ServerLog(path, "light-1", [], files)
    clock = [100.0]
    monkeypatch.setattr(log._loop, "time", lambda: clock[0])
    for _ in range(1000):
        clock[0] += 1.0
        log.feed(b"x" * 500 + b"\n")
    assert len(log._waiting) < 2000
    assert log.tail().count("x" * 500) == 20
    monkeypatch.undo()
    held.set()
    await log.written()
    assert lines_of(path)[0] == "x" * 500


async def test_a_log_that_cannot_be_written_disturbs_nobody(tmp_path, files):
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = ServerLog(tmp_path / "logs" / "light.log", "light-1", [], files)
    log.feed(b"one\n")
    await log.written()
    assert log.tail() == "one"


async def test_a_link_in_the_logs_place_is_not_followed(path, files, tmp_path):
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    log = ServerLog(path, "light-1", [], files)
    log.feed(b"one\n")
    await log.written()
    assert not (tmp_path / "elsewhere").exists()
