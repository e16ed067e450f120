"""`make bench`, or `python -m bench [--quick] [--only NAME ...]`: run, show, write build/bench.json.

All contenders are started first and then take turns, round after round, so that what else the machine does
falls on all of them. The exit code is 1 when any answer was wrong, refused or lost.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from bench.contenders import CONTENDERS, Stage, find_nginx, set_stage
from bench.gitops import GitOps, measure_gitops
from bench.latency import DIRECT, Latency, compare, measure_latency
from bench.load import Load, Round, Running, check_answers, measure
from bench.memory import Idle, measure_idle, resident_mib
from bench.peers import PEERS, pinned_versions
from bench.processes import Programs, StartError
from bench.recovery import POOLS, Recovery, measure_recovery
from bench.report import Key, Report, Resident, machine, rows

CONNECTIONS = (1, 8, 32)
OUTPUT = Path(__file__).parent.parent / "build" / "bench.json"
ALL = [*CONTENDERS, *PEERS]
RECOVERY = "recovery"
GITOPS = "gitops"


class Run:
    """One run. What cannot be measured is noted with its reason, and the rest goes on."""

    def __init__(self, console: Console, options: argparse.Namespace) -> None:
        self._console = console
        self._rounds, self._seconds = (1, 2) if options.quick else (5, 3)
        self._idle_count, self._kill_count = (1000, 5) if options.quick else (10_000, 50)
        self._commit_count = 5 if options.quick else 50
        self._only: list[str] = options.only
        self._running: dict[str, Running] = {}
        self._not_measured: dict[str, str] = {}
        self._failures: list[str] = []

    def run(self, stage: Stage) -> Report:
        before = machine()
        self._start(stage)
        idle_mib = {name: resident_mib(one.gateway) for name, one in self._running.items() if one.gateway}
        checks: dict[str, Load] = {}
        rounds: dict[Key, list[Round]] = {}
        if shutil.which("wrk") or not self._running:
            checks = self._check()
            rounds = self._load()
        else:
            missing = "wrk is not installed: apt-get install wrk (or brew install wrk)"
            self._not_measured["calls per second"] = missing
        resident = [
            Resident(one.name, one.over, idle_mib[name], resident_mib(one.gateway))
            for name, one in self._running.items()
            if one.gateway
        ]
        return Report(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=before,
            versions=versions(),
            rounds=self._rounds,
            seconds=self._seconds,
            calls=rows(rounds),
            checks=checks,
            resident=resident,
            latency=self._latency(stage),
            idle=self._idle(stage),
            recovery=self._recovery(stage),
            gitops=self._gitops(stage),
            not_measured=self._not_measured,
            failures=self._failures,
        )

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def _lost(self, name: str, error: StartError) -> None:
        """It broke while it was measured: it is left out from now on, and the run has failed."""
        del self._running[name]
        self._failures.append(f"{name}: {error}")
        self._say(f"  {name}: {error}")

    def _start(self, stage: Stage) -> None:
        for contender in ALL:
            if self._only and contender.name not in self._only:
                continue
            self._say(f"starting {contender.name}")
            try:
                self._running[contender.name] = contender.start(stage)
            except StartError as error:
                if contender.required:
                    self._failures.append(f"{contender.name}: {error}")
                else:
                    self._not_measured[contender.name] = str(error)
                self._say(f"  {error}")

    def _check(self) -> dict[str, Load]:
        checks = {}
        for name, running in list(self._running.items()):
            try:
                checks[name] = check_answers(running, max(CONNECTIONS))
            except StartError as error:
                self._lost(name, error)
        return checks

    def _load(self) -> dict[Key, list[Round]]:
        rounds: dict[Key, list[Round]] = defaultdict(list)
        for number in range(1, self._rounds + 1):
            for connections in CONNECTIONS:
                for name, running in list(self._running.items()):
                    try:
                        found = measure(running, connections, self._seconds)
                    except StartError as error:
                        self._lost(name, error)
                        continue
                    rounds[running.name, running.over, connections].append(found)
                    self._say(
                        f"round {number}/{self._rounds}  {connections:>2} connections  {name:<13} "
                        f"{found.calls_per_second:>9,.0f} calls/s"
                        + (f"  {found.load.faults} FAULTS {found.load.example}" if found.load.faults else "")
                    )
        return rounds

    def _latency(self, stage: Stage) -> list[Latency]:
        contenders = [one for one in self._running.values() if one.name != DIRECT]
        if not contenders:
            return []
        self._say("one call at a time")
        callers = measure_latency(stage, contenders, self._rounds)
        self._failures += [f"{one.contender} to {one.over}: {one.fault}" for one in callers if one.fault]
        return compare(callers)

    def _idle(self, stage: Stage) -> Idle | None:
        if "fairlead" not in self._running:
            return None
        self._say(f"{self._idle_count:,} idle sessions and event streams")
        try:
            return measure_idle(stage, self._idle_count)
        except (StartError, OSError) as error:
            self._failures.append(f"idle sessions and event streams: {error}")
            return None

    def _recovery(self, stage: Stage) -> list[Recovery]:
        found: list[Recovery] = []
        if self._only and RECOVERY not in self._only:
            return found
        for instances in POOLS:
            self._say(f"{self._kill_count} kills under load, in a pool of {instances}")
            try:
                found.append(measure_recovery(stage, instances, self._kill_count))
            except StartError as error:
                self._failures.append(f"recovery, pool of {instances}: {error}")
        return found

    def _gitops(self, stage: Stage) -> GitOps | None:
        if self._only and GITOPS not in self._only:
            return None
        self._say(f"{self._commit_count} commits and edits of each kind, with a thousand applications")
        try:
            return measure_gitops(stage, self._commit_count)
        except (StartError, OSError, TimeoutError) as error:
            self._failures.append(f"gitops: {error}")
            return None


def versions() -> dict[str, str]:
    """Of everything that was measured."""
    found = {name: version(name) for name in ("fairlead", "uvicorn", "uvloop")} | pinned_versions()
    if nginx := find_nginx():
        told = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
        found["nginx"] = told.strip().rpartition("/")[2]
    return found


def main() -> int:
    options = arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder,
            Programs(Path(folder)) as programs,
        ):
            report = Run(console, options).run(set_stage(programs))
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started is ended")
        return 130
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    report.show(console)
    console.print(f"written: {OUTPUT.relative_to(Path.cwd())}")
    return 1 if report.faults() else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Fairlead beside nginx and other gateways."
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of 2 s instead of five of 3 s, and fewer kills"
    )
    parts = [*(contender.name for contender in ALL), RECOVERY, GITOPS]
    parser.add_argument("--only", nargs="+", default=[], choices=parts)
    return parser.parse_args()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
