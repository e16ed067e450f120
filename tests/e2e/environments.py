"""The clients' environments: installed once from their lock files, each into a folder of `build/e2e`."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fairlead.packages.node import Node, NodeFinder

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
BUILD = ROOT / "build" / "e2e"
BIN = Path(sys.executable).parent


@cache
def node() -> Node:
    """The node that Fairlead itself would take, and an npm that goes with it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return asyncio.run(NodeFinder(BUILD / "node.json", os.environ).find())


def _run(argv: list[str], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"


def _installed(name: str, lock: Path, install: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    home = BUILD / f"{name}-{digest}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (home / ".complete").exists():
            for old in BUILD.glob(f"{name}-*"):
                shutil.rmtree(old)
            home.mkdir()
            install(home)
            (home / ".complete").touch()
    return home


def npm_environment(source: Path) -> Path:
    """The packages of a folder's lock file, installed."""

    def install(home: Path) -> None:
        for part in ("package.json", "package-lock.json"):
            shutil.copy(source / part, home)
        _run([str(node().node), str(node().npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], home)

    return _installed(source.name, source / "package-lock.json", install)


def legacy_python() -> Path:
    """The interpreter that has the last Python SDK of the legacy era."""
    lock = HERE / "requirements-mcp-legacy.txt"

    def install(home: Path) -> None:
        uv = str(BIN / "uv")
        _run([uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(home)], home)
        _run([uv, "pip", "install", "-q", "--python", str(home), "--require-hashes", "-r", str(lock)], home)

    return _installed("python-legacy", lock, install) / "bin" / "python"


def programs() -> dict[str, list[str]]:
    """How each client program is started, by the name of its SDK."""
    typescript = npm_environment(CLIENTS / "ts")
    for source in (CLIENTS / "ts").glob("*.mjs"):
        shutil.copy(source, typescript)  # imports are looked up from where a file stands
    return {
        "python-1.30": [str(legacy_python()), "-W", "ignore", str(CLIENTS / "python_legacy.py")],
        "python-2": [sys.executable, "-W", "ignore", str(CLIENTS / "python_sdk.py")],
        "typescript-1": [str(node().node), str(typescript / "sdk1.mjs")],
        "typescript-2": [str(node().node), str(typescript / "sdk2.mjs")],
    }


def claude() -> list[str]:
    """How Claude Code is started. Its postinstall script, which we do not run, would put the binary in place
    of `bin/claude`; the launcher that the package brings finds the binary without it."""
    package = npm_environment(CLIENTS / "claude") / "node_modules" / "@anthropic-ai" / "claude-code"
    return [str(node().node), str(package / "cli-wrapper.cjs")]


@cache
def inspector() -> list[str]:
    """How the MCP Inspector's command line is started."""
    package = npm_environment(CLIENTS / "inspector") / "node_modules" / "@modelcontextprotocol" / "inspector"
    return [str(node().node), str(package / "clients" / "launcher" / "build" / "index.js"), "--cli"]
