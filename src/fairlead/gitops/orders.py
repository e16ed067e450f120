"""What people order: deployments of commits, the way back, and promotion.

The row of a deployment is kept before the controller is told, so that a restart goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fairlead.core import rollout
from fairlead.gitops.controller import GitOpsController, Managed
from fairlead.gitops.deployment_record import new_id
from fairlead.gitops.deployments import Stores
from fairlead.gitops.passes import Order
from fairlead.gitops.reconcile import UNFINISHED
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Mode
from fairlead.model.reconciling import (
    ApplicationState,
    Deployment,
    DeploymentReason,
    DeploymentState,
    StepName,
)
from fairlead.ports.gitops import Commit

LOG_LIMIT: Final = 2000  # commits of a branch among which one can be chosen


class Orders:
    """Every method raises ProblemError for what cannot be, and StoreAwayError."""

    def __init__(self, controller: GitOpsController, stores: Stores, now: Callable[[], float]) -> None:
        self._controller = controller
        self._stores = stores
        self._now = now
        self._making = asyncio.Lock()  # one for each commit, however often it is asked for

    def __repr__(self) -> str:
        return f"Orders({self._controller})"

    def enforced(self, name: str) -> Managed:
        """An application that is not only observed."""
        managed = self._controller.managed(name)
        if not is_enforced(managed):
            detail = f"{name} is only observed: `fairlead gitops enable` puts Git in charge"
            raise refused("only-observed", detail, 409)
        return managed

    async def deploy(self, name: str, commit: str, actor: str) -> Deployment:
        """Bring an application to a commit of its branch, also to one that was taken back.

        It begins at once and goes on by itself. One that is on its way to the same commit is the answer.
        """
        managed = self.enforced(name)
        chosen = await self.deployable(managed, commit)
        await self._stores.deployments.unblock(name, chosen.id)
        return await self._start(managed, chosen, DeploymentReason.MANUAL, actor)

    async def rollback(self, deployment_id: str, actor: str, to: str | None = None) -> Deployment:
        """Go back to the commit before a deployment, or to that of an earlier one that succeeded.

        `to` is such a deployment, or its commit. What Git has beyond it is not taken again by itself.
        """
        row = await self.row(deployment_id)
        managed = self.enforced(row.application)
        target = row.previous if to is None else await self._earlier(row.application, to)
        if row.state not in rollout.ENDED:
            detail = f"deployment {row.id} is {row.state}: cancel it, which takes back what it has written"
            raise refused("deployment-not-over", detail, 409)
        if target is None:
            raise refused("nothing-before", f"nothing was deployed to {row.application} before {row.id}", 409)
        state = (await self._stores.applications.states()).get(row.application)
        if state is not None and state.applied == target:
            detail = (
                f"{target[:12]} is in force at {row.application}: give another deployment or commit as `to`"
            )
            raise refused("already-in-force", detail, 409)
        commit = (await managed.subject.source.snapshot(target)).commit
        await self._stores.deployments.unblock(row.application, commit.id)
        return await self._start(managed, commit, DeploymentReason.ROLLBACK, actor)

    async def promote(self, name: str, actor: str) -> Deployment:
        """Deploy the commit that is in force at the application that this one is promoted from."""
        managed = self.enforced(name)
        origin = managed.subject.application.promoted_from
        if origin is None:
            detail = f"{name} takes Git's newest commit: set its `promotedFrom` to the application before it"
            raise refused("not-promoted", detail, 409)
        before = self._controller.managed(origin)
        if refusal := rollout.promotes(before.subject.application, managed.subject.application):
            raise refused("not-promoted", refusal, 409)
        if before.subject.source is not managed.subject.source:
            raise refused("not-promoted", f"{origin} and {name} come from different repositories", 409)
        states = await self._stores.applications.states()
        applied = states.get(origin, ApplicationState(origin)).applied
        if applied is None:
            raise refused("nothing-to-promote", f"nothing has been deployed to {origin} yet", 409)
        if states.get(name, ApplicationState(name)).applied == applied:
            raise refused("already-in-force", f"{applied[:12]} is in force at {name} already", 409)
        commit = await self._commit(managed, applied)
        await self._stores.deployments.unblock(name, commit.id)
        return await self._start(managed, commit, DeploymentReason.PROMOTION, actor)

    async def row(self, deployment_id: str) -> Deployment:
        row = await self._stores.deployments.get(deployment_id)
        if row is None:
            detail = f"there is no deployment {deployment_id[:80]!r}: `fairlead gitops history` shows them"
            raise refused("unknown-deployment", detail, 404)
        return row

    async def _earlier(self, application: str, to: str) -> str:
        """The commit of a deployment that succeeded, by its id, or by the commit's."""
        rows = await self._stores.deployments.search(
            application=application, states=[DeploymentState.SUCCEEDED], limit=LOG_LIMIT
        )
        found = {row.commit for row in rows if row.id == to or row.commit.startswith(to.lower())}
        if len(found) != 1:
            what = "no deployment that succeeded" if not found else "several commits that were deployed"
            raise refused("unknown-target", f"{to[:80]!r} names {what} at {application}", 404)
        return found.pop()

    async def _commit(self, managed: Managed, commit: str) -> Commit:
        """By its id, or the beginning of that. Only those of the branch: others were never checked."""
        source = managed.subject.source
        log = await source.log(LOG_LIMIT)
        found = [each for each in log if each.id.startswith(commit.lower())]
        exact = [each for each in found if each.id == commit.lower()] or found
        if len(exact) != 1:
            what = "is no commit" if not exact else "is the beginning of several commits"
            detail = f"{commit[:80]!r} {what} of the branch of {source.name}; `git log` shows them"
            raise refused("unknown-commit", detail, 404)
        return exact[0]

    async def deployable(self, managed: Managed, commit: str) -> Commit:
        """Not one that is older than what is in force: the next look would undo it."""
        found, name = await self._commit(managed, commit), managed.subject.name
        if managed.subject.application.promoted_from is not None:
            return found
        state = (await self._stores.applications.states()).get(name)
        log = [each.id for each in await managed.subject.source.log(LOG_LIMIT)]
        if state is not None and state.applied in log and log.index(found.id) > log.index(state.applied):
            detail = (
                f"{found.id[:12]} is older than {state.applied[:12]}, which is in force at {name}, and takes "
                "Git's newest by itself: roll back to it, which keeps what is newer from coming again"
            )
            raise refused("older-commit", detail, 409)
        return found

    async def _start(
        self, managed: Managed, commit: Commit, reason: DeploymentReason, actor: str
    ) -> Deployment:
        """The row first, so that a restart goes on with it."""
        name, store = managed.subject.name, self._stores.deployments
        async with self._making:
            for row in await store.search(application=name, states=UNFINISHED):
                if row.commit == commit.id and not _is_taken_back(row):
                    self._controller.look(name)
                    return row
            state = (await self._stores.applications.states()).get(name)
            now = self._now()
            row = Deployment(
                id=new_id(now),
                application=name,
                environment=managed.subject.application.environment,
                commit=commit.id,
                previous=None if state is None else state.applied,
                reason=reason,
                actor=actor,
                state=DeploymentState.PENDING,
                created=now,
                author=commit.author,
            )
            await store.add(row)
        self._controller.order(name, Order(actor, reason, commit.id, deployment=row.id))
        return row


def _is_taken_back(row: Deployment) -> bool:
    return bool(row.steps) and row.steps[-1].name is StepName.ROLL_BACK


def is_enforced(managed: Managed) -> bool:
    return managed.subject.application.sync.mode is Mode.ENFORCE


def refused(code: str, detail: str, status: int) -> ProblemError:
    title = {404: "Not found", 409: "Not now", 422: "The request is not valid"}[status]
    return ProblemError(Problem(code, title, detail, status, Fault.CLIENT))
