"""What commands say of a GitOps controller that runs with a state folder, or of why there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fairlead.app.settings import Settings
from fairlead.cli.client import Client, cli_token
from fairlead.cli.output import counted, plain, style
from fairlead.model.errors import ProblemError
from fairlead.stores.state import GITOPS, Run, StateFolder

TIMEOUT = 2.0  # s: what else there is to show must not wait for it
NOT_NOW = "it is just starting or stopping (process {}); see `fairlead logs --gitops`"
_MODES = {"observe": "only observed", "enforce": "kept as Git says"}

Application = dict[str, Any]  # an `ApplicationReport` as REST shows it


@dataclass(frozen=True, slots=True)
class GitOpsReport:
    """`applications` is None as long as it cannot say; `reason` is why not, or why it does not run."""

    run: Run | None = None
    applications: tuple[Application, ...] | None = None
    reason: str = ""

    def line(self) -> str:
        """For people."""
        if self.run is None:
            return f"GitOps controller: {self.reason}"
        head = style(f"GitOps controller at {self.run.addresses[GITOPS]}", bold=True)
        return f"{head} (process {self.run.pid}): {self._contents()}"

    def document(self) -> dict[str, Any]:
        """For programs: `gitops` is null, and `gitopsReason` says why, where it does not run."""
        if self.run is None:
            return {"gitops": None, "gitopsReason": self.reason}
        rows = None if self.applications is None else [_row(one) for one in self.applications]
        address = self.run.addresses[GITOPS]
        return {"gitops": {"address": address, "pid": self.run.pid, "applications": rows}}

    def _contents(self) -> str:
        if self.applications is None:
            return self.reason
        if not self.applications:
            return "no applications yet"
        modes = Counter(_MODES.get(one["mode"], plain(one["mode"])) for one in self.applications)
        ready = sum(_ready(one) for one in self.applications)
        how = [mode if len(modes) == 1 else f"{count} {mode}" for mode, count in modes.items()]
        return ", ".join([counted(len(self.applications), "application"), *how, f"{ready} ready"])


def gitops_report(settings: Settings, *, absent: str, timeout: float = TIMEOUT) -> GitOpsReport:
    """How the GitOps controller fares; `absent` is what is said where none runs."""
    state = StateFolder(settings.state_dir).of(GITOPS)
    if (run := state.read_run()) is None:
        holder = state.holder()
        return GitOpsReport(reason=NOT_NOW.format(holder.pid) if holder else absent)
    try:
        answer = gitops_client(settings, run, timeout=timeout).get("/api/applications")
    except ProblemError as error:
        return GitOpsReport(run, reason=plain(f"{error.problem.title}, {error.problem.detail}"))
    return GitOpsReport(run, tuple(answer["applications"]))


def gitops_client(settings: Settings, run: Run, *, timeout: float) -> Client:
    certificate = settings.tls.certificate
    token, logs = cli_token(settings), "fairlead logs --gitops"
    return Client(run.addresses[GITOPS], token, timeout=timeout, certificate=certificate, logs=logs)


def _ready(application: Application) -> bool:
    return any(row["type"] == "Ready" and row["status"] for row in application["conditions"])


def _row(application: Application) -> dict[str, Any]:
    return {"name": application["name"], "mode": application["mode"], "ready": _ready(application)}
