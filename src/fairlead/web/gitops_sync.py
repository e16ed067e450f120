"""`/api/sync` and `/api/drift`: how far everything is, what is not as Git says, and looking now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import Field

from fairlead.gitops.operations import DriftFilter, GitOpsOperations
from fairlead.model.gitops import DriftKind, Severity
from fairlead.model.gitops_reports import DriftStatus, SyncStatus, SyncTriggered
from fairlead.model.reconciling import DriftState
from fairlead.web.examples import INVALID_BODY, as_json, shown
from fairlead.web.gitops_deployments import Commit
from fairlead.web.gitops_examples import (
    DRIFT_STATUS,
    NEWER,
    OLDER_COMMIT,
    ONLY_OBSERVED,
    SYNC_STATUS,
    TRIGGERED,
    UNKNOWN_APPLICATION,
    UNKNOWN_COMMIT,
    refusal,
)
from fairlead.web.problems import documented
from fairlead.web.strict import NOT_JSON, Id, StrictBody, StrictRoute, require_json

MAX_ROWS = 5000
NO_APPLICATION = refusal(
    "application-missing", "The request is not valid", "a commit is of one application: name it", 422
)


class TriggerBody(StrictBody):
    """What is synchronised."""

    application: Id | None = Field(default=None, description="Without it, all")
    commit: Commit | None = Field(default=None, description="Of the application; without it, Git's newest")
    confirm: bool = Field(default=False, description="Agree to the removals that wait for it")


class CheckBody(StrictBody):
    """What is looked at."""

    application: Id | None = Field(default=None, description="Without it, all")


def gitops_sync_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/sync", tags=["sync"], route_class=StrictRoute)

    @router.get("/status", summary="How far everything is", responses={200: shown(sync=as_json(SYNC_STATUS))})
    async def get_sync_status() -> SyncStatus:
        """All applications, and what still waits to be looked at."""
        return await operations.sync_status()

    @router.post(
        "/trigger",
        status_code=202,
        summary="Synchronise now",
        dependencies=[Depends(require_json)],
        responses={
            202: {"description": "It begins"} | shown(triggered=as_json(TRIGGERED)),
            **documented(
                *(UNKNOWN_APPLICATION, UNKNOWN_COMMIT, ONLY_OBSERVED, OLDER_COMMIT),
                *(NOT_JSON, INVALID_BODY, NO_APPLICATION),
            ),
        },
    )
    async def trigger_sync(
        request: Request,
        body: Annotated[
            TriggerBody | None,
            Body(
                openapi_examples={
                    "all": {"summary": "Everything", "value": {}},
                    "one": {"summary": "One application", "value": {"application": "fleet"}},
                    "prune": {"summary": "With removals", "value": {"application": "fleet", "confirm": True}},
                    "commit": {
                        "summary": "A commit of it",
                        "value": {"application": "fleet", "commit": NEWER},
                    },
                }
            ),
        ] = None,
    ) -> SyncTriggered:
        """Fetch, and bring one application or all to what Git says.

        It goes on by itself; the events tell how. Those that are only observed are looked at.
        """
        wanted = body or TriggerBody()
        return await operations.trigger(
            wanted.application,
            commit=wanted.commit,
            confirm=wanted.confirm,
            actor=request.state.principal,
        )

    return router


def gitops_drift_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/drift", tags=["drift"], route_class=StrictRoute)
    example = as_json(DRIFT_STATUS)

    @router.get(
        "/status",
        summary="What is not as Git says",
        responses={200: shown(drift=example), **documented(UNKNOWN_APPLICATION)},
    )
    async def get_drift_status(
        *,
        application: Annotated[str | None, Query(max_length=128, description="Only of this one")] = None,
        kind: Annotated[DriftKind | None, Query(description="Only of this kind")] = None,
        severity: Annotated[Severity | None, Query(description="As bad as this, or worse")] = None,
        state: Annotated[DriftState | None, Query(description="Only in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="Of rows; the counts are of all")] = 1000,
    ) -> DriftStatus:
        """As it is known now, the worst first: each place with what was applied, what is there, and what Git
        says. Values are shortened, and secrets concealed.
        """
        return await operations.drift_status(DriftFilter(application, kind, severity, state), limit)

    @router.post(
        "/check",
        summary="Look for drift now",
        dependencies=[Depends(require_json)],
        responses={
            200: shown(drift=example),
            **documented(UNKNOWN_APPLICATION, NOT_JSON, INVALID_BODY),
        },
    )
    async def check_drift(
        body: Annotated[
            CheckBody | None,
            Body(
                openapi_examples={
                    "all": {"summary": "Everything", "value": {}},
                    "one": {"summary": "One application", "value": {"application": "fleet"}},
                }
            ),
        ] = None,
    ) -> DriftStatus:
        """Look at an application, or at all, and answer with what was found.

        After 15 s the answer is what is known by then: a look that has something to carry out takes longer.
        """
        return await operations.check(body.application if body else None)

    return router
