"""What people are shown of applications, deployments and sources. Pure: no store is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fairlead.core import discretion
from fairlead.core.overrides import key_text
from fairlead.core.resolve import Action
from fairlead.gitops.controller import Declared, Managed
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.execution import target_name
from fairlead.model import placeholders
from fairlead.model.gitops import GitOpsFile, Source
from fairlead.model.gitops_reports import (
    ApplicationDiff,
    ApplicationReport,
    BlockedReport,
    CommitReport,
    DeploymentReport,
    Difference3,
    DriftReport,
    HoldReport,
    SourceReport,
    StepReport,
)
from fairlead.model.reconciling import (
    ApplicationState,
    Deployment,
    DeploymentState,
    DriftRow,
    DriftState,
    Hold,
    Step,
)
from fairlead.ports.gitops import Commit

_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]*@")
_WRITTEN: Final = frozenset({Action.WRITE, Action.MERGE})


def application(
    managed: Managed, state: ApplicationState, holds: Iterable[Hold], deployment: str | None
) -> ApplicationReport:
    """`holds` are those of the application that are in force."""
    subject, look = managed.subject, managed.outcome.look if managed.outcome else None
    drift = look.drift if look else ()
    return ApplicationReport(
        name=subject.name,
        environment=subject.application.environment,
        source=subject.source.name,
        target=without_credentials(target_name(subject.application)),
        mode=subject.application.sync.mode,
        commit=(look.head if look else None) or state.seen,
        applied=state.applied,
        generation=subject.generation,
        observed_generation=managed.observed_generation,
        conditions=list(managed.conditions),
        drift=len(drift),
        conflicts=sum(row.state is DriftState.CONFLICT for row in drift),
        suspended=state.suspended_by is not None,
        holds=[hold(each) for each in holds],
        blocked=[
            BlockedReport(commit=each.commit, at=each.at, reason=each.reason)
            for each in (look.blocked if look else ())
        ],
        deployment=deployment,
    )


def is_ready(managed: Managed) -> bool:
    return any(each.type == "Ready" and each.status for each in managed.conditions)


def hold(of: Hold) -> HoldReport:
    return HoldReport(path=of.path, by=of.by, reason=of.reason, until=of.until)


def drift(row: DriftRow) -> DriftReport:
    return DriftReport(
        application=row.application,
        object=row.object,
        key=row.key,
        kind=row.kind,
        severity=row.severity,
        state=row.state,
        base=row.base,
        live=row.live,
        desired=row.desired,
        since=row.since,
        by=row.by,
        message=row.message,
    )


def deployment(row: Deployment, *, whole: bool = True) -> DeploymentReport:
    """Without the difference where not the `whole` is wanted."""
    return DeploymentReport(
        id=row.id,
        application=row.application,
        environment=row.environment,
        commit=row.commit,
        previous=row.previous,
        reason=row.reason,
        actor=row.actor,
        author=row.author,
        state=row.state,
        created=row.created,
        ended=row.ended,
        seconds=None if row.ended is None else max(0.0, row.ended - row.created),
        steps=[_step(each) for each in row.steps],
        difference=row.difference if whole else "",
        approved_by=list(row.approved_by),
        message=row.message,
        revision=row.revision,
    )


def _step(step: Step) -> StepReport:
    return StepReport(
        name=step.name,
        started=step.started,
        ended=step.ended,
        seconds=None if step.ended is None else max(0.0, step.ended - step.started),
        message=step.message,
        error=step.error,
    )


def diff(managed: Managed, detector: DriftDetector) -> ApplicationDiff:
    """What the last look found, without what it has written since."""
    name = managed.subject.name
    look = managed.outcome.look if managed.outcome else None
    if look is None or look.plan is None:
        return ApplicationDiff(
            application=name, commit=look.commit if look else None, differences=[], text=""
        )
    done = look.deployment is not None and look.deployment.state is DeploymentState.SUCCEEDED
    shown = [
        each
        for each in look.plan.decisions.decided
        if each.action is not Action.LEAVE and not (done and each.action in _WRITTEN)
    ]
    return ApplicationDiff(
        application=name,
        commit=look.commit,
        differences=[
            Difference3(
                object=each.difference.object,
                key=key_text(each.difference.key),
                case=each.difference.case,
                action=each.action,
                base=detector.shown(each.difference.base, each.difference.key),
                live=detector.shown(each.difference.live, each.difference.key),
                desired=detector.shown(each.difference.desired, each.difference.key),
                policy=each.policy,
            )
            for each in shown
        ],
        text="" if done else detector.conceal(look.plan.difference),
    )


def source(declared: Declared, spec: Source | None) -> SourceReport:
    """`spec` is None for one that the configuration does not have any more."""
    head, problem = declared.source.head, declared.source.problem
    if problem is None and declared.problem is not None:
        problem = declared.problem.reason.value, declared.problem.message
    reason, message = problem or ("", "")
    return SourceReport(
        name=declared.source.name,
        url=without_credentials(spec.url) if spec else "",
        branch=spec.branch if spec else "",
        head=head.commit.id if head else None,
        subject=head.commit.subject if head else "",
        age=declared.source.age,
        reason=reason,
        message=message,
    )


def commit(of: Commit, managed: Sequence[Managed], applied: Mapping[str, str | None]) -> CommitReport:
    """`managed` are the applications of its source, `applied` has the commit that each has in force."""
    return CommitReport(
        id=of.id,
        author=of.author,
        time=of.time,
        subject=of.subject,
        applied_to=[each.subject.name for each in managed if applied.get(each.subject.name) == of.id],
        blocked_for=[
            each.subject.name
            for each in managed
            if each.outcome and any(blocked.commit == of.id for blocked in each.outcome.look.blocked)
        ],
    )


def configuration(file: GitOpsFile) -> dict[str, Any]:
    """The whole of it as JSON, placeholders as they are written, and nothing that looks like a secret."""
    document: dict[str, Any] = file.model_dump(mode="json", by_alias=True, exclude_none=True)
    for channel in document.get("notifications", []):
        if not any(True for _ in placeholders.names(channel["url"])):  # Apprise's have tokens in them
            channel["url"] = channel["url"].partition("://")[0] + "://***"
    for each in document.get("sources", {}).values():
        each["url"] = without_credentials(each["url"])
    shown: dict[str, Any] = discretion.shown(document)
    return shown


def without_credentials(text: str) -> str:
    """URLs in it have no user and password any more."""
    return _USERINFO.sub("***@", text)
