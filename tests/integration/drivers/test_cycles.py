"""Starting and stopping again and again, and being killed in between: nothing is left, whatever happens."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.process_table import MARKER
from fairlead.model.launch import ProcessLaunch
from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles
from support.light import OWNER, Processes, Resources, alive, nothing_more_than
from support.recorder import Recorder, request
from support.until import until

ORCHESTRATOR = Path(__file__).parents[2] / "support" / "killed_orchestrator.py"
COMMITTED = Path(__file__).parents[3] / "config" / "mcp-servers.lock"
REAL = {
    "npm:@modelcontextprotocol/server-everything@2026.8.31": ("stdio",),
    "npm:@modelcontextprotocol/server-filesystem@2026.8.31": (".",),
    "npm:@modelcontextprotocol/server-sequential-thinking@2026.8.31": (),
    "npm:@upstash/context7-mcp@4.1.1": (),
}


async def cycles(count: int, at_once: int, one_cycle) -> None:
    turns = iter(range(count))

    async def worker() -> None:
        for turn in turns:
            await one_cycle(turn)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())


async def test_500_cycles_leave_nothing(tmp_path):
    processes = Processes(tmp_path)
    before = Resources.now()

    async def cycle(turn: int) -> None:
        link, heard = await processes.ready(instance_id=f"light-{turn}")
        pid = link.statistics().pid
        await link.close()
        assert heard.lost.reason == "stopped (exited with code 0)"
        assert not psutil.pid_exists(pid)

    await cycles(500, 8, cycle)
    assert repr(processes.driver) == "ProcessDriver(0 links)"
    assert json.loads(processes.registry.read_text())["instances"] == {}
    await processes.driver.close()
    await nothing_more_than(before)


async def test_memory_does_not_grow_with_the_cycles(tmp_path):
    processes = Processes(tmp_path)

    async def cycle(turn: int) -> None:
        link, _ = await processes.open("--exit-at-once", "0", instance_id=f"light-{turn}")
        await link.close()

    await cycles(50, 4, cycle)
    before = psutil.Process().memory_info().rss
    await cycles(100, 4, cycle)
    assert psutil.Process().memory_info().rss - before < 8 * 2**20
    await processes.driver.close()


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_20_cycles_of_real_servers_leave_nothing(tmp_path):
    installer = Installer(
        tmp_path / "packages", LockFiles(committed=COMMITTED, local=tmp_path / "local.lock")
    )
    servers = [(*await installer.ensure(package, None), *args) for package, args in REAL.items()]
    driver = ProcessDriver(OWNER, tmp_path / "instances.json")
    before = Resources.now()

    async def cycle(turn: int) -> None:
        argv = servers[turn % len(servers)]
        launch = ProcessLaunch(
            instance_id=f"real-{turn}",
            argv=argv,
            environment={"PATH": f"{Path(argv[0]).parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
            working_directory=tmp_path,
            log_file=tmp_path / "real.log",
        )
        heard = Recorder()
        link = await driver.open(launch, heard)
        client = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        request(link, 0, "initialize", params)
        assert "serverInfo" in (await heard.answered(0))["result"]
        await link.close()
        assert heard.lost.expected
        assert heard.lost.exit_code in (0, -15), heard.lost

    await cycles(20, 2, cycle)
    await driver.close()
    await nothing_more_than(before)


# -- the orchestrator is killed ------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path):
    """An orchestrator that was killed with SIGKILL; the pids of all that it had started."""
    with subprocess.Popen(
        [sys.executable, str(ORCHESTRATOR), str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            pids = json.loads(process.stdout.readline())
        finally:
            process.kill()
    yield pids
    for pid in filter(alive, pids):
        psutil.Process(pid).kill()


async def test_the_next_start_leaves_no_orphan_of_a_killed_orchestrator(tmp_path, killed):
    assert len(killed) == 18
    await until(lambda: not alive(killed[0]))  # a good server sees the end of its stdin
    left = set(filter(alive, killed))
    assert len(left) == 17
    driver = ProcessDriver(OWNER, tmp_path / "instances.json")
    ended = await driver.sweep()
    assert not any(map(alive, killed))
    assert {int(line.rsplit(" ", 1)[1]) for line in ended} == left
    assert all(line.startswith("light-1: ") for line in ended)
    assert await driver.sweep() == []
    await driver.close()


async def test_without_the_registry_the_marker_finds_what_carries_it(tmp_path, killed):
    (tmp_path / "instances.json").unlink()
    await until(lambda: not alive(killed[0]))  # it goes by itself; the others stay
    marked = {pid for pid in killed if alive(pid) and MARKER in psutil.Process(pid).environ()}
    assert len(marked) >= 11
    driver = ProcessDriver(OWNER, tmp_path / "instances.json")
    await driver.sweep()
    assert not any(map(alive, marked))
    await driver.close()


@pytest.fixture
def bystander():
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


async def test_a_sweep_leaves_another_owners_processes_and_reused_pids_alone(tmp_path, killed, bystander):
    other = ProcessDriver("another-owner", tmp_path / "others.json")
    assert await other.sweep() == []
    registry = tmp_path / "instances.json"
    content = json.loads(registry.read_text())
    content["instances"] = {f"{OWNER}:light-1#0": [[bystander.pid, 1]]}  # started at another time than it did
    registry.write_text(json.dumps(content))
    driver = ProcessDriver(OWNER, registry)
    await driver.sweep()
    assert bystander.poll() is None
    await other.close()
    await driver.close()


async def test_a_sweep_spares_what_this_orchestrator_runs_for_another_folder(tmp_path):
    processes = Processes(tmp_path)
    link, heard = await processes.ready()
    other = ProcessDriver(f"{OWNER}-2", tmp_path / "others.json")
    assert await other.sweep() == []
    request(link, 1, "ping")
    await heard.answered(1)
    await processes.driver.close()
    await other.close()
