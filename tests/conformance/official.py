"""The official suite: installed from its lock file, run, and its results read."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.environments import ROOT, node, npm_environment

HERE = Path(__file__).parent
TESTS = HERE.parent
RESULTS = ROOT / "build" / "conformance"
SCENARIO_TIMEOUT = 20_000  # ms

_FOLDER = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@dataclass(frozen=True)
class Complaint:
    """A check that did not hold. The suite's warnings count too: they stand for what is a SHOULD."""

    scenario: str
    check: str
    message: str


@dataclass(frozen=True)
class Suite:
    """The installed suite. `folder` is that of its package."""

    node: Path
    folder: Path

    @classmethod
    def installed(cls) -> Suite:
        """Installs it, the first time. Not to be called in an event loop."""
        packages = npm_environment(HERE / "suite") / "node_modules"
        return cls(node().node, packages / "@modelcontextprotocol" / "conformance")

    async def run(self, arguments: list[str], results: Path) -> int:
        """Run the suite's command, in the folder of the tests; its exit code is the answer.

        `results` has its output afterwards, and a folder with the checks of each scenario.
        """
        _emptied(results)
        process = await asyncio.create_subprocess_exec(
            str(self.node),
            str(self.folder / "dist" / "index.js"),
            *arguments,
            *("--output-dir", str(results), "--timeout", str(SCENARIO_TIMEOUT)),
            cwd=TESTS,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        (results / "output.txt").write_bytes(printed)
        assert process.returncode is not None
        return process.returncode


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def complaints(results: Path) -> dict[str, list[Complaint]]:
    """What each scenario that came to its end had to complain of."""
    found: dict[str, list[Complaint]] = {}
    for folder in sorted(results.iterdir()):
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            continue
        if (checks := folder / "checks.json").exists():
            scenario = match["scenario"]
            found[scenario] = [
                _complaint(scenario, check)
                for check in json.loads(checks.read_text())
                if check["status"] in ("FAILURE", "WARNING")
            ]
    return found


def _complaint(scenario: str, check: dict[str, Any]) -> Complaint:
    details = check.get("details") or {}
    message = check.get("errorMessage") or details.get("message") or check["description"]
    return Complaint(scenario, check["id"], str(message))
