"""What a confined process can do, by real attempts: as root if the tests run so, and as an ordinary user."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fairlead.drivers import confined
from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.sandbox_host import SandboxHost
from fairlead.model.errors import ProblemError
from fairlead.model.launch import Sandbox
from support.bubblewrap import sandbox_host
from support.light import OWNER, Processes, Resources, alive, launch_light, nothing_more_than
from support.recorder import Recorder
from support.until import until

NOBODY = 65534
MIB = 2**20


@pytest.fixture
async def box(tmp_path):
    sandbox_host()
    processes = Processes(tmp_path, sandboxed=True, sample_interval=0.05)
    yield processes
    await processes.driver.close()


async def told(box: Processes, code: str, *arguments: Any, **launch: Any) -> Any:
    """What a confined program says of itself: the value of its variable `found`."""
    program = f"import json, os, sys\n{code}\nos.write(1, json.dumps(found).encode() + b'\\n')\nos.read(0, 1)"
    argv = (sys.executable, "-S", "-E", "-c", program, *map(str, arguments))
    link, heard = await box.open(argv=argv, **launch)
    await heard.until(lambda: heard.frames or heard.lost)
    assert heard.frames, heard.lost
    answer = json.loads(heard.frames[0])
    await link.close()
    return answer


READS = """
def look(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read()
    except OSError as error:
        return type(error).__name__
found = [look(path) for path in sys.argv[1:]]
"""
WRITES = """
def write(path):
    try:
        with open(path, "w") as file:
            file.write("x")
        return "written"
    except OSError as error:
        return error.strerror
found = [write(path) for path in sys.argv[1:]]
"""


@pytest.fixture
def secret(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "key").write_text("s3cret")
    return folder


# -- files ---------------------------------------------------------------------------------------------------


def there(path: str | Path) -> bool:
    return Path(path).exists()


async def test_it_writes_where_it_may_and_nowhere_else(box, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    paths = (tmp_path / "open/a", tmp_path / "closed/a", "/usr/fairlead-test", "/etc/fairlead-test", "/tmp/a")
    said = await told(
        box, WRITES, *paths, sandbox=Sandbox(writable=(tmp_path / "open",), readable=(tmp_path,))
    )
    assert said == [
        "written",
        "Read-only file system",
        "Read-only file system",
        "Read-only file system",
        "written",
    ]
    assert (tmp_path / "open/a").read_text() == "x"
    assert not there("/tmp/a")


async def test_what_is_hidden_can_be_neither_read_nor_listed_nor_replaced(box, tmp_path, secret):
    (tmp_path / "way-in").symlink_to(secret)
    (tmp_path / "token").write_text("t0ken")
    sandbox = Sandbox(writable=(tmp_path,), hidden=(secret, tmp_path / "token", tmp_path / "not-there"))
    paths = (secret, secret / "key", tmp_path / "way-in/key", tmp_path / "token")
    found = await told(box, READS, *paths, sandbox=sandbox)
    assert "s3cret" not in str(found)
    assert "t0ken" not in str(found)
    assert found[0] in ("PermissionError", [])  # root may list what is empty
    assert found[1:3] == ["FileNotFoundError"] * 2
    written = await told(box, WRITES, secret / "new", tmp_path / "token", sandbox=sandbox)
    assert "written" not in written
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_dir()) == ["private", "way-in"]


async def test_the_innermost_path_decides(box, tmp_path, secret):
    (secret / "shared").mkdir()
    (secret / "shared/text").write_text("for all")
    sandbox = Sandbox(readable=(secret / "shared",), hidden=(secret,), writable=(tmp_path,))
    found = await told(box, READS, secret / "shared/text", secret / "key", sandbox=sandbox)
    assert found == ["for all", "FileNotFoundError"]


async def test_a_path_that_leads_through_hidden_links_is_found(box, tmp_path, secret):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/text").write_text("here")
    (secret / "link").symlink_to("../real")
    sandbox = Sandbox(writable=(tmp_path, secret / "link"), hidden=(secret,))
    assert await told(box, READS, secret / "link/text", secret / "key", sandbox=sandbox) == [
        "here",
        "FileNotFoundError",
    ]


async def test_services_of_the_system_cannot_be_reached_through_run_or_tmp(box):
    with socket.socket(socket.AF_UNIX) as service:
        path = f"/tmp/fairlead-test-{os.getpid()}.sock"
        service.bind(path)
        service.listen()
        code = f"""
import socket
try:
    socket.socket(socket.AF_UNIX).connect({path!r})
    found = "connected"
except OSError as error:
    found = error.strerror
found = [found, os.path.exists("/run/systemd/private"), os.path.exists("/run/docker.sock")]
"""
        try:
            assert await told(box, code) == ["No such file or directory", False, False]
        finally:
            os.unlink(path)  # noqa: PTH108


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the host through /proc and /sys")
async def test_root_cannot_change_the_host(box):
    paths = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper")
    assert "written" not in await told(box, WRITES, *filter(there, paths))
    found = await told(box, "found = open('/proc/self/status').read()")
    capabilities = next(line.split()[1] for line in found.splitlines() if line.startswith("CapEff"))
    assert int(capabilities, 16) == 0b11011  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID


# -- processes, network, arguments ---------------------------------------------------------------------------


async def test_it_sees_no_other_process_and_no_environment_but_its_own(box):
    code = (
        "found = [each for each in os.listdir('/proc') if each.isdigit()], os.getpid(), os.uname().nodename"
    )
    processes, pid, _ = await told(box, code)
    assert sorted(map(int, processes)) == [1, pid]


TALKS = """
import socket
def connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return "connected"
    except OSError as error:
        return type(error).__name__
found = connect(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("network", "expected"), [(True, "connected"), (False, "ConnectionRefusedError")])
async def test_the_network_is_the_hosts_or_none(box, tmp_path, network, expected):
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        sandbox = Sandbox(network=network, writable=(tmp_path,))
        assert await told(box, TALKS, port, sandbox=sandbox) == expected


async def test_no_path_and_no_secret_shows_in_the_list_of_processes(box, tmp_path, secret):
    sandbox = Sandbox(writable=(tmp_path,), hidden=(secret,))
    environment = {"PATH": "/usr/bin:/bin", "API_KEY": "c4nary-value"}
    link, _ = await box.ready(sandbox=sandbox, environment=environment)
    frame = psutil.Process(link.record.pid)
    lines = [" ".join(each.cmdline()) for each in (frame, *frame.children(recursive=True))]
    assert len(lines) == 3
    assert not any("c4nary" in line or str(secret) in line for line in lines)


# -- limits --------------------------------------------------------------------------------------------------


async def test_a_fork_bomb_is_bounded_and_ends_with_its_server(box):
    code = """
count = 0
for _ in range(1000):
    try:
        if os.fork() == 0:
            import time; time.sleep(600)
    except OSError:
        break
    count += 1
found = count
"""
    limit = 60
    program = f"import json, os, sys\n{code}\nos.write(1, json.dumps(found).encode() + b'\\n')\nos.read(0, 1)"
    link, heard = await box.open(
        argv=(sys.executable, "-S", "-E", "-c", program), process_limit=limit, stop_grace=0.3
    )
    await heard.until(lambda: heard.frames or heard.lost)
    if heard.frames:  # the kernel counts
        assert json.loads(heard.frames[0]) <= limit
    else:
        assert f"over the limit of {limit}" in heard.lost.reason
    await link.close()
    assert not [each for each in psutil.process_iter() if marker(each) == link.record.marker]


def marker(process: psutil.Process) -> str:
    try:
        return process.environ().get("FAIRLEAD_INSTANCE", "")
    except psutil.Error:
        return ""


async def test_processes_that_multiply_for_ever_end_when_they_are_told_to(box):
    bomb = "import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.01)"
    link, heard = await box.open(
        argv=(sys.executable, "-S", "-E", "-c", bomb), process_limit=50, stop_grace=0.3
    )
    await until(lambda: len(link.record.known) > 10 or heard.lost)
    start = time.monotonic()
    await link.close()
    assert time.monotonic() - start < 5
    assert not [each for each in psutil.process_iter() if marker(each) == link.record.marker]


async def test_memory_is_bounded_for_what_takes_it_at_once_and_for_its_files(box):
    grows = "x = []\nwhile True: x.append(bytearray(16 * 2**20))"
    _, heard = await box.open(argv=(sys.executable, "-S", "-E", "-c", grows), memory_limit=80 * MIB)
    lost = await heard.ended()
    assert lost.reason.startswith("memory ") or "MemoryError" in lost.detail
    fills = """
try:
    with open("/tmp/large", "wb") as file:
        for _ in range(200):
            file.write(bytes(2**20))
    found = "written"
except OSError as error:
    found = error.strerror
"""
    assert await told(box, fills, memory_limit=50 * MIB) == "No space left on device"


# -- starting and ending -------------------------------------------------------------------------------------


async def test_the_pid_is_the_servers_own_and_it_hears_term(box):
    code = (
        "import os, signal\nsignal.signal(15, lambda *_: (os.write(2, b'bye\\n'), os._exit(3)))\n"
        "os.write(1, b'{}\\n')\nwhile True: signal.pause()"
    )
    link, heard = await box.open(argv=(sys.executable, "-S", "-E", "-c", code), stop_grace=0.3)
    await heard.until(lambda: heard.frames)
    assert code in " ".join(psutil.Process(link.statistics().pid).cmdline())
    await link.close()
    assert (heard.lost.exit_code, heard.lost.detail) == (3, "bye")


async def test_when_the_frame_is_killed_the_server_ends(box):
    link, heard = await box.ready()
    os.kill(link.record.pid, signal.SIGKILL)
    await heard.ended()
    assert not alive(link.statistics().pid)


KILLED = """
import asyncio, sys
from pathlib import Path
from support.light import Processes
async def main():
    link, _ = await Processes(Path(sys.argv[1]), sandboxed=True).ready("--ignore-stdin-eof", "--ignore-term")
    print(link.statistics().pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_when_we_are_killed_it_ends_at_once(tmp_path):
    sandbox_host()
    argv = (sys.executable, "-c", KILLED, str(tmp_path))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ours = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, env=environment)
    assert ours.stdout is not None
    pid = int(await ours.stdout.readline())
    assert alive(pid)
    ours.kill()
    await ours.wait()
    await until(lambda: not alive(pid))


async def test_statistics_say_how_it_is_held(box):
    link, _ = await box.ready(memory_limit=100 * MIB)
    held = link.statistics().confinement
    assert held.by.startswith("bubblewrap, memory by ")
    plain = Processes(box.folder / "plain")
    plain.folder.mkdir()
    link, _ = await plain.ready()
    assert link.statistics().confinement is None
    await plain.driver.close()


async def test_a_sandbox_that_cannot_be_made_is_told_with_bwraps_words(box, monkeypatch):
    monkeypatch.setattr(confined, "bwrap_arguments", lambda *_: ["--no-such-option"])
    with pytest.raises(ProblemError) as failed:
        await box.open()
    assert failed.value.problem.code == "sandbox-failed"
    assert "no-such-option" in failed.value.problem.detail


@pytest.mark.parametrize("pause", [0, 0.002, 0.004, 0.008, 0.016])
async def test_a_start_that_is_cancelled_leaves_nothing(box, pause):
    await (await box.ready())[0].close()
    before = Resources.now()
    opening = asyncio.create_task(box.open("--ignore-stdin-eof"))
    await asyncio.sleep(pause)
    opening.cancel()
    try:
        link, _ = await opening
        await link.close()
    except asyncio.CancelledError:
        assert repr(box.driver) == "ProcessDriver(0 links)"
    await nothing_more_than(before)


async def test_a_driver_that_is_closed_meanwhile_starts_nothing(box):
    await (await box.ready())[0].close()
    before = Resources.now()
    opening = asyncio.create_task(box.open())
    await asyncio.sleep(0)
    await box.driver.close()
    with pytest.raises(ProblemError, match="the driver is closed"):
        await opening
    await nothing_more_than(before)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A driver on a machine that has nothing."""
    host = SandboxHost(problem="there is no `bwrap`: install the package `bubblewrap`")
    monkeypatch.setattr(confined, "examine", lambda _: host)
    return ProcessDriver(OWNER, tmp_path / "instances.json")


async def test_required_refuses_where_it_cannot_be_had(bare, tmp_path):
    launch = launch_light(tmp_path, sandbox=Sandbox(required=True))
    with pytest.raises(ProblemError) as refused:
        await bare.open(launch, Recorder())
    assert refused.value.problem.code == "sandbox-unavailable"
    assert "install the package `bubblewrap`" in refused.value.problem.detail
    await bare.close()


async def test_auto_goes_on_and_says_what_is_missing(bare, tmp_path):
    link = await bare.open(launch_light(tmp_path, sandbox=Sandbox(), process_limit=100), Recorder())
    held = link.statistics().confinement
    assert len(held.missing) == 2
    assert "install the package `bubblewrap`" in held.missing[0]
    await bare.close()


@pytest.fixture
def bwrap(tmp_path, monkeypatch):
    """A bubblewrap that can be taken away: all that PATH has is a link to it."""
    bubblewrap = sandbox_host().bubblewrap
    assert bubblewrap is not None
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(confined, "_LOOK_AGAIN", 0.0)
    link = tmp_path / "bin/bwrap"
    link.symlink_to(bubblewrap.program)
    return link


async def test_bubblewrap_may_come_and_go_while_we_run(bwrap, tmp_path):
    driver = ProcessDriver(OWNER, tmp_path / "instances.json")
    launch = launch_light(tmp_path, sandbox=Sandbox(writable=(tmp_path,)))
    program = bwrap.readlink()
    for there in (True, False, False, True, True):
        bwrap.unlink(missing_ok=True)
        if there:
            bwrap.symlink_to(program)
        link = await driver.open(launch, Recorder())
        missing = link.statistics().confinement.missing
        assert (missing == ()) is there
        assert there or "install the package `bubblewrap`" in missing[0]
    bwrap.unlink()
    with pytest.raises(ProblemError) as refused:
        await driver.open(launch_light(tmp_path, sandbox=Sandbox(required=True)), Recorder())
    assert refused.value.problem.code == "sandbox-unavailable"
    assert "install the package `bubblewrap`" in refused.value.problem.detail
    await driver.close()


async def test_bubblewrap_goes_in_the_moment_of_a_start(bwrap, tmp_path, monkeypatch):
    driver = ProcessDriver(OWNER, tmp_path / "instances.json")
    before = Resources.now()
    survey = confined.survey
    monkeypatch.setattr(confined, "survey", lambda *launch: bwrap.unlink() or survey(*launch))
    with pytest.raises(ProblemError) as failed:
        await driver.open(launch_light(tmp_path, sandbox=Sandbox(writable=(tmp_path,))), Recorder())
    assert failed.value.problem.code == "sandbox-failed"
    assert failed.value.problem.detail.endswith(f"No such file or directory: '{bwrap}'")
    await driver.close()
    await nothing_more_than(before)


# -- as an ordinary user -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as an ordinary user anyway")
@pytest.mark.timeout(300)
def test_all_of_this_as_an_ordinary_user():
    """This file once more, in a process that is nobody, with the system's Python if ours is out of reach."""
    sandbox_host()
    root = Path(__file__).parents[3]
    packages = Path(psutil.__file__).parents[1]
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    check = (
        "import os, sys, pydantic_core; assert sys.version_info[:2] == {} and os.access(sys.executable, 1)"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (packages, root / "src", root / "tests"))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/bin") or ""):
        tried = [*become, python, "-c", check.format(tuple(sys.version_info[:2]))]
        if not python or subprocess.run(tried, env=environment, capture_output=True, check=False).returncode:
            continue
        break
    else:
        pytest.skip("no Python that an ordinary user can run with our packages")
    plugins = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
    with_folder = Path(f"/tmp/fairlead-nobody-{os.getpid()}")
    with_folder.mkdir(mode=0o777)
    os.chown(with_folder, NOBODY, NOBODY)
    try:
        done = subprocess.run(
            [*become, python, "-m", "pytest", "-q", *plugins, f"--basetemp={with_folder / 't'}", __file__],
            env=environment | {"HOME": str(with_folder)},
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(with_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
