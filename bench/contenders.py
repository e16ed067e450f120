"""Fairlead and its yardsticks, ready to be started. Other gateways are in peers.py."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.connection import READY_SECONDS, Access, Connection, Reply, when_ready
from bench.load import Running
from bench.processes import Program, Programs, StartError, free_port

HERE = Path(__file__).parent
ECHO_STDIO = [sys.executable, str(HERE / "echo_stdio.py")]
BIN = Path(sys.executable).parent
SERVER = "/api/servers/echo"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a run happens: its programs, and the echo backend over HTTP, which all share."""

    programs: Programs
    backend: Program
    backend_port: int
    token: str

    @property
    def folder(self) -> Path:
        return self.programs.folder


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    start: Callable[[Stage], Running]
    required: bool = False  # without it the run has failed


def set_stage(programs: Programs) -> Stage:
    port = free_port()
    backend = programs.start("backend", [sys.executable, "-m", "bench.echo_http", str(port)])
    when_ready(backend, Access(port))
    return Stage(programs, backend, port, secrets.token_urlsafe(32))


def start_direct(stage: Stage) -> Running:
    access = when_ready(stage.backend, Access(stage.backend_port, token=stage.token))
    return Running("direct", "HTTP", access, stage.backend, backend=[stage.backend.process])


def find_nginx() -> str | None:
    """Debian keeps it where a user's PATH does not look."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def start_nginx(stage: Stage) -> Running:
    if (nginx := find_nginx()) is None:
        msg = "nginx is not installed: apt-get install nginx-light (or brew install nginx)"
        raise StartError(msg)
    folder = stage.folder / "nginx"
    folder.mkdir()
    port = free_port()
    config = (HERE / "nginx.conf.in").read_text()
    for name, value in {"folder": folder, "backend": stage.backend_port, "port": port}.items():
        config = config.replace(f"@{name}@", str(value))
    (folder / "nginx.conf").write_text(config)
    program = stage.programs.start(
        "nginx", [nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    )
    access = when_ready(program, Access(port, token=stage.token))
    worker = program.process.children()[0]
    return Running("nginx", "HTTP", access, program, worker, [stage.backend.process])


def start_fairlead(stage: Stage, name: str = "fairlead", instances: int = 1) -> Running:
    """The subject, with so many stdio instances, all of them ready. `name` tells several of them apart."""
    program, port = _orchestrator(stage, name, {"command": ECHO_STDIO[0], "args": ECHO_STDIO[1:]}, instances)
    access = when_ready(program, Access(port, tool="echo__echo", token=stage.token))
    _when_whole(program, access, instances)
    shown = "Fairlead" if instances == 1 else f"Fairlead, pool of {instances}"
    return Running(shown, "stdio", access, program, program.process)


def start_fairlead_http(stage: Stage) -> Running:
    program, port = _orchestrator(
        stage, "fairlead-http", {"url": f"http://127.0.0.1:{stage.backend_port}/mcp"}
    )
    access = when_ready(program, Access(port, tool="echo__echo", token=stage.token))
    return Running("Fairlead", "HTTP", access, program, program.process, [stage.backend.process])


def ready_instances(reply: Reply) -> dict[str, dict[str, Any]]:
    """The instances that are ready, by id, out of what `GET SERVER` answered. StartError: it was refused."""
    if reply.status != 200:
        msg = f"{SERVER} was answered with HTTP {reply.status}: {reply.body[:200]!r}"
        raise StartError(msg)
    return {one["id"]: one for one in json.loads(reply.body)["instances"] if one["state"] == "ready"}


def _when_whole(program: Program, access: Access, instances: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with Connection(access) as connection:
        while len(ready := ready_instances(connection.get(SERVER))) < instances:
            program.check()
            if time.monotonic() > deadline:
                msg = f"{len(ready)} of {instances} instances were ready after {READY_SECONDS:.0f} s"
                raise StartError(msg)
            time.sleep(0.1)


def fleet(server: dict[str, object], instances: int = 1) -> dict[str, object]:
    """A fleet file with one server, `echo`, and always so many of it. Every limit is on, and none is met."""
    return {
        "version": "1",
        "servers": {"echo": server | {"scaling": {"minInstances": instances, "maxInstances": instances}}},
        "security": {
            "resourceLimits": {
                "maxConcurrentRequests": 100_000,
                "rateLimiting": {"enabled": True, "requestsPerMinute": 1_000_000_000},
            }
        },
    }


def _orchestrator(
    stage: Stage, name: str, server: dict[str, object], instances: int = 1
) -> tuple[Program, int]:
    """Start the service as its users do; return it and its port."""
    folder = stage.folder / name
    state, config = folder / "state", folder / "config" / "mcp-servers.yml"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(fleet(server, instances)))  # JSON is YAML
    env = {key: value for key, value in os.environ.items() if not key.startswith("FAIRLEAD_")}
    program = stage.programs.start(
        name,
        [
            str(BIN / "fairlead"),
            "orchestrator",
            "--config",
            str(config),
            "--state-dir",
            str(state),
            "--port",
            "0",
        ],
        env
        | {
            "FAIRLEAD_TOKEN": stage.token,
            "FAIRLEAD_SESSIONS_MAX_SESSIONS": "100000",
            "FAIRLEAD_SESSIONS_MAX_PER_PRINCIPAL": "100000",
        },
    )
    run_file = state / "run.json"
    deadline = time.monotonic() + READY_SECONDS
    while not run_file.exists():
        program.check()
        if time.monotonic() > deadline:
            msg = f"it wrote no run.json within {READY_SECONDS:.0f} s: {program.last_words()}"
            raise StartError(msg)
        time.sleep(0.05)
    address = json.loads(run_file.read_text())["addresses"]["orchestrator"]
    return program, urlsplit(address).port or 80


CONTENDERS = [
    Contender("direct", start_direct),
    Contender("nginx", start_nginx),
    Contender("fairlead", start_fairlead, required=True),
    *(
        Contender(name, partial(start_fairlead, name=name, instances=instances), required=True)
        for name, instances in (("fairlead-2", 2), ("fairlead-4", 4))
    ),
    Contender("fairlead-http", start_fairlead_http, required=True),
]
