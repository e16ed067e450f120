"""`python -m conformance [--only TEXT] [--json]`: the official conformance suite through the gateway.

A fixture server on the official SDK stands behind an orchestrator, over stdio and HTTP, in a legacy and in a
modern version of it; a proxy gives the suite's requests the token that they lack. Every server scenario is
run against each (two cells go without the gateway, as a proof of the fixture), and every client scenario with
the gateway as the client. `cells.py` has the table of what is left out, and why. Exit code 1: something that
was expected did not pass. The suite's own output is in `build/conformance`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import structlog
from rich.console import Console

from conformance import cells
from conformance.backends import fixture_url, fleet
from conformance.cells import CELLS, Cell, Drive
from conformance.official import RESULTS, Complaint, Suite, complaints
from conformance.proxy import Proxy
from conformance.report import Outcome, as_json, show
from support.stack import TOKEN, Stack, running

Run = TypeVar("Run", Cell, Drive)

AT_A_TIME = 2  # runs of the suite
WIDTH = 120  # characters, where no terminal says how wide it is


async def run_cells(suite: Suite, chosen: list[Cell], limit: asyncio.Semaphore) -> list[Outcome]:
    if not chosen:
        return []
    async with contextlib.AsyncExitStack() as stack:
        urls = {era: await stack.enter_async_context(fixture_url(era)) for era in cells.REVISION}
        proxy = await stack.enter_async_context(Proxy(TOKEN).listening())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        settings = {"allowed_hosts": (f"127.0.0.1:{proxy.port}",)}
        gateway = await stack.enter_async_context(running(folder, fleet(urls), settings=settings))
        proxy.target = gateway.port
        await warm_up(gateway)

        async def one(cell: Cell) -> Outcome:
            url = f"http://127.0.0.1:{proxy.port}/servers/{cell.server}/mcp"
            async with limit:
                return await run_cell(suite, cell, urls[cell.era] if cell.direct else url)

        return await asyncio.gather(*map(one, chosen))


async def warm_up(gateway: Stack) -> None:
    """Have an instance for clients that can do nothing but elicit: a scenario allows 600 ms for a first word.

    The fixture's start takes longer than that, and says nothing of the gateway.
    """
    for server in [server for server in fleet(cells.REVISION) if server.startswith("legacy")]:
        client = gateway.modern(f"/servers/{server}/mcp")
        client.meta["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {}}
        await client.ask("tools/list")


async def run_cell(suite: Suite, cell: Cell, url: str) -> Outcome:
    results = RESULTS / f"{cell.revision}-{'direct' if cell.direct else 'gateway'}-{cell.server}"
    await suite.run(["server", "--url", url, "--requirements", cell.revision], results)
    return Outcome.judge(
        str(cell),
        cell.revision,
        complaints(results),
        required=cells.required(suite.folder, cell.revision, "server"),
        beyond=cell.beyond,
        excluded=cell.excluded,
    )


async def run_drives(suite: Suite, chosen: list[Drive], limit: asyncio.Semaphore) -> list[Outcome]:
    async def one(drive: Drive) -> tuple[Drive, list[Complaint]]:
        async with limit:
            return drive, await run_drive(suite, drive)

    measuring = [drive for drive in chosen if drive.scenario in cells.MEASURING]
    found = await asyncio.gather(*(one(drive) for drive in chosen if drive not in measuring))
    found += [await one(drive) for drive in measuring]
    return [
        Outcome.judge(
            name,
            revision,
            {drive.scenario: complaints for drive, complaints in found if str(drive) == name},
            required=[drive.scenario for drive in chosen if str(drive) == name],
        )
        for name, revision in dict.fromkeys((str(drive), drive.revision) for drive in chosen)
    ]


async def run_drive(suite: Suite, drive: Drive) -> list[Complaint]:
    results = RESULTS / f"{drive.revision}-client-{drive.era}" / drive.scenario
    command = f"{sys.executable} -W ignore -m conformance.client {drive.era}"
    arguments = ["--command", command, "--scenario", drive.scenario, "--spec-version", drive.revision]
    code = await suite.run(["client", *arguments], results)
    found = complaints(results).get(drive.scenario, [])
    if code and not found:
        output = (results / "output.txt").read_text().strip()
        found = [Complaint(drive.scenario, "client", output[-2000:])]
    return found


def chosen_of(everything: Iterable[Run], only: str) -> list[Run]:
    return [one for one in everything if only in f"{one} {one.revision} {getattr(one, 'scenario', '')}"]


async def run(suite: Suite, only: str) -> list[Outcome]:
    limit = asyncio.Semaphore(AT_A_TIME)
    servers = await run_cells(suite, chosen_of(CELLS, only), limit)
    return servers + await run_drives(suite, chosen_of(cells.drives(suite.folder), only), limit)


def main() -> int:
    parser = argparse.ArgumentParser(prog="conformance", description="The official conformance suite.")
    parser.add_argument("--only", default="", help="run what has this text in its name")
    parser.add_argument("--json", action="store_true", help="answer JSON instead of a table")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "gateway.log").open("w") as log:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
        outcomes = asyncio.run(run(Suite.installed(), options.only))
    if options.json:
        print(as_json(outcomes, cells.NOT_OF_A_GATEWAY))
    else:
        console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
        show(console, outcomes, cells.NOT_OF_A_GATEWAY)
    return int(any(outcome.failures for outcome in outcomes) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())
