"""The GitOps controller beside the orchestrator of `fairlead up`: started, watched, stopped.

The orchestrator is what clients depend on, so nothing that befalls the controller ends `up`: why it does
not run is told. In the foreground one that died is started again, after 1 s and then twice as long each
time it fails anew; one that somebody asked to stop stays stopped. One that another command
started is only watched, and its place is taken when it is gone.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.app.settings import Settings
from fairlead.cli.gitops_report import GitOpsReport, gitops_report
from fairlead.cli.output import say, warn
from fairlead.cli.ports import check_port
from fairlead.cli.service import LogLine, Service, StopSignals
from fairlead.model.errors import ProblemError
from fairlead.stores.state import GITOPS, StateFolder

LEFT_OUT = "left out with --no-gitops"
NOT_YET = "it is not started yet"
STARTING = "it is still starting; see `fairlead logs --gitops`"
SHORTEST, LONGEST = 1.0, 60.0  # s between its end and the next start
STEADY = 60.0  # s: when it has run for so long, its next end counts as the first
POLL = 0.1  # s
STOPPED = (0, -signal.SIGTERM)  # exit codes on a wish to stop; the latter while it is just starting
TAKEN_BY_MACOS = 5000  # by its AirPlay receiver
SETTLE = 15.0  # s that `up` waits for it beyond the servers


@dataclass(frozen=True, slots=True)
class Away:
    """Why it does not run, and when it is started again (by the clock; None: not at all)."""

    reason: str
    until: float | None = None


class GitOpsBeside:
    """`command` runs the controller, None: it is left out. `detach`: it outlives this process."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str] | None,
        *,
        detach: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._command = command
        self._detach = detach
        self._now = now
        self._state = StateFolder(settings.state_dir).of(GITOPS)
        self._service: Service | None = None
        self._away: Away | None = Away(LEFT_OUT if command is None else NOT_YET)
        self._began = 0.0
        self._ends = 0  # in a row
        self._told = ""  # how it ended last
        self._announced = True

    def __repr__(self) -> str:
        return f"GitOpsBeside({self._service or self._away or 'of another command'!r})"

    def start(self) -> None:
        """Start it, unless one runs. What hinders it is told, not raised."""
        if self._command is None:
            return
        if self._state.holder() is not None:
            self._away = None
            return
        settings = self._settings
        try:
            check_port(settings.host, settings.gitops_port, key="gitops_port")
            own = [] if self._detach else ["--stop-with-stdin"]
            self._service = Service([*self._command, *own], self._state, detach=self._detach)
        except ProblemError as error:
            self._hindered(error.problem.title, error.problem.detail)
        except OSError as error:
            self._hindered(f"the GitOps controller cannot be started: {error.strerror}", str(error.filename))
        else:
            self._away, self._began = None, self._now()

    def tick(self) -> None:
        """Look after it. Never waits."""
        if self._service is not None:
            try:
                running = self._service.run() is not None
            except ProblemError as error:
                self._ended(self._service, error)
            else:
                self._up_again(running=running)
        elif self._away is None:
            if not self._detach:
                self.start()  # only if the one of another command is gone
        elif self._away.until is not None and self._now() >= self._away.until:
            self.start()

    def settle(self, signals: StopSignals | None = None) -> GitOpsReport:
        """What there is to say of it as soon as it answers, or will not in time."""
        deadline = self._now() + SETTLE
        while True:
            self.tick()
            report = self.report()
            stopping = signals is not None and signals.received
            over = stopping or self._away is not None or self._now() > deadline
            if report.applications is not None or over:
                self._announced = report.run is not None
                return report
            time.sleep(POLL)

    def report(self) -> GitOpsReport:
        return gitops_report(self._settings, absent=self._away.reason if self._away else STARTING)

    def warnings(self) -> list[LogLine]:
        """What it warned of since the last call."""
        if self._service is None:
            return []
        return [line for line in map(LogLine, self._service.log.new_lines()) if line.is_warning]

    def stop(self, signals: StopSignals, *, patience: float) -> bool:
        """End it if it is ours. False when it had to be killed, or ended badly."""
        service, self._service = self._service, None
        if service is None:
            if self._away is None and (holder := self._state.holder()) is not None:
                others = f"the GitOps controller (process {holder.pid}) was started by another command"
                warn(f"{others} and runs on; `fairlead down` stops it")
            return True
        if service.code is not None:  # it had ended by itself before
            service.leave()
            return True
        code = service.stop(signals, patience=patience)
        service.leave()
        if code not in STOPPED:
            how = "had to be killed" if code < 0 else f"ended with code {code} (see `fairlead logs --gitops`)"
            warn(f"the GitOps controller {how}")
        return code in STOPPED

    def close(self) -> None:
        """Let go of it; a detached one runs on."""
        if self._service is not None:
            self._service.leave()

    def _ended(self, service: Service, error: ProblemError) -> None:
        code = service.code
        service.leave()
        self._service, self._announced = None, False
        if self._state.holder() is not None:
            self._away = None  # another command was faster: its controller is the one
            return
        if code in STOPPED:
            self._away = Away("it was stopped; `fairlead up` starts it")
            warn("the GitOps controller was stopped by another command; all else goes on without it")
            return
        self._ends = 1 if self._now() - self._began > STEADY else self._ends + 1
        self._hindered(error.problem.title, error.problem.detail)

    def _hindered(self, title: str, detail: str) -> None:
        """Tell why it does not run; one that ran (or was to) in the foreground is tried again later."""
        if self._settings.gitops_port == TAKEN_BY_MACOS and "taken" in title:
            detail += ", such as `--gitops-port 5050`"
        again = f": {detail}" if detail != self._told else ""
        self._told = detail
        if self._detach or self._ends == 0:
            self._away = Away(f"{title}: {detail}")
            warn(f"{title}, all else goes on without the GitOps controller{again}")
            return
        pause = min(SHORTEST * 2 ** (self._ends - 1), LONGEST)
        self._away = Away(f"{title}: {detail}", self._now() + pause)
        warn(f"{title}; the GitOps controller is started again in {pause:g} s{again}")

    def _up_again(self, *, running: bool) -> None:
        if running and not self._announced and (run := self._state.read_run()) is not None:
            self._announced = True
            text = f"GitOps controller at {run.addresses[GITOPS]} (process {run.pid}) is up"
            say(f"{time.strftime('%H:%M:%S')} {text}", sys.stderr)
