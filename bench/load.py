"""Load from wrk: runs it with load.lua, reads its figures, and what CPU the processes behind them took."""

from __future__ import annotations

import os
import resource
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.connection import Access
from bench.processes import Program, StartError, cpu_seconds

SCRIPT = Path(__file__).with_name("load.lua")
_FIGURES = "bench: "
_EXAMPLE = "bench-example: "


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. `calls` are answers that were HTTP 200 with the right id and text."""

    seconds: float
    calls: int
    p50_us: int
    p99_us: int
    wrong: int  # HTTP 200 with another call's id or text
    refused: int  # any other status
    lost: int  # connections that failed, calls that took longer than 2 s
    example: str = ""  # the first answer that was not right

    @property
    def faults(self) -> int:
        return self.wrong + self.refused + self.lost


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of one contender. CPU in microseconds for each call; None: no such process."""

    load: Load
    gateway_us: float | None
    server_us: float
    wrk_us: float

    @property
    def calls_per_second(self) -> float:
        return self.load.calls / self.load.seconds


@dataclass(slots=True)
class Running:
    """A contender that answers. `gateway` is the process that forwards, its children are the servers."""

    name: str
    over: str  # how its backend is reached: "stdio" or "HTTP"
    access: Access
    program: Program
    gateway: psutil.Process | None = None
    backend: list[psutil.Process] = field(default_factory=list)  # servers that are not its children

    def servers(self) -> list[psutil.Process]:
        return self.backend or (self.gateway.children(recursive=True) if self.gateway else [])


def parse(output: str) -> Load:
    """Read what load.lua's `done` printed. Raises StartError when it printed nothing (wrk failed)."""
    lines = output.splitlines()
    line = next((line for line in lines if line.startswith(_FIGURES)), None)
    if line is None:
        msg = f"wrk gave no figures: {output.strip() or 'no output'}"
        raise StartError(msg)
    figures = {name: int(value) for name, _, value in (word.partition("=") for word in line.split()[1:])}
    example = next((line.removeprefix(_EXAMPLE) for line in lines if line.startswith(_EXAMPLE)), "")
    return Load(
        seconds=figures["duration_us"] / 1e6,
        calls=figures["answered"] - figures["wrong"],
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        wrong=figures["wrong"],
        refused=figures["refused"],
        lost=sum(figures[kind] for kind in ("connect", "read", "write", "timeout")),
        example=example,
    )


def run_wrk(access: Access, connections: int, seconds: float, *, threads: int = 1) -> Load:
    argv = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(SCRIPT), access.url]
    settings = {"BENCH_TOOL": access.tool, "BENCH_TOKEN": access.token, "BENCH_SESSION": access.session}
    env = os.environ | {name: value for name, value in settings.items() if value}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    return parse(done.stdout + done.stderr)


def measure(running: Running, connections: int, seconds: float) -> Round:
    """Put one contender under load. Raises StartError when it died of it."""
    gateway = [running.gateway] if running.gateway else []
    servers = running.servers()
    before = cpu_seconds(gateway), cpu_seconds(servers), _children_cpu()
    load = run_wrk(running.access, connections, seconds)
    running.program.check()
    try:
        after = cpu_seconds(gateway), cpu_seconds(servers), _children_cpu()
    except psutil.NoSuchProcess as gone:
        msg = f"process {gone.pid} of it ended under load: {running.program.last_words()}"
        raise StartError(msg) from gone
    per_call = [(late - early) / max(load.calls, 1) * 1e6 for early, late in zip(before, after, strict=True)]
    return Round(
        load=load,
        gateway_us=per_call[0] if gateway else None,
        server_us=per_call[1],
        wrk_us=per_call[2],
    )


def check_answers(running: Running, connections: int) -> Load:
    """A second of load with one wrk thread for each connection: each must get its own answers."""
    return run_wrk(running.access, connections, 1, threads=connections)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
