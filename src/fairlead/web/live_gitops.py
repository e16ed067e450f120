"""What can be asked of the GitOps controller over its live connection: as by REST, if the role allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import Field

from fairlead.gitops.operations import LONGEST_HOLD, DriftFilter, GitOpsOperations
from fairlead.model.access import Caller
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import DriftKind, Policy, Severity
from fairlead.model.gitops_reports import (
    ApplicationDiff,
    ApplicationList,
    ApplicationReport,
    DeploymentList,
    DeploymentReport,
    DriftStatus,
    GitStatus,
    HoldReport,
    SyncStatus,
    SyncTriggered,
)
from fairlead.model.reconciling import DriftState
from fairlead.web.gitops_applications import PathText
from fairlead.web.gitops_approval import Approvers
from fairlead.web.gitops_deployments import Commit
from fairlead.web.live_messages import CommandMessage, GetMessage
from fairlead.web.live_table import Action, Run, Table
from fairlead.web.preconditions import overtaken
from fairlead.web.strict import Id


class Sync(CommandMessage):
    """Bring an application, or all, to what Git says; `confirm` agrees to removals."""

    name: Literal["sync"]
    application: Id | None = None
    commit: Commit | None = None
    confirm: bool = False


class Check(CommandMessage):
    """Look at an application, or at all, now."""

    name: Literal["check"]
    application: Id | None = None


class Deploy(CommandMessage):
    """Deploy a commit."""

    name: Literal["deploy"]
    application: Id
    commit: Commit


class Rollback(CommandMessage):
    """Go back to before a deployment, or `to` an earlier one."""

    name: Literal["rollback"]
    deployment: Id
    to: Id | None = None


Revision = Annotated[
    int | None,
    Field(
        ge=0, description="Of the deployment as it was looked at: one that changed since is not decided about"
    ),
]


class Approve(CommandMessage):
    """Agree to a deployment that waits for it."""

    name: Literal["approve"]
    deployment: Id
    revision: Revision = None


class Cancel(CommandMessage):
    """End a deployment that is not over."""

    name: Literal["cancel"]
    deployment: Id
    revision: Revision = None


class Promote(CommandMessage):
    """Deploy the commit of the application before this one."""

    name: Literal["promote"]
    application: Id


class Suspend(CommandMessage):
    """Write nothing to an application's target until it is resumed."""

    name: Literal["suspend"]
    application: Id


class Resume(CommandMessage):
    """Keep an application as Git says again."""

    name: Literal["resume"]
    application: Id


class HoldPath(CommandMessage):
    """Write nothing at a path for a while."""

    name: Literal["hold"]
    application: Id
    path: PathText
    seconds: float = Field(gt=0, le=LONGEST_HOLD, allow_inf_nan=False)
    reason: str = Field(min_length=1, max_length=500)


class Release(CommandMessage):
    """End a hold."""

    name: Literal["release"]
    application: Id
    path: PathText


class Unblock(CommandMessage):
    """Take a commit that was taken back as any other again."""

    name: Literal["unblock"]
    application: Id
    commit: Commit


class Resolve(CommandMessage):
    """Decide whose version of one place is taken."""

    name: Literal["resolve"]
    application: Id
    object: str = Field(min_length=1, max_length=1024)
    key: str = Field(default="", max_length=4096)
    take: Literal["remote", "local", "merge"]


class GetApplications(GetMessage):
    """All applications, as `GET /api/applications`."""

    what: Literal["applications"]


class GetApplication(GetMessage):
    """One application, as `GET /api/applications/{name}`."""

    what: Literal["application"]
    application: Id


class GetDiff(GetMessage):
    """What a sync would do, as `GET /api/applications/{name}/diff`."""

    what: Literal["diff"]
    application: Id


class GetDrift(GetMessage):
    """What is not as Git says, as `GET /api/drift/status`."""

    what: Literal["drift"]
    application: Id | None = None
    kind: Annotated[DriftKind | None, Field(strict=False)] = None
    severity: Annotated[Severity | None, Field(strict=False)] = None
    state: Annotated[DriftState | None, Field(strict=False)] = None


class GetSync(GetMessage):
    """How far everything is, as `GET /api/sync/status`."""

    what: Literal["sync"]


class GetDeployments(GetMessage):
    """The newest deployments, as `GET /api/deployments`."""

    what: Literal["deployments"]
    application: Id | None = None


class GetDeployment(GetMessage):
    """One deployment, as `GET /api/deployments/{id}`."""

    what: Literal["deployment"]
    deployment: Id


class GetGit(GetMessage):
    """The repositories, as `GET /api/git/status`."""

    what: Literal["git"]


_APPLICATION: Final = "/api/applications/{name}"
_DEPLOYMENT: Final = "/api/deployments/{id}"

SYNC: Final = Action(Sync, ("POST", "/api/sync/trigger"), SyncTriggered)
CHECK: Final = Action(Check, ("POST", "/api/drift/check"), DriftStatus)
DEPLOY: Final = Action(Deploy, ("POST", "/api/deployments"), DeploymentReport)
ROLLBACK: Final = Action(Rollback, ("POST", f"{_DEPLOYMENT}/rollback"), DeploymentReport)
APPROVE: Final = Action(Approve, ("POST", f"{_DEPLOYMENT}/approve"), DeploymentReport)
CANCEL: Final = Action(Cancel, ("POST", f"{_DEPLOYMENT}/cancel"), DeploymentReport)
PROMOTE: Final = Action(Promote, ("POST", f"{_APPLICATION}/promote"), DeploymentReport)
SUSPEND: Final = Action(Suspend, ("POST", f"{_APPLICATION}/suspend"), ApplicationReport)
RESUME: Final = Action(Resume, ("POST", f"{_APPLICATION}/resume"), ApplicationReport)
HOLD: Final = Action(HoldPath, ("PUT", f"{_APPLICATION}/holds"), HoldReport)
RELEASE: Final = Action(Release, ("DELETE", f"{_APPLICATION}/holds"), None)
UNBLOCK: Final = Action(Unblock, ("DELETE", f"{_APPLICATION}/blocked/{{commit}}"), None)
RESOLVE: Final = Action(Resolve, ("POST", f"{_APPLICATION}/resolve"), ApplicationReport)
GET_APPLICATIONS: Final = Action(GetApplications, ("GET", "/api/applications"), ApplicationList)
GET_APPLICATION: Final = Action(GetApplication, ("GET", _APPLICATION), ApplicationReport)
GET_DIFF: Final = Action(GetDiff, ("GET", f"{_APPLICATION}/diff"), ApplicationDiff)
GET_DRIFT: Final = Action(GetDrift, ("GET", "/api/drift/status"), DriftStatus)
GET_SYNC: Final = Action(GetSync, ("GET", "/api/sync/status"), SyncStatus)
GET_DEPLOYMENTS: Final = Action(GetDeployments, ("GET", "/api/deployments"), DeploymentList)
GET_DEPLOYMENT: Final = Action(GetDeployment, ("GET", _DEPLOYMENT), DeploymentReport)
GET_GIT: Final = Action(GetGit, ("GET", "/api/git/status"), GitStatus)

SERVICE: Final = "gitops"
ACTIONS: Final = (
    *(SYNC, CHECK, DEPLOY, ROLLBACK, APPROVE, CANCEL, PROMOTE),
    *(SUSPEND, RESUME, HOLD, RELEASE, UNBLOCK, RESOLVE),
    *(GET_APPLICATIONS, GET_APPLICATION, GET_DIFF, GET_DRIFT, GET_SYNC),
    *(GET_DEPLOYMENTS, GET_DEPLOYMENT, GET_GIT),
)


def gitops_table(operations: GitOpsOperations, approvers: Approvers) -> Table:
    """The commands and snapshots of the GitOps controller."""
    runs = _commands(operations, approvers) | _snapshots(operations)
    return Table(SERVICE, {action: runs[action] for action in ACTIONS})


def _commands(operations: GitOpsOperations, approvers: Approvers) -> dict[Action, Run]:
    async def sync(message: Sync, caller: Caller) -> SyncTriggered:
        return await operations.trigger(
            message.application, commit=message.commit, confirm=message.confirm, actor=caller.name
        )

    async def check(message: Check, _: Caller) -> DriftStatus:
        return await operations.check(message.application)

    async def deploy(message: Deploy, caller: Caller) -> DeploymentReport:
        return await operations.deploy(message.application, message.commit, caller.name)

    async def rollback(message: Rollback, caller: Caller) -> DeploymentReport:
        return await operations.rollback(message.deployment, caller.name, message.to)

    async def approve(message: Approve, caller: Caller) -> DeploymentReport:
        actor = await approvers.name_of(caller)
        return await operations.approve(message.deployment, actor, _at(message.revision))

    async def cancel(message: Cancel, caller: Caller) -> DeploymentReport:
        return await operations.cancel(message.deployment, caller.name, _at(message.revision))

    async def promote(message: Promote, caller: Caller) -> DeploymentReport:
        return await operations.promote(message.application, caller.name)

    async def suspend(message: Suspend, caller: Caller) -> ApplicationReport:
        return await operations.suspend(message.application, caller.name)

    async def resume(message: Resume, _: Caller) -> ApplicationReport:
        return await operations.resume(message.application)

    async def hold(message: HoldPath, caller: Caller) -> HoldReport:
        return await operations.hold(
            message.application, message.path, message.seconds, message.reason, caller.name
        )

    async def release(message: Release, _: Caller) -> None:
        await operations.release(message.application, message.path)

    async def unblock(message: Unblock, _: Caller) -> None:
        await operations.unblock(message.application, message.commit)

    async def resolve(message: Resolve, caller: Caller) -> ApplicationReport:
        return await operations.resolve(
            message.application, message.object, message.key, Policy(message.take), caller.name
        )

    return {
        SYNC: sync,
        CHECK: check,
        DEPLOY: deploy,
        ROLLBACK: rollback,
        APPROVE: approve,
        CANCEL: cancel,
        PROMOTE: promote,
        SUSPEND: suspend,
        RESUME: resume,
        HOLD: hold,
        RELEASE: release,
        UNBLOCK: unblock,
        RESOLVE: resolve,
    }


def _at(revision: int | None) -> Callable[[int], None]:
    def check(now: int) -> None:
        if revision not in (None, now):
            raise ProblemError(overtaken(str(now)))

    return check


def _snapshots(operations: GitOpsOperations) -> dict[Action, Run]:
    async def applications(_: GetApplications, __: Caller) -> ApplicationList:
        return ApplicationList(applications=await operations.applications())

    async def application(message: GetApplication, _: Caller) -> ApplicationReport:
        return await operations.application(message.application)

    async def diff(message: GetDiff, _: Caller) -> ApplicationDiff:
        return operations.diff(message.application)

    async def drift(message: GetDrift, _: Caller) -> DriftStatus:
        return await operations.drift_status(
            DriftFilter(message.application, message.kind, message.severity, message.state)
        )

    async def sync(_: GetSync, __: Caller) -> SyncStatus:
        return await operations.sync_status()

    async def deployments(message: GetDeployments, _: Caller) -> DeploymentList:
        return DeploymentList(deployments=await operations.deployments(application=message.application))

    async def deployment(message: GetDeployment, _: Caller) -> DeploymentReport:
        return await operations.deployment(message.deployment)

    async def git(_: GetGit, __: Caller) -> GitStatus:
        return operations.git_status()

    return {
        GET_APPLICATIONS: applications,
        GET_APPLICATION: application,
        GET_DIFF: diff,
        GET_DRIFT: drift,
        GET_SYNC: sync,
        GET_DEPLOYMENTS: deployments,
        GET_DEPLOYMENT: deployment,
        GET_GIT: git,
    }
