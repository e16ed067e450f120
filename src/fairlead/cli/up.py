"""`fairlead up`: start the system, show how it comes up, and stay with it (or not, with --detach)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.board import SETTLED, Board, Server, board
from fairlead.cli.client import Client, client_of
from fairlead.cli.connect import NAME, claude_command, claude_line, local_token, mcp_url
from fairlead.cli.down import stop_patience
from fairlead.cli.gitops_beside import GitOpsBeside
from fairlead.cli.gitops_report import GitOpsReport
from fairlead.cli.login import make_link
from fairlead.cli.options import json_option, load, service_options
from fairlead.cli.output import print_json, problem, say, style, warn
from fairlead.cli.ports import check_port
from fairlead.cli.service import LogLine, Service, StopSignals
from fairlead.model.errors import ProblemError
from fairlead.stores.state import GITOPS, ORCHESTRATOR, Run, StateFolder

POLL = 0.2  # s
POLL_TIMEOUT = 1.0  # s: a stop signal must not wait longer than this for an answer
START_PATIENCE = 600.0  # s: a first start installs packages


@dataclass(frozen=True, slots=True)
class Manner:
    """How `up` behaves. `patience`: how long the servers may take to settle, s."""

    detach: bool = False
    as_json: bool = False
    patience: float = START_PATIENCE


@click.command("up")
@click.option("--detach", "-d", is_flag=True, help="Return when everything is ready; stop it with `down`.")
@json_option
@click.option("--no-gitops", is_flag=True, help="Start the orchestrator alone, not the GitOps controller.")
@service_options
def up_command(*, detach: bool, as_json: bool, no_gitops: bool, **given: Any) -> None:
    """Start the system and show when it is ready. Ctrl-C stops it."""
    loaded = load(**given)
    settings = loaded.settings
    settings.require_config()
    if settings.port == 0 and loaded.origins["gitops_port"] == "default":
        given["gitops_port"] = 0  # whoever takes any port for one service does so for the other
        settings = settings.model_copy(update={"gitops_port": 0})
    command = orchestrator_argv(settings, given, detach=detach)
    gitops = None if no_gitops else gitops_argv(settings, given)
    manner = Manner(detach=detach, as_json=as_json)
    raise click.exceptions.Exit(run_up(settings, command, manner, gitops=gitops))


def orchestrator_argv(settings: Settings, given: dict[str, Any], *, detach: bool) -> list[str]:
    """The command that `up` runs: the options it was given, and its own. Secrets go by the environment."""
    argv = _service_argv(StateFolder(settings.state_dir), given)
    return argv if detach else [*argv, "--stop-with-stdin"]


def gitops_argv(settings: Settings, given: dict[str, Any]) -> list[str]:
    """The same for the GitOps controller, without what ends it together with `up`."""
    return _service_argv(StateFolder(settings.state_dir).of(GITOPS), given)


def _service_argv(state: StateFolder, given: dict[str, Any]) -> list[str]:
    argv = [sys.executable, "-P", "-m", "fairlead.cli.main", state.service, "--log-file", str(state.log)]
    for name, value in given.items():
        if value is not None:
            argv += ["--settings" if name == "settings_file" else "--" + name.replace("_", "-"), str(value)]
    return argv


def run_up(
    settings: Settings, command: Sequence[str], manner: Manner, *, gitops: Sequence[str] | None = None
) -> int:
    """Start `command` as the orchestrator and `gitops` beside it, each unless one runs already.

    Returns the exit code. A GitOps controller that is started for a system that runs belongs to that system:
    it stays when this command returns.
    """
    state = StateFolder(settings.state_dir)
    for line in state.prepare():
        warn(line)
    if (run := _running(settings, state)) is not None:
        with closing(GitOpsBeside(settings, gitops, detach=True)) as beside:
            beside.start()
            _announce(settings, run, manner, beside.settle(), already=True)
        return 0
    check_port(settings.host, settings.port)
    with StopSignals() as signals, closing(GitOpsBeside(settings, gitops, detach=manner.detach)) as beside:
        service = Service(command, state, detach=manner.detach)
        try:
            return _Session(settings, manner, service, beside, signals).run()
        except ProblemError:
            beside.stop(signals, patience=stop_patience(settings))
            service.stop(signals, patience=stop_patience(settings))
            raise
        finally:
            service.leave()


def _running(settings: Settings, state: StateFolder) -> Run | None:
    """The system that runs already and answers; one that is just starting or stopping is waited for."""
    deadline = time.monotonic() + stop_patience(settings)
    while (holder := state.holder()) is not None:
        if (run := state.read_run()) is not None and _answers(settings, run):
            return run
        if time.monotonic() > deadline:
            raise problem(
                "not-reachable",
                "Fairlead runs, but does not answer",
                f"process {holder.pid} holds {state.root}: see `fairlead logs`; `fairlead down` stops it",
            )
        time.sleep(POLL)
    return None


def _answers(settings: Settings, run: Run) -> bool:
    try:
        _client(settings, run).get("/api/servers")
    except ProblemError as error:
        return error.problem.code != "not-reachable"
    return True


class _Session:
    """One `up`, from the started child to its end."""

    def __init__(
        self,
        settings: Settings,
        manner: Manner,
        service: Service,
        beside: GitOpsBeside,
        signals: StopSignals,
    ) -> None:
        self._settings = settings
        self._manner = manner
        self._service = service
        self._beside = beside
        self._signals = signals
        self._started = time.monotonic()
        self._trouble = ""  # why the last look at the servers failed

    def run(self) -> int:
        with board(as_json=self._manner.as_json) as shown:
            ready = self._settle(shown)
        gitops = self._beside.settle(self._signals)
        if self._signals.received:
            return self._stop()
        run = self._service.run()
        if run is None or not ready:
            text = f"after {self._manner.patience:g} s servers are still starting{self._trouble}"
            if run is None:
                raise problem("not-ready", "the orchestrator does not listen", text)
            warn(f"{text}; see `fairlead status`")
        self._show_log(lambda line: line.is_warning)  # above what the user is to act on
        _announce(self._settings, run, self._manner, gitops, already=False)
        if self._manner.detach:
            return 0 if ready else 1
        self._stay()
        return self._stop()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _servers(self, run: Run | None) -> list[Server] | None:
        """The servers' states, or None as long as the service cannot say."""
        if run is None:
            return None
        try:
            answer = _client(self._settings, run).get("/api/servers")
        except ProblemError as error:
            if error.problem.status == 401:
                raise
            self._trouble = f" ({error})"
            return None
        self._trouble = ""
        servers: list[Server] = answer["servers"]
        return servers

    def _settle(self, shown: Board) -> bool:
        """Show the servers until each is ready or cannot be. False: interrupted, or out of patience."""
        listening = False
        while not self._signals.received and self._elapsed() < self._manner.patience:
            run = self._service.run()
            if run is not None and not listening:
                listening = True
                self._beside.start()
            self._beside.tick()
            servers = self._servers(run)
            if servers is not None:
                shown.update(servers, self._elapsed())
                if all(server["state"] in SETTLED for server in servers):
                    return True
            time.sleep(POLL)
        return False

    def _stay(self) -> None:
        """Show what changes and what goes wrong, until a signal comes. Raises when the service ends."""
        while not self._signals.received:
            self._service.run()
            self._show_log(lambda line: line.is_warning or line.is_change)
            self._beside.tick()
            time.sleep(POLL)

    def _show_log(self, wanted: Callable[[LogLine], bool]) -> None:
        for text in self._service.log.new_lines():
            line = LogLine(text)
            if wanted(line) and not (self._manner.as_json and line.is_change):
                self._show(line if line.is_change else f"{ORCHESTRATOR}: {line}")
        for line in self._beside.warnings():
            self._show(f"{GITOPS}: {line}")

    def _show(self, text: object) -> None:
        say(f"{time.strftime('%H:%M:%S')} {text}", sys.stderr)

    def _stop(self) -> int:
        if not self._manner.as_json:
            say("\nstopping (Ctrl-C again kills)", sys.stderr)
        began = time.monotonic()
        patience = stop_patience(self._settings)
        orderly = self._beside.stop(self._signals, patience=patience)
        code = self._service.stop(self._signals, patience=patience)
        if code == 0:
            say(f"stopped after {time.monotonic() - began:.1f} s", sys.stderr)
            return 0 if orderly else 1
        how = "it had to be killed" if code < 0 else f"it ended with code {code} (see `fairlead logs`)"
        warn(f"{how}; the next start ends what it left behind")
        return 1


def _client(settings: Settings, run: Run) -> Client:
    return client_of(settings, run, timeout=POLL_TIMEOUT)


def _login_link(settings: Settings, run: Run) -> str | None:
    """None where there can be none just now; `fairlead login` then says why."""
    try:
        link: str = make_link(_client(settings, run))["url"]
    except ProblemError:
        return None
    return link


def _announce(settings: Settings, run: Run, manner: Manner, gitops: GitOpsReport, *, already: bool) -> None:
    address = run.addresses["orchestrator"]
    line = claude_line(claude_command(NAME, mcp_url(run.mcp_address), local_token(settings)))
    if manner.as_json:
        print_json(
            {
                "address": address,
                "mcp": mcp_url(run.mcp_address),
                "pid": run.pid,
                "alreadyRunning": already,
                "stateDir": str(settings.state_dir),
                "workspace": None if already else str(settings.workspace),
                "servers": _client(settings, run).get("/api/servers")["servers"],
                **gitops.document(),
            }
        )
        return
    say()
    runs = "already runs" if already else "is up"
    say(
        style(f"Fairlead {runs} at {address}", bold=True)
        + f" (process {run.pid}, state in {settings.state_dir})"
    )
    if not already:  # a running one may have been started with another
        say(f"The filesystem server works in {settings.workspace}")
    say(gitops.line())
    say()
    say("To connect Claude Code, paste:")
    click.echo(f"  {line}")
    say()
    say(f"API and its documentation: {address}/docs")
    if link := _login_link(settings, run):
        say(f"To log a browser in (once, within ten minutes): {link}")
    say("Stop it with " + ("`fairlead down`" if already or manner.detach else "Ctrl-C, or `fairlead down`"))
