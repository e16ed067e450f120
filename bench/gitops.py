"""The GitOps controller with a thousand applications: how fast Git is followed, and what idling costs.

One controller and one orchestrator run as their users start them. Each application keeps a file of its own,
one more keeps the fleet. Commits are pushed to a bare repository on this machine, which the controller
watches; what it tells on its live connection, and what is on disk, is timed from outside.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from bench.contenders import BIN, ECHO_STDIO, Stage, fleet
from bench.figures import percentile
from bench.processes import Program, StartError, cpu_seconds

APPLICATIONS = 1000
READY_SECONDS = 300.0
PATIENCE = 30.0  # s for one commit or edit
PASSES = 5
_LOOKS = re.compile(r"^\S*gitops_looks_total (\S+)$", re.MULTILINE)
_BUSY = re.compile(r'^\S*gitops_queue_depth\{state="(?:waiting|working)"\} (\S+)$', re.MULTILINE)
_GIT = {
    "GIT_AUTHOR_NAME": "Bench", "GIT_AUTHOR_EMAIL": "bench@example.org",
    "GIT_COMMITTER_NAME": "Bench", "GIT_COMMITTER_EMAIL": "bench@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GitOps:
    """What was found. Times in milliseconds, from the push or the edit on."""

    applications: int
    commit_file_ms: tuple[float, ...]  # until the file has it
    commit_fleet_ms: tuple[float, ...]  # until the fleet has it, healthy
    edit_file_ms: tuple[float, ...]  # until `drift-detected` is told
    edit_fleet_ms: tuple[float, ...]
    idle_cpu_s: tuple[float, ...]  # each a pass over all applications
    looks: tuple[int, ...]  # at applications and the source, for each commit that touches one application
    resident_mib: float
    fault: str = ""

    @property
    def figures(self) -> dict[str, tuple[float, float, float]]:
        """Median, p99 and maximum, in the unit of the name."""
        samples = {
            "commit to converged, a file, ms": self.commit_file_ms,
            "commit to converged, the fleet, ms": self.commit_fleet_ms,
            "edit to drift-detected, a file, ms": self.edit_file_ms,
            "edit to drift-detected, the fleet, ms": self.edit_fleet_ms,
            f"idle pass over {self.applications:,} applications, s of CPU": self.idle_cpu_s,
            "looks for a commit that touches one application": tuple(map(float, self.looks)),
        }
        return {
            name: (percentile(found, 50), percentile(found, 99), max(found))
            for name, found in samples.items()
            if found
        }

    @property
    def marks(self) -> list[tuple[str, float, bool]]:
        """What was to be reached, the figure, whether it was."""
        made = []
        for name, found in (("a file", self.commit_file_ms), ("the fleet", self.commit_fleet_ms)):
            if found:
                median = percentile(found, 50)
                made.append((f"commit to converged under 1,000 ms (median), {name}", median, median < 1000))
        for name, found in (("a file", self.edit_file_ms), ("the fleet", self.edit_fleet_ms)):
            if found:
                p99 = percentile(found, 99)
                made.append((f"edit to drift-detected under 500 ms (p99), {name}", p99, p99 < 500))
        if self.idle_cpu_s:
            median = percentile(self.idle_cpu_s, 50)
            made.append((f"an idle pass over {self.applications:,} under 1 s of CPU", median, median < 1.0))
        if self.looks:
            most = float(max(self.looks))
            what = "a commit that touches one application wakes one (it, it after its write, its source)"
            made.append((what, most, most <= 3))
        return made


def measure_gitops(stage: Stage, rounds: int, applications: int = APPLICATIONS) -> GitOps:
    """`rounds` commits and edits of each kind. Raises StartError."""
    trial = _Trial(stage, applications)
    try:
        trial.start()
        with trial.hearing("drift-detected", "deployment-completed") as heard:
            trial.heard = heard
            return GitOps(
                applications,
                commit_file_ms=tuple(trial.commit_file(number) for number in range(rounds)),
                commit_fleet_ms=tuple(trial.commit_fleet(number) for number in range(rounds)),
                edit_file_ms=tuple(trial.edit_file(number) for number in range(rounds)),
                edit_fleet_ms=tuple(trial.edit_fleet(number) for number in range(rounds)),
                idle_cpu_s=tuple(trial.idle_pass() for _ in range(PASSES)),
                looks=tuple(trial.looks_for_one(number) for number in range(min(rounds, 5))),
                resident_mib=trial.controller.process.memory_info().rss / 2**20,
            )
    finally:
        trial.end()


class _Trial:
    controller: Program
    heard: ClientConnection

    def __init__(self, stage: Stage, applications: int) -> None:
        self._stage = stage
        self._count = applications
        self._folder = stage.folder / "gitops"
        self._hosts = self._folder / "hosts"
        self._work, self._bare = self._folder / "work", self._folder / "config.git"
        self._programs: list[Program] = []
        self._url = self._fleet_url = ""

    # -- its life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        config = self._folder / "config" / "mcp-servers.yml"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps(self._fleet("0")))
        sources = {"config": {"url": str(self._bare)}}
        config.with_name("gitops.yml").write_text(json.dumps({"version": "1", "sources": sources}))
        self._lay_out()
        self._fleet_url = self._run("orchestrator", "run.json", "--port", "0")
        self._url = self._run("gitops", "run-gitops.json", "--gitops-port", "0")
        self.controller = self._programs[-1]
        self._until(self._all_applied, "all applications are as Git says", READY_SECONDS)

    def end(self) -> None:
        for program in reversed(self._programs):
            self._stage.programs.end(program)

    def _run(self, service: str, run_file: str, *options: str) -> str:
        state = self._folder / "state"
        config = str(self._folder / "config" / "mcp-servers.yml")
        argv = [str(BIN / "fairlead"), service, "--config", config, "--state-dir", str(state), *options]
        env = {key: value for key, value in os.environ.items() if not key.startswith("FAIRLEAD_")}
        program = self._stage.programs.start(
            f"gitops-{service}", argv, env | {"FAIRLEAD_TOKEN": self._stage.token}
        )
        self._programs.append(program)

        def running() -> bool:
            program.check()
            return (state / run_file).exists()

        self._until(running, f"{service} listens", READY_SECONDS)
        return str(json.loads((state / run_file).read_text())["addresses"][service])

    def _lay_out(self) -> None:
        """The repository, and the folders of the hosts."""
        self._git("init", "-q", "--initial-branch=main", "--bare", str(self._bare), cwd=self._folder)
        self._git("clone", "-q", str(self._bare), str(self._work), cwd=self._folder)
        for number in range(self._count):
            name = f"app-{number:04}"
            (self._hosts / name).mkdir(parents=True)
            target = {"files": {"root": str(self._hosts / name)}}
            self._put(f"applications/{name}.yml", self._application(name, target, "files"))
            self._put(f"apps/{name}/base/files/settings.json", {"value": "0"})
        self._put("applications/fleet.yml", self._application("fleet", {"fleet": {}}, "mcp-servers.yml"))
        self._put("apps/fleet/base/mcp-servers.yml", self._fleet("0"))
        self._git("switch", "-q", "-C", "main")
        self._push()

    def _application(self, name: str, target: dict[str, Any], render: str) -> dict[str, Any]:
        return {
            "version": "1", "name": name, "target": target, "path": f"apps/{name}", "render": render,
            "sync": {"propose": False},
        }  # fmt: skip

    def _fleet(self, value: str) -> dict[str, Any]:
        return fleet({"command": ECHO_STDIO[0], "args": [*ECHO_STDIO[1:], value]})

    def _put(self, path: str, document: dict[str, Any]) -> None:
        file = self._work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=2) + "\n")

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        ran = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self._work,
            env=os.environ | _GIT,
            capture_output=True,
            check=False,
        )
        if ran.returncode:
            msg = f"git {arguments[0]}: {ran.stderr.decode(errors='replace')[:300]}"
            raise StartError(msg)
        return ran.stdout.decode().strip()

    def _push(self) -> tuple[str, float]:
        """The commit, and when it was there."""
        self._git("add", "--all")
        self._git("commit", "-q", "-m", "bench")
        self._git("push", "-q", "origin", "main")
        return self._git("rev-parse", "HEAD"), time.perf_counter()

    # -- what is asked -----------------------------------------------------------------------------------

    def _ask(self, method: str, url: str, body: Any = None, **headers: str) -> Any:
        given = {
            "Authorization": f"Bearer {self._stage.token}",
            "Content-Type": "application/json",
            **headers,
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, given, method=method)
        with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text.decode()

    def _all_applied(self) -> bool:
        self.controller.check()
        found = self._ask("GET", f"{self._url}/api/applications")["applications"]
        ready = [
            each for each in found if each["applied"] and any(one["status"] for one in each["conditions"][:1])
        ]
        return len(ready) >= self._count + 1

    def _looks(self) -> int:
        found = _LOOKS.search(self._ask("GET", f"{self._url}/metrics"))
        if found is None:
            msg = "the controller does not count its looks"
            raise StartError(msg)
        return int(float(found[1]))

    @contextmanager
    def hearing(self, *types: str) -> Iterator[ClientConnection]:
        headers = {"Authorization": f"Bearer {self._stage.token}"}
        url = self._url.replace("http", "ws", 1) + "/ws"
        with connect(url, additional_headers=headers, proxy=None, compression=None) as socket:
            socket.send(json.dumps({"type": "subscribe", "id": "1", "types": types}))
            while json.loads(socket.recv(PATIENCE))["type"] != "result":
                pass
            yield socket

    def _hear(self, event_type: str, application: str, commit: str = "") -> float:
        """When it was told."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = json.loads(self.heard.recv(PATIENCE))
            event = message.get("event", {})
            data = event.get("data", {})
            fits = (event.get("type"), data.get("application")) == (event_type, application)
            if fits and commit in ("", data.get("commit")):
                return time.perf_counter()
        msg = f"no {event_type} of {application} within {PATIENCE:g} s"
        raise StartError(msg)

    def _until(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                msg = f"not within {patience:g} s: {what}"
                raise StartError(msg)
            time.sleep(0.002 if patience == PATIENCE else 0.2)
        return time.perf_counter()

    # -- what is measured --------------------------------------------------------------------------------

    def commit_file(self, number: int, text: str = "commit") -> float:
        name, text = f"app-{number % self._count:04}", f"{text} {number}"
        self._put(f"apps/{name}/base/files/settings.json", {"value": text})
        commit, pushed = self._push()
        file = self._hosts / name / "settings.json"
        converged = self._until(lambda: text in file.read_text(), f"{name} has {text!r}")
        self._hear("deployment-completed", name, commit)
        return (converged - pushed) * 1000

    def commit_fleet(self, number: int) -> float:
        self._put("apps/fleet/base/mcp-servers.yml", self._fleet(f"commit {number}"))
        commit, pushed = self._push()
        return (self._hear("deployment-completed", "fleet", commit) - pushed) * 1000

    def edit_file(self, number: int) -> float:
        name = f"app-{number % self._count:04}"
        file = self._hosts / name / "settings.json"
        before = file.read_bytes()
        edited = time.perf_counter()
        file.write_text(json.dumps({"value": f"edit {number}"}))
        heard = self._hear("drift-detected", name)
        file.write_bytes(before)
        self._until(lambda: not self._drift(name), f"{name} has no drift any more")
        return (heard - edited) * 1000

    def _drift(self, name: str) -> list[Any]:
        found: list[Any] = self._ask("GET", f"{self._url}/api/drift/status?application={name}")["drift"]
        return found

    def edit_fleet(self, number: int) -> float:
        url = f"{self._fleet_url}/api/fleet?origin=live"
        spec = self._ask("GET", f"{self._fleet_url}/api/fleet")["spec"]
        spec["servers"]["echo"]["args"] = [*ECHO_STDIO[1:], f"edit {number}"]
        edited = time.perf_counter()
        self._ask("PUT", url, spec, **{"If-Match": "*"})
        heard = self._hear("drift-detected", "fleet")
        self._hear("deployment-completed", "fleet")
        return (heard - edited) * 1000

    def idle_pass(self) -> float:
        before = cpu_seconds([self.controller.process])
        self._ask("POST", f"{self._url}/api/drift/check", {})
        return cpu_seconds([self.controller.process]) - before

    def looks_for_one(self, number: int) -> int:
        self._until(self._quiet, "the controller is idle")
        before = self._looks()
        self.commit_file(number, "look")
        self._until(self._quiet, "the controller is idle")
        # what it wrote itself wakes its application once more
        return self._looks() - before

    def _quiet(self) -> bool:
        counts = _BUSY.findall(self._ask("GET", f"{self._url}/metrics"))
        return bool(counts) and not any(float(count) for count in counts)
