"""A stand-in for the orchestrator, to be killed with SIGKILL: opens links whose servers leave descendants.

Usage: python killed_orchestrator.py FOLDER. Prints one line of JSON, the pids of all that it started, and
then waits for its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.light import Processes, spawn
from support.until import until

WAYS = [("child", False), ("setsid", False), ("double-fork", False), ("child", True), ("setsid", True)]


async def main(folder: Path) -> None:
    processes = Processes(folder, sample_interval=0.05)
    pids = []
    for flags in ([], ["--ignore-stdin-eof"], ["--ignore-stdin-eof", "--ignore-term"]):
        link, heard = await processes.ready(*flags)
        pids.append(link.statistics().pid)
        for number, (how, clean) in enumerate(WAYS):
            pids.append(await spawn(link, heard, number, how=how, clean=clean))
    # What carries no marker is known to the registry alone, once a look has found it
    await until(lambda: {pid for _, known in noted(processes.registry) for pid, _ in known} >= set(pids))
    print(json.dumps(pids), flush=True)
    await asyncio.Event().wait()


def noted(registry: Path) -> list[tuple[str, list[tuple[int, float]]]]:
    return list(json.loads(registry.read_bytes())["instances"].items()) if registry.exists() else []


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
