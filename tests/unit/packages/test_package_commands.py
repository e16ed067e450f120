import asyncio
import os
import re
import sys

import psutil
import pytest

from fairlead.model.errors import ProblemError
from fairlead.packages.commands import Commands, environment_for, run
from support.until import until

PYTHON = sys.executable


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


async def test_output_code_folder_and_environment(tmp_path):
    script = (
        "import os, sys; print(os.getcwd(), sorted(os.environ)); print('bad', file=sys.stderr); sys.exit(3)"
    )
    finished = await run(
        (PYTHON, "-c", script), folder=tmp_path, environment={"ONLY": "this", "LC_CTYPE": "C.UTF-8"}
    )
    assert (finished.code, finished.output, finished.errors) == (
        3,
        f"{tmp_path} ['LC_CTYPE', 'ONLY']\n",
        "bad\n",
    )


async def test_output_that_is_not_text_does_no_harm(tmp_path):
    finished = await run((PYTHON, "-c", r"import os; os.write(1, b'\xff')"), folder=tmp_path, environment={})
    assert finished.output == "\ufffd"


async def test_a_process_has_no_input_and_a_signal_is_a_failure(tmp_path):
    script = "import os, sys; assert sys.stdin.read() == ''; os.kill(os.getpid(), 9)"
    finished = await run((PYTHON, "-c", script), folder=tmp_path, environment={})
    assert finished.code == -9


def runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


WITH_A_CHILD = """
import os, pathlib, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}\\n")
child.wait()
"""


async def test_cancelling_kills_the_whole_group(tmp_path, lock):
    commands = Commands()
    argv = (PYTHON, "-c", WITH_A_CHILD)
    async with asyncio.timeout(60):
        running = asyncio.ensure_future(
            commands.run(argv, folder=tmp_path, environment={"PATH": "/usr/bin:/bin"}, lock=lock)
        )
        written = tmp_path / "pids"
        await until(lambda: written.exists() and written.read_text().endswith("\n"))
        pids = [int(pid) for pid in written.read_text().split()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not any(runs(pid) for pid in pids))


async def test_what_hangs_is_ended_and_told(tmp_path, lock):
    commands = Commands(patience=0.5)
    with pytest.raises(ProblemError, match="did not end within") as caught:
        await commands.run(("/bin/sleep", "600"), folder=tmp_path, environment={}, lock=lock)
    assert caught.value.problem.code == "install-failed"


async def test_no_more_than_so_many_run_at_once(tmp_path, lock):
    commands = Commands(at_once=2)
    script = (
        "import os, pathlib, sys, time\n"
        "me = pathlib.Path(f'running-{os.getpid()}'); me.touch()\n"
        "print(len(list(pathlib.Path().glob('running-*'))))\n"
        "time.sleep(0.1); me.unlink()"
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                commands.run((PYTHON, "-c", script), folder=tmp_path, environment={}, lock=lock)
            )
            for _ in range(6)
        ]
    assert {task.result().output.strip() for task in tasks} <= {"1", "2"}


async def test_a_tool_inherits_the_lock(tmp_path, lock):
    script = f"import os; print(os.fstat({lock}).st_ino)"
    finished = await Commands().run((PYTHON, "-c", script), folder=tmp_path, environment={}, lock=lock)
    assert int(finished.output) == os.fstat(lock).st_ino


def test_the_environment_is_what_is_needed_and_no_more():
    environ = {
        "HOME": "/h", "PATH": "/bin", "https_proxy": "p", "NO_PROXY": "n", "SSL_CERT_FILE": "c",
        "MY_SECRET": "s", "NODE_OPTIONS": "--require x", "PYTHONPATH": "x", "OWN_THING": "o",
        "NOT_OWN_THING": "x",
    }  # fmt: skip
    got = environment_for(environ, re.compile("OWN_.*"))
    assert set(got) == {"HOME", "PATH", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "OWN_THING"}
