"""The process driver against real children, well-behaved and not: all of them end, and leave nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.process_table import MARKER
from fairlead.model.errors import Fault, ProblemError
from fairlead.model.launch import RemoteLaunch
from support.light import (
    OWNER,
    Resources,
    alive,
    answered_json,
    answered_text,
    launch_light,
    nothing_more_than,
    outer_pid,
    spawn,
)
from support.recorder import Recorder, call, notify, request
from support.until import until

SHORT = 0.3  # s, a grace that is meant to run out


# -- what a child gets ---------------------------------------------------------------------------------------


async def test_the_environment_is_what_was_declared_and_the_marker(processes):
    link, heard = await processes.open(environment={"PATH": "/bin", "KEY": "a = b\nc"})
    environment = await answered_json(link, heard, 1, "environment")
    assert environment.pop(MARKER).startswith(f"{OWNER}:light-1#")
    environment.pop("LC_CTYPE", None)  # Python sets it by itself
    environment.pop("PWD", None)  # and bwrap this
    assert environment == {"PATH": "/bin", "KEY": "a = b\nc"}


async def test_a_child_leads_a_session_of_its_own_and_sits_in_its_folder(processes):
    link, _ = await processes.ready()
    pid = link.statistics().pid
    assert os.getsid(pid) == os.getpgid(pid) == link.record.pid
    assert processes.sandboxed or link.record.pid == pid
    assert psutil.Process(pid).cwd() == str(processes.folder)
    assert psutil.Process(pid).num_fds() == 3


async def test_two_instances_know_nothing_of_each_other(processes):
    (one, heard_one), (two, heard_two) = await processes.ready(), await processes.ready()
    pids = {
        outer_pid(link.statistics().pid, (await answered_json(link, heard, 1, "count"))["pid"])
        for link, heard in ((one, heard_one), (two, heard_two))
    }
    assert pids == {one.statistics().pid, two.statistics().pid}
    assert len(pids) == 2
    await one.close()  # the same instance id: only the marker's random part tells them apart
    assert await answered_text(two, heard_two, 2, "echo", text="still here") == "still here"


# -- frames --------------------------------------------------------------------------------------------------


async def test_each_frame_arrives_as_one_line(processes):
    record = processes.folder / "record"
    link, heard = await processes.open("--record", str(record))
    frames = [json.dumps({"jsonrpc": "2.0", "id": n, "method": "ping"}).encode() for n in range(500)]
    for number, frame in enumerate(frames):
        link.send(frame, "ping", number, None)
    await heard.answered(499)
    assert [message["id"] for message in heard.messages] == list(range(500))
    assert record.read_bytes() == b"".join(frame + b"\n" for frame in frames)


@pytest.mark.parametrize("frame", [b'{"a":1}\n{"b":2}', b'{"a":1}\r{"b":2}', b"{}\n", b"\r{}"])
async def test_a_frame_that_would_be_two_messages_is_refused(processes, frame):
    record = processes.folder / "record"
    link, heard = await processes.open("--record", str(record))
    with pytest.raises(ValueError, match="CR or LF"):
        link.send(frame, "ping", 1, None)
    request(link, 2, "ping")
    await heard.answered(2)
    assert record.read_bytes().count(b"\n") == 1


async def test_garbage_around_messages_is_handed_on_as_it_is(processes):
    link, heard = await processes.open("--garbage")
    assert await answered_text(link, heard, 1, "echo", text="x") == "x"
    assert heard.frames[:-1] == [b"this is not JSON", b'{"half":', b"\xff\xfe", b"[]"]


async def test_large_frames_go_both_ways(processes):
    link, heard = await processes.ready()
    text = "äöü" * 1_000_000
    call(link, 1, "echo", text=text)
    call(link, 2, "big", bytes=5_000_000)
    assert (await heard.answered(1))["result"]["content"][0]["text"] == text
    assert len((await heard.answered(2))["result"]["content"][0]["text"]) == 5_000_000


@pytest.mark.parametrize("processes_options", [{"max_frame": 100_000}])
async def test_a_message_over_the_limit_ends_the_link_at_once(tmp_path, processes_options):
    driver = ProcessDriver(OWNER, tmp_path / "instances.json", **processes_options)
    heard = Recorder()
    link = await driver.open(launch_light(tmp_path), heard)
    call(link, 1, "big", bytes=99_000)
    await heard.answered(1)
    call(link, 2, "big", bytes=50_000_000)
    lost = await heard.ended()
    assert lost.reason == "sent a message of more than 100000 bytes"
    assert not lost.expected
    assert heard.answer(2) is None
    await driver.close()


async def test_a_server_that_does_not_read_tells_backpressure_and_then_takes_everything(processes):
    link, heard = await processes.ready()
    pid = link.statistics().pid
    os.kill(pid, signal.SIGSTOP)
    for number in range(200):
        call(link, number, "echo", text="x" * 10_000)
        await asyncio.sleep(0)
    assert ("writable", False) in heard.events
    assert link.statistics().queued_bytes > 1_000_000
    os.kill(pid, signal.SIGCONT)
    for number in range(200):
        await heard.answered(number)
    assert [event[1] for event in heard.events if event[0] == "writable"] == [False, True]
    assert link.statistics().queued_bytes == 0


async def test_a_paused_link_buffers_no_more_than_the_pipe(processes):
    link, heard = await processes.ready()
    link.pause_reading()
    frames = len(heard.frames)
    for number in range(20):
        call(link, number, "big", bytes=500_000)
    await until(
        lambda: (
            Path(f"/proc/{link.statistics().pid}/wchan").read_text() in ("pipe_write", "anon_pipe_write", "0")
        )
    )
    await asyncio.sleep(0.05)
    assert len(heard.frames) == frames
    assert link._splitter.buffered_bytes == 0
    link.resume_reading()
    for number in range(20):
        await heard.answered(number)


async def test_nothing_can_be_abandoned_by_itself(processes):
    link, heard = await processes.ready()
    call(link, 1, "sleep", seconds=60)
    assert link.abandon(1) is False
    link.negotiated("2025-11-25")
    notify(link, "notifications/cancelled", {"requestId": 1})
    assert await answered_text(link, heard, 2, "echo", text="x") == "x"
    assert heard.answer(1) is None


# -- how links end -------------------------------------------------------------------------------------------


async def test_the_end_of_stdin_ends_a_good_server(processes):
    link, heard = await processes.ready()
    await link.close()
    assert (heard.lost.reason, heard.lost.expected, heard.lost.exit_code) == (
        "stopped (exited with code 0)",
        True,
        0,
    )
    request(link, 5, "ping")
    link.pause_reading()
    link.resume_reading()
    await link.close()


BAD_STOPS = {
    "ignores the end of stdin": (["--ignore-stdin-eof"], "stopped (killed by SIGTERM)", -15),
    "ignores TERM too": (["--ignore-stdin-eof", "--ignore-term"], "stopped (killed by SIGKILL)", -9),
    "never reads": (["--never-read"], "stopped (killed by SIGTERM)", -15),
}


@pytest.mark.parametrize(("flags", "reason", "code"), BAD_STOPS.values(), ids=BAD_STOPS)
async def test_a_bad_server_ends_in_time(processes, flags, reason, code):
    started = processes.folder / "pid"
    link, heard = await processes.open(*flags, "--pid-file", str(started), stop_grace=SHORT)
    await until(started.exists)
    if "--ignore-term" in flags:
        await answered_text(link, heard, 1, "echo", text="the signal is ignored by now")
    if "--never-read" in flags:
        call(link, 1, "echo", text="x" * 1_000_000)
    start = time.monotonic()
    await link.close()
    assert time.monotonic() - start < 2 * SHORT + 1
    assert (heard.lost.reason, heard.lost.expected, heard.lost.exit_code) == (reason, True, code)


async def test_a_stopped_process_ends_in_time(processes):
    link, heard = await processes.ready(stop_grace=SHORT)
    os.kill(link.statistics().pid, signal.SIGSTOP)
    start = time.monotonic()
    await link.close()
    assert time.monotonic() - start < 2 * SHORT + 1
    assert heard.lost.reason == "stopped (killed by SIGTERM)"


async def test_closing_at_once_after_opening(processes):
    link, heard = await processes.open(stop_grace=SHORT)
    await link.close()
    assert heard.lost.expected


async def test_concurrent_closes_share_one_stop_and_a_cancelled_one_spoils_nothing(processes):
    link, heard = await processes.ready("--ignore-stdin-eof", stop_grace=SHORT)
    closing = [asyncio.create_task(link.close()) for _ in range(5)]
    await asyncio.sleep(0.01)
    closing[0].cancel()
    await asyncio.gather(*closing[1:], link.close())
    assert closing[0].cancelled()
    assert heard.lost.expected
    assert not alive(link.statistics().pid)


async def test_closing_the_driver_closes_every_link(processes):
    links = [await processes.ready() for _ in range(3)]
    await processes.driver.close()
    assert all(heard.lost.expected for _, heard in links)
    assert not any(alive(link.statistics().pid) for link, _ in links)
    with pytest.raises(RuntimeError, match="closed"):
        await processes.open()
    await processes.driver.close()


async def test_an_exit_tells_its_code_and_the_last_words(processes):
    link, heard = await processes.open("--exit-at-once", "3")
    lost = await heard.ended()
    assert (lost.reason, lost.expected, lost.exit_code) == ("exited with code 3", False, 3)
    assert lost.detail == "light: exiting at once, as told"
    await link.close()
    assert heard.lost is lost


@pytest.mark.parametrize(("number", "reason"), [(9, "killed by SIGKILL"), (40, "killed by signal 40")])
async def test_a_kill_is_told_as_one(processes, number, reason):
    link, heard = await processes.ready()
    call(link, 1, "sleep", seconds=60)
    os.kill(link.statistics().pid, number)
    lost = await heard.ended()
    assert (lost.reason, lost.expected, lost.exit_code) == (reason, False, -number)


async def test_a_close_during_a_crash_waits_for_its_end(processes):
    link, heard = await processes.ready()
    os.kill(link.statistics().pid, signal.SIGKILL)
    await link.close()
    assert heard.lost is not None
    assert not alive(link.statistics().pid)


SAYS_MUCH_AND_EXITS = """
import os
for n in range(2000):
    os.write(1, b'{"n":%d,"pad":"%s"}\\n' % (n, b"x" * 90))
"""


async def test_everything_said_before_an_exit_is_heard_before_the_loss(processes):
    _, heard = await processes.open(argv=(sys.executable, "-S", "-E", "-c", SAYS_MUCH_AND_EXITS))
    await heard.ended()
    assert [message["n"] for message in heard.messages] == list(range(2000))
    assert heard.events[-1][0] == "lost"


async def test_what_waits_in_a_paused_pipe_is_heard_before_the_loss(processes):
    argv = (sys.executable, "-S", "-E", "-c", "import os; os.write(1, b'{}\\n' * 1000)")
    link, heard = await processes.open(argv=argv)
    link.pause_reading()
    await heard.ended()
    assert len(heard.frames) == 1000


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, time; os.close(1); time.sleep(600)", "closed its stdout"),
        ("import os, time; os.close(1); os.read(0, 1); os._exit(7)", "exited with code 7"),
        ("import os; os.close(1); os._exit(4)", "exited with code 4"),
    ],
)
async def test_a_server_without_stdout_is_lost(processes, code, reason):
    if processes.sandboxed and reason == "closed its stdout":
        pytest.skip("bwrap holds its stdout, too: a health check finds out")
    link, heard = await processes.open(argv=(sys.executable, "-S", "-E", "-c", code), stop_grace=SHORT)
    if "os.read" in code:
        link.send(b"go on", "", None, None)
    assert (await heard.ended()).reason == reason


async def test_a_server_without_stdin_is_lost_when_it_is_called(processes):
    if processes.sandboxed:
        pytest.skip("bwrap holds its stdin, too: a health check finds out")
    code = "import os, time; os.close(0); os.write(1, b'{}\\n'); time.sleep(600)"
    link, heard = await processes.open(argv=(sys.executable, "-S", "-E", "-c", code), stop_grace=SHORT)
    await heard.until(lambda: heard.frames)
    link.send(b"hello?", "", None, None)
    assert (await heard.ended()).reason == "closed its stdin"


# -- descendants ---------------------------------------------------------------------------------------------

DESCENDANTS = [
    {"how": how, "hold": hold, "clean": clean}
    for how in ("child", "setsid", "double-fork")
    for hold in (False, True)
    for clean in (False, True)
    # Forked twice and without the marker it is tied to us by nothing, unless a look saw it being made
    if (how, clean) != ("double-fork", True)
]


def described(how: dict) -> str:
    return "-".join([how["how"], *(name for name in ("hold", "clean") if how[name])])


async def seen_below(processes, link, pid: int) -> None:
    """Wait until a look at the processes has found this one."""
    await until(lambda: any(known == pid for known, _ in link.record.known))


@pytest.mark.parametrize("how", DESCENDANTS, ids=described)
async def test_no_descendant_survives_a_close(processes, how):
    link, heard = await processes.ready()
    pid = await spawn(link, heard, **how)
    await link.close()
    assert heard.lost.reason == "stopped (exited with code 0)"
    assert not alive(pid)


@pytest.mark.parametrize("how", [each for each in DESCENDANTS if not each["clean"]], ids=described)
async def test_no_descendant_survives_a_crash_and_all_are_gone_when_it_is_told(processes, how):
    link, heard = await processes.ready()
    pid = await spawn(link, heard, **how)
    os.kill(link.statistics().pid, signal.SIGKILL)
    await heard.ended()
    assert not alive(pid)


async def test_a_descendant_without_marker_that_was_seen_once_does_not_survive_a_crash(processes):
    link, heard = await processes.ready()
    pid = await spawn(link, heard, how="setsid", clean=True)
    await seen_below(processes, link, pid)
    os.kill(link.statistics().pid, signal.SIGKILL)
    await heard.ended()
    assert not alive(pid)


async def test_descendants_that_ignore_term_end_with_a_server_that_does(processes):
    link, heard = await processes.ready("--ignore-term", "--ignore-stdin-eof", stop_grace=SHORT)
    pids = [
        await spawn(link, heard, number, how=how)
        for number, how in enumerate(("child", "setsid", "double-fork"))
    ]
    await link.close()
    assert not any(map(alive, pids))


async def test_orphans_that_end_by_themselves_leave_no_zombie(processes):
    link, heard = await processes.ready()
    pid = await spawn(link, heard, how="double-fork")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{pid}").exists(), guard=20)
    assert await answered_text(link, heard, 1, "echo", text="x") == "x"


# -- memory --------------------------------------------------------------------------------------------------

EATS = "import os, time; a = b'x' * {0}; os.write(1, b'{{}}\\n'); time.sleep(600)"


async def test_a_server_over_its_memory_limit_is_ended(processes):
    argv = (sys.executable, "-S", "-E", "-c", EATS.format(60 * 2**20))
    _, heard = await processes.open(argv=argv, memory_limit=50 * 2**20)
    lost = await heard.ended()
    assert not lost.expected
    if lost.reason == "memory over the limit of 50 MiB; killed by SIGKILL":
        assert processes.sandboxed  # the kernel was faster
        return
    used = int(lost.reason.split()[1])
    assert lost.reason == f"memory {used} MiB over the limit of 50 MiB"
    assert 50 < used < 90


async def test_the_limit_is_for_the_whole_tree(processes):
    child = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-E', '-c', sys.argv[1]])"
    argv = (sys.executable, "-E", "-c", child, EATS.format(60 * 2**20))
    _, heard = await processes.open(argv=argv, memory_limit=50 * 2**20)
    assert (await heard.ended()).reason.startswith("memory ")


async def test_a_server_within_its_limit_lives_and_its_use_is_told(processes):
    link, heard = await processes.ready(memory_limit=200 * 2**20)
    assert link.statistics().pid is not None
    await until(lambda: link.statistics().memory_bytes)
    first = link.statistics()
    assert 2**20 < first.memory_bytes < 100 * 2**20
    call(link, 1, "big", bytes=10_000_000)
    await heard.answered(1)
    await until(lambda: link.statistics().cpu_seconds > 0)
    assert heard.lost is None


# -- stderr --------------------------------------------------------------------------------------------------


async def test_stderr_is_kept_without_secrets(processes):
    code = "import os, sys; print('key', os.environ['KEY'], os.environ['HOME'], file=sys.stderr); sys.exit(1)"
    _, heard = await processes.open(
        argv=(sys.executable, "-S", "-E", "-c", code),
        environment={"KEY": "sk-123456789", "HOME": "/home/somebody"},
    )
    assert (await heard.ended()).detail == "key *** /home/somebody"
    await processes.driver.close()
    started, said, ended = (processes.folder / "light.log").read_text().splitlines()
    assert started.endswith(f": {sys.executable}")
    assert " light-1 | --- started, pid " in started
    assert said.endswith(" light-1 | key *** /home/somebody")
    assert ended.endswith(" light-1 | --- exited with code 1")


async def test_a_flood_on_stderr_holds_up_neither_child_nor_loop_nor_fills_the_disk(processes):
    link, heard = await processes.ready()
    call(link, 1, "stderr", bytes=100_000_000)
    longest = 0.0
    while heard.answer(1) is None:
        before = time.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - before)
    assert longest < 0.5
    await link.close()
    logs = list(processes.folder.glob("light.log*"))
    assert sum(each.stat().st_size for each in logs) < 4 * 2**20


# -- what cannot be started ----------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    def written(content: str, mode: int) -> str:
        path = tmp_path / "script"
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    return written


async def refused(processes, *, fault: Fault = Fault.UPSTREAM, **launch) -> ProblemError:
    heard = Recorder()
    with pytest.raises(ProblemError) as caught:
        await processes.driver.open(processes.launch(**launch), heard)
    assert caught.value.problem.fault is fault
    assert heard.events == []
    return caught.value


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "/etc/passwd/x"])
async def test_a_command_that_is_not_there(processes, command):
    problem = (await refused(processes, argv=(command, "--token=secret"))).problem
    assert problem.code == "command-not-found"
    assert command in problem.detail
    assert "secret" not in problem.detail


@pytest.mark.parametrize(
    ("content", "mode"), [("#!/bin/sh\n", 0o644), ("no program", 0o755), ("#!/no/interpreter\n", 0o755)]
)
async def test_a_file_that_is_no_program(processes, script, content, mode):
    path = script(content, mode)
    problem = (await refused(processes, argv=(path,))).problem
    assert problem.code == "not-executable"
    assert path in problem.detail
    assert ("interpreter" in problem.detail) == ("/no/interpreter" in content)


async def test_a_folder_where_a_command_should_be(processes):
    assert (await refused(processes, argv=("/tmp",))).problem.code == "not-executable"


async def test_a_working_directory_that_is_not_there(processes):
    problem = (await refused(processes, working_directory=processes.folder / "missing")).problem
    assert problem.code == "bad-working-directory"
    assert str(processes.folder / "missing") in problem.detail


@pytest.mark.parametrize(
    "launch",
    [{"environment": {"A=B": "secret"}}, {"environment": {"A": "sec\0ret"}}, {"argv": ("true", "a\0b")}],
)
async def test_what_the_system_cannot_take(processes, launch):
    problem = (await refused(processes, **launch)).problem
    assert problem.code == "bad-command"
    assert "sec" not in problem.detail


async def test_arguments_that_are_too_long(processes):
    problem = (await refused(processes, argv=("true", "x" * 10_000_000))).problem
    assert problem.code == "bad-command"
    assert "Argument list too long" in problem.detail


@pytest.mark.parametrize("spare", range(8))
async def test_without_descriptors_nothing_is_started_and_nothing_leaks(processes, spare):
    await processes.ready()  # so that threads and the like are there
    before = Resources.now()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, limits[1]))
    try:
        with pytest.raises(ProblemError) as caught:
            await processes.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    problem = caught.value.problem
    assert (problem.code, problem.fault, problem.retry_after) == ("cannot-start", Fault.GATEWAY, 5.0)
    assert "Too many open files" in problem.detail
    await nothing_more_than(before)


async def test_a_child_whose_exit_cannot_be_watched_is_not_left_alone(processes, monkeypatch):
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "none left")

    before = psutil.Process().children()  # those of other tests' fixtures
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert (await refused(processes, fault=Fault.GATEWAY)).problem.code == "cannot-start"
    assert psutil.Process().children() == before


async def test_a_launch_of_another_kind_is_a_programming_error(processes):
    with pytest.raises(AssertionError):
        await processes.driver.open(RemoteLaunch("x", "http://127.0.0.1:1/mcp"), Recorder())


# -- the registry --------------------------------------------------------------------------------------------


async def test_what_runs_stands_in_the_registry_and_nothing_else(processes):
    link, heard = await processes.ready()
    pid = await spawn(link, heard, how="double-fork", clean=False)

    def noted() -> set[int]:
        instances = json.loads(processes.registry.read_text())["instances"]
        return {noted for known in instances.values() for noted, _ in known}

    await until(lambda: noted() - link._confined.frame == {link.statistics().pid, pid})
    await link.close()
    assert noted() == set()
