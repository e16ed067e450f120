"""Launching the light fixture through the process driver, and counting what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from fairlead.drivers.process import ProcessDriver
from fairlead.model.launch import ProcessLaunch, Sandbox
from fairlead.ports import Link
from support.recorder import Recorder, call
from support.until import until

SCRIPT = Path(__file__).with_name("light_server.py")
LIGHT = (sys.executable, "-S", "-E", str(SCRIPT))
OWNER = "test-owner-{}{}".format(
    os.environ.setdefault("TESTS_OWNER", str(os.getpid())), os.environ.get("PYTEST_XDIST_WORKER", "")
)
"""Ours and that of the processes that we start, and nobody else's: an owner sweeps away what it has left."""
_LOOPS_OWN = ("asyncio_", "uvloop_")  # threads of a default executor


def launch_light(folder: Path, *flags: str, **launch: Any) -> ProcessLaunch:
    """A launch of the light fixture; everything of it stays in `folder`. A sandbox lets it see its script."""
    if sandbox := launch.get("sandbox"):
        launch["sandbox"] = replace(sandbox, readable=(*sandbox.readable, SCRIPT))
    options: dict[str, Any] = {
        "instance_id": "light-1",
        "argv": (*LIGHT, *flags),
        "environment": {"PATH": "/usr/bin:/bin"},
        "working_directory": folder,
        "log_file": folder / "light.log",
        "stop_grace": 5.0,
    }
    return ProcessLaunch(**(options | launch))


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def outer_pid(member: int, inner: int) -> int:
    """The pid by which we know what `member` of a sandbox (or of none) calls `inner`."""
    if not Path(f"/proc/{member}/ns/pid").exists():  # macOS
        return inner
    space = Path(f"/proc/{member}/ns/pid").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            numbers = re.search(r"^NSpid:(.*)", (folder / "status").read_text(), re.MULTILINE)
            if (folder / "ns/pid").readlink() == space and numbers and int(numbers[1].split()[-1]) == inner:
                return int(folder.name)
    return inner  # it has ended


async def spawn(link: Link, heard: Recorder, number: int = 99, **how: Any) -> int:
    """Have the light server leave a descendant; its pid, once it has become what it will be."""
    call(link, number, "spawn", **how)
    told = int((await heard.answered(number))["result"]["structuredContent"]["pid"])
    pid = await asyncio.to_thread(outer_pid, link.statistics().pid or 0, told)
    await until(lambda: not alive(pid) or psutil.Process(pid).name() == "sleep")
    return pid


async def answered_text(link: Link, heard: Recorder, number: int, tool: str, **arguments: Any) -> str:
    call(link, number, tool, **arguments)
    return (await heard.answered(number))["result"]["content"][0]["text"]


async def answered_json(link: Link, heard: Recorder, number: int, tool: str) -> Any:
    return json.loads(await answered_text(link, heard, number, tool))


@dataclass(frozen=True)
class Resources:
    """What this process holds, to be compared before and after."""

    descriptors: int
    tasks: int
    threads: int
    children: frozenset[int]

    @classmethod
    def now(cls) -> Resources:
        return cls(
            len(list(Path("/dev/fd").iterdir())),
            len(asyncio.all_tasks()),
            sum(not thread.name.startswith(_LOOPS_OWN) for thread in threading.enumerate()),
            frozenset(child.pid for child in psutil.Process().children(recursive=True)),
        )

    def within(self, before: Resources) -> bool:
        return (
            self.descriptors <= before.descriptors
            and self.tasks <= before.tasks
            and self.threads <= before.threads
            and self.children <= before.children
        )


async def nothing_more_than(before: Resources) -> None:
    """Wait until no more is held than before: threads need a moment to run out."""
    try:
        await until(lambda: Resources.now().within(before), guard=10)
    except TimeoutError:
        now = Resources.now()
        assert now == before, (now, before)


class Processes:
    """A process driver, and links to light servers through it: in a sandbox that has `folder`, or not."""

    def __init__(self, folder: Path, *, sandboxed: bool = False, **options: Any) -> None:
        self.folder = folder
        self.sandboxed = sandboxed
        self.registry = folder / "instances.json"
        self.driver = ProcessDriver(OWNER, self.registry, **options)

    async def open(self, *flags: str, **launch: Any) -> tuple[Link, Recorder]:
        heard = Recorder()
        return await self.driver.open(self.launch(*flags, **launch), heard), heard

    def launch(self, *flags: str, **launch: Any) -> ProcessLaunch:
        if self.sandboxed:
            launch = {"sandbox": Sandbox(writable=(self.folder,)), "process_limit": 200} | launch
        return launch_light(self.folder, *flags, **launch)

    async def ready(self, *flags: str, **launch: Any) -> tuple[Link, Recorder]:
        """Open, and wait until the server answers."""
        link, heard = await self.open(*flags, **launch)
        assert await answered_text(link, heard, 1_000_000, "echo", text="ready") == "ready"
        return link, heard
