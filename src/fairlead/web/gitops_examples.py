"""The examples that the GitOps controller's OpenAPI shows. Built from the models, so they cannot drift."""

from __future__ import annotations

from typing import Any, Final

from fairlead.gitops.reports import configuration
from fairlead.model.errors import Fault, Problem
from fairlead.model.gitops import DriftKind, Environment, GitOpsFile, Mode, Policy, Severity
from fairlead.model.gitops_reports import (
    ApplicationDiff,
    ApplicationReport,
    BlockedReport,
    CommitList,
    CommitReport,
    DeploymentReport,
    Difference3,
    DriftReport,
    DriftStatus,
    EnvironmentHealth,
    GitStatus,
    HoldReport,
    SourceReport,
    StepReport,
    SyncStatus,
    SyncTriggered,
    ToolReport,
    Validation,
)
from fairlead.model.reconciling import Case, DeploymentReason, DeploymentState, DriftState, StepName
from fairlead.model.status import Condition
from fairlead.web.examples import SINCE

GOOD: Final = "3f9c2a71d04b4be8a5b6c1f2e3d4a5b6c7d8e9f0"
NEWER: Final = "9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b"
DEPLOYMENT_ID: Final = "01a1f4a3c800-5b2e9c1d"


def _condition(type_: str, *, status: bool) -> Condition:
    return Condition(type=type_, status=status, reason="Synced", message="", since=SINCE)


APPLICATION: Final = ApplicationReport(
    name="fleet",
    environment=Environment.PRODUCTION,
    source="config",
    target="fleet http://127.0.0.1:3002",
    mode=Mode.ENFORCE,
    commit=NEWER,
    applied=NEWER,
    generation=1,
    observed_generation=1,
    conditions=[
        _condition("Ready", status=True),
        _condition("Reconciling", status=False),
        _condition("Stalled", status=False),
    ],
    drift=1,
    conflicts=0,
    suspended=False,
    holds=[HoldReport(path="servers.magic.**", by="ada", reason="incident 42", until=SINCE + 3600)],
    blocked=[BlockedReport(commit=GOOD, at=SINCE, reason="magic: exited with code 1")],
    deployment=DEPLOYMENT_ID,
)
DRIFT: Final = DriftReport(
    application="fleet",
    object="fleet",
    key="servers.filesystem.args",
    kind=DriftKind.CONFIGURATION,
    severity=Severity.HIGH,
    state=DriftState.OPEN,
    base='["/home/ada/notes"]',
    live='["/"]',
    desired='["/home/ada/notes"]',
    since=SINCE,
    by="ada",
)
DRIFT_STATUS: Final = DriftStatus(
    checked=SINCE,
    applications=1,
    drift=[DRIFT],
    by_severity={Severity.HIGH: 1},
    by_kind={DriftKind.CONFIGURATION: 1},
)
DIFF: Final = ApplicationDiff(
    application="fleet",
    commit=NEWER,
    differences=[
        Difference3(
            object="fleet",
            key="servers.filesystem.args",
            case=Case.CONFLICT,
            action="wait",
            base='["/home/ada/notes"]',
            live='["/"]',
            desired='["/home/ada/notes", "/home/ada/papers"]',
            policy=Policy.MANUAL,
        )
    ],
    text='--- live/fleet\n+++ git/fleet\n@@ -3 +3 @@\n-  "weight": 1\n+  "weight": 2',
)
DEPLOYMENT: Final = DeploymentReport(
    id=DEPLOYMENT_ID,
    application="fleet",
    environment=Environment.PRODUCTION,
    commit=NEWER,
    previous=GOOD,
    reason=DeploymentReason.MANUAL,
    actor="ada",
    author="Bob <bob@example.org>",
    state=DeploymentState.WAITING,
    created=SINCE,
    steps=[
        StepReport(name=StepName.FETCH, started=SINCE, ended=SINCE + 0.1, seconds=0.1, message="of config"),
        StepReport(name=StepName.GATE, started=SINCE + 0.1),
    ],
    difference=DIFF.text,
    approved_by=[],
    message=f"waits for approval: `fairlead gitops approve {DEPLOYMENT_ID}`",
    revision=3,
)
PENDING: Final = DEPLOYMENT.model_copy(
    update={"state": DeploymentState.PENDING, "steps": [], "difference": "", "message": "", "revision": 0}
)
SYNC_STATUS: Final = SyncStatus(applications=[APPLICATION], waiting=0, working=1, failing=0, lag=0.0)
TRIGGERED: Final = SyncTriggered(applications=["fleet"], observed=[])
GIT_STATUS: Final = GitStatus(
    sources=[
        SourceReport(
            name="config",
            url="https://git.example.org/team/config.git",
            branch="main",
            head=NEWER,
            subject="A second folder for filesystem",
            age=4.2,
        )
    ]
)
COMMITS: Final = CommitList(
    source="config",
    commits=[
        CommitReport(
            id=NEWER,
            author="Bob <bob@example.org>",
            time=SINCE,
            subject="A second folder for filesystem",
            applied_to=["fleet"],
            blocked_for=[],
        )
    ],
)
ENVIRONMENT: Final = EnvironmentHealth(
    healthy=False,
    environments={Environment.PRODUCTION: False},
    tools=[
        ToolReport(
            application="fleet",
            tool="node",
            wanted=">=20",
            installed="18.19.0",
            fits=False,
            message="18.19.0 is installed, >=20 is declared",
        )
    ],
    applications=[APPLICATION],
)
CONFIGURATION: Final[dict[str, Any]] = configuration(
    GitOpsFile.model_validate(
        {
            "version": "1",
            "sources": {
                "config": {
                    "url": "https://git.example.org/team/config.git",
                    "webhookSecret": "${secret:WEBHOOK}",
                }
            },
        }
    )
)
DOCUMENTS: Final = {
    "applications/fleet.yml": "version: '1'\nname: fleet\ntarget:\n  fleet: {}\n",
}
VALID: Final = Validation(valid=True, problems=[])


def refusal(code: str, title: str, detail: str, status: int) -> Problem:
    """One of those that the operations raise, for OpenAPI."""
    return Problem(code, title, detail, status, Fault.CLIENT)


UNKNOWN_APPLICATION: Final = refusal(
    "unknown-application",
    "No such application",
    "there is no application 'flet'; known: fleet",
    404,
)
UNKNOWN_COMMIT: Final = refusal(
    "unknown-commit",
    "Not found",
    "'3f9c' is no commit of the branch of config; `git log` shows them",
    404,
)
UNKNOWN_DEPLOYMENT: Final = refusal(
    "unknown-deployment",
    "Not found",
    "there is no deployment 'x': `fairlead gitops history` shows them",
    404,
)
ONLY_OBSERVED: Final = refusal(
    "only-observed",
    "Not now",
    "fleet is only observed: `fairlead gitops enable` puts Git in charge",
    409,
)
OLDER_COMMIT: Final = refusal(
    "older-commit",
    "Not now",
    "3f9c2a71d04b is older than 9a0b1c2d3e4f, which is in force at fleet, and takes Git's newest by itself: "
    "roll back to it, which keeps what is newer from coming again",
    409,
)
