"""What a run found: rows made of its rounds, as tables (which are Markdown, for the docs) and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.figures import paired_ratio
from bench.gitops import GitOps
from bench.latency import Latency
from bench.load import Load, Round
from bench.memory import Idle
from bench.recovery import Recovery

YARDSTICK = "nginx"
MARKS = {  # x nginx
    "Fairlead": (0.7, "one stdio instance"),
    "Fairlead, pool of 2": (0.8, "two stdio instances"),
}
MARK_CONNECTIONS = 32
MARK_RECOVERY = 1000.0  # ms at p99 until an instance is replaced, without what the server takes to start
BUSY = 0.3  # load average before the run, for each CPU


@dataclass(frozen=True, slots=True)
class Row:
    """A contender at a number of connections: medians of its rounds."""

    contender: str
    over: str
    connections: int
    calls_per_second: float
    ratio: float | None  # to the yardstick, in the same rounds
    p50_us: float
    p99_us: float
    gateway_us: float | None  # CPU for each call
    server_us: float
    wrk_us: float
    wrong: int  # of all rounds
    refused: int
    lost: int
    rounds: tuple[float, ...]  # calls/s

    @property
    def faults(self) -> int:
        return self.wrong + self.refused + self.lost


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident memory of a gateway's process, MiB: ready, and after all the load."""

    contender: str
    over: str
    idle_mib: float
    loaded_mib: float


Key = tuple[str, str, int]  # contender, over, connections


def rows(rounds: dict[Key, list[Round]]) -> list[Row]:
    """Medians; a contender that missed rounds is compared with none."""
    made = []
    for (contender, over, connections), found in rounds.items():
        base = rounds.get((YARDSTICK, "HTTP", connections), [])
        speeds = [one.calls_per_second for one in found]
        gateway = [one.gateway_us for one in found if one.gateway_us is not None]
        made.append(
            Row(
                contender=contender,
                over=over,
                connections=connections,
                calls_per_second=median(speeds),
                ratio=paired_ratio(speeds, [one.calls_per_second for one in base]),
                p50_us=median(one.load.p50_us for one in found),
                p99_us=median(one.load.p99_us for one in found),
                gateway_us=median(gateway) if gateway else None,
                server_us=median(one.server_us for one in found),
                wrk_us=median(one.wrk_us for one in found),
                wrong=sum(one.load.wrong for one in found),
                refused=sum(one.load.refused for one in found),
                lost=sum(one.load.lost for one in found),
                rounds=tuple(round(speed, 1) for speed in speeds),
            )
        )
    return made


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was to be reached."""

    what: str
    found: float
    met: bool


def marks(found: Sequence[Row], recovery: Sequence[Recovery], gitops: GitOps | None = None) -> list[Mark]:
    """Whether the marks are met; what was not measured is not claimed."""
    made = []
    for row in found:
        if (row.over, row.connections) != ("stdio", MARK_CONNECTIONS) or row.contender not in MARKS:
            continue
        if row.ratio is not None:
            least, to = MARKS[row.contender]
            what = f"at least {least} x nginx to {to} at {MARK_CONNECTIONS} connections"
            made.append(Mark(what, round(row.ratio, 3), row.ratio >= least))
    for trial in recovery:
        if trial.kills:
            p99 = trial.figures["ready, less the own start"]["p99_ms"]
            what = (
                f"under {MARK_RECOVERY:.0f} ms plus the server's own start until a killed instance of a pool "
                f"of {trial.instances} is replaced (p99)"
            )
            made.append(Mark(what, round(p99, 1), p99 < MARK_RECOVERY and len(trial.kills) == trial.wanted))
    if gitops is not None:
        made += [Mark(what, round(figure, 2), met) for what, figure, met in gitops.marks]
    return made


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


@dataclass(slots=True)
class Report:
    """Everything that one run found."""

    made: str  # UTC
    machine: dict[str, Any]
    versions: dict[str, str]
    rounds: int
    seconds: float
    calls: list[Row]
    checks: dict[str, Load]
    latency: list[Latency]
    resident: list[Resident]
    idle: Idle | None
    recovery: list[Recovery]
    gitops: GitOps | None
    not_measured: dict[str, str]
    failures: list[str]  # what went wrong beside the answers that wrk counts

    def faults(self) -> list[str]:
        """Every contender that gave a wrong answer, refused a call or lost one."""
        told = [
            f"{row.contender} to {row.over}, {row.connections} connections: {_faults(row)}"
            for row in self.calls
            if row.faults
        ]
        told += [
            f"{name}, check of whose answer is whose: {_faults(load)} {load.example}".rstrip()
            for name, load in self.checks.items()
            if load.faults
        ]
        told += [fault for trial in self.recovery for fault in trial.faults]
        return told + self.failures

    def marks(self) -> list[Mark]:
        return marks(self.calls, self.recovery, self.gitops)

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["marks"] = [asdict(mark) for mark in self.marks()]
        for trial, told in zip(self.recovery, document["recovery"], strict=True):
            told["figures"] = trial.figures
        if self.gitops:
            document["gitops"]["figures"] = self.gitops.figures
        document["faults"] = self.faults()
        if self.idle:
            document["idle"] |= {"session_kib": self.idle.session_kib, "stream_kib": self.idle.stream_kib}
        return document

    def show(self, console: Console) -> None:
        if self.machine["load_average_before"] > BUSY * self.machine["cpus"]:
            console.print(
                f"The machine was busy before the run (load {self.machine['load_average_before']} on "
                f"{self.machine['cpus']} CPUs): only CPU for each call means something.",
                style="bold yellow",
            )
        if self.calls:
            console.print(calls_table(self.calls))
        if self.resident:
            console.print(resident_table(self.resident))
        if self.latency:
            console.print(latency_table(self.latency))
        if self.idle:
            console.print(idle_table(self.idle))
        if self.recovery:
            console.print(recovery_table(self.recovery))
        if self.gitops:
            console.print(gitops_table(self.gitops))
        for name, reason in self.not_measured.items():
            console.print(f"not measured: {name}: {reason}", markup=False)
        for fault in self.faults():
            console.print(f"FAULT {fault}", markup=False, style="bold red")
        for mark in self.marks():
            met = "met" if mark.met else "MISSED"
            console.print(f"mark {met}: {mark.found:,} (wanted: {mark.what})", style="bold", highlight=False)


def _faults(found: Row | Load) -> str:
    return f"{found.wrong} wrong, {found.refused} refused, {found.lost} lost"


def calls_table(found: Sequence[Row]) -> Table:
    table = _table(
        "tools/call (medians; CPU in us for each call)",
        ["contender", "to"],
        ["conns", "calls/s", "x nginx", "p50 us", "p99 us", "gateway CPU", "server CPU", "wrk CPU", "faults"],
    )
    for row in sorted(found, key=lambda row: row.connections):
        table.add_row(
            row.contender,
            row.over,
            str(row.connections),
            f"{row.calls_per_second:,.0f}",
            _number(row.ratio, 3),
            f"{row.p50_us:,.0f}",
            f"{row.p99_us:,.0f}",
            _number(row.gateway_us, 1),
            f"{row.server_us:.1f}",
            f"{row.wrk_us:.1f}",
            str(row.faults),
        )
    return table


def resident_table(found: Sequence[Resident]) -> Table:
    table = _table(
        "resident memory of the gateway's process", ["contender", "to"], ["idle MiB", "after load MiB"]
    )
    for one in found:
        table.add_row(one.contender, one.over, f"{one.idle_mib:.1f}", f"{one.loaded_mib:.1f}")
    return table


def latency_table(found: Sequence[Latency]) -> Table:
    table = _table(
        "one call at a time",
        ["contender", "to"],
        ["calls", "p50 us", "p99 us", "added p50 us", "added p99 us"],
    )
    for one in found:
        table.add_row(
            one.contender,
            one.over,
            f"{one.calls:,}",
            f"{one.p50_us:,.0f}",
            f"{one.p99_us:,.0f}",
            _number(one.added_p50_us, 0),
            _number(one.added_p99_us, 0),
        )
    return table


def idle_table(idle: Idle) -> Table:
    table = _table("idle sessions and event streams of Fairlead", ["state"], ["MiB", "KiB each"])
    table.add_row("ready", f"{idle.start_mib:.1f}", "")
    table.add_row(f"{idle.count:,} sessions", f"{idle.sessions_mib:.1f}", f"{idle.session_kib:.2f}")
    table.add_row(f"and {idle.count:,} event streams", f"{idle.streams_mib:.1f}", f"{idle.stream_kib:.2f}")
    table.add_row("streams closed", f"{idle.closed_mib:.1f}", "")
    return table


def recovery_table(found: Sequence[Recovery]) -> Table:
    table = _table(
        "instances killed under load (ms from the kill on)",
        ["pool of", "what"],
        ["kills", "p50 ms", "p99 ms", "max ms", "calls", "failed", "wrong"],
    )
    for trial in found:
        counts = [f"{count:,}" for count in (trial.calls, trial.failed, trial.wrong)]
        table.add_row(str(trial.instances), "all calls", str(len(trial.kills)), "", "", "", *counts)
        for name, figures in trial.figures.items():
            table.add_row(str(trial.instances), name, "", *(f"{value:,.1f}" for value in figures.values()))
    return table


def gitops_table(found: GitOps) -> Table:
    size = f"the controller has {found.resident_mib:.0f} MiB"
    title = f"GitOps, {found.applications:,} applications and a fleet; {size}"
    table = _table(title, ["what"], ["p50", "p99", "max"])
    for name, figures in found.figures.items():
        table.add_row(name, *(f"{figure:,.2f}" if figure < 10 else f"{figure:,.0f}" for figure in figures))
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=MARKDOWN)
    for name in words:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
