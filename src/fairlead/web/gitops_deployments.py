"""`/api/deployments`: the pipeline, its history, and what people decide about it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from pydantic import Field

from fairlead.gitops.operations import GitOpsOperations
from fairlead.model.gitops_reports import DeploymentList, DeploymentReport
from fairlead.model.reconciling import DeploymentState
from fairlead.web.examples import INVALID_BODY, INVALID_ID, as_json, shown
from fairlead.web.gitops_approval import NOBODY, Approvers
from fairlead.web.gitops_examples import (
    DEPLOYMENT,
    DEPLOYMENT_ID,
    GOOD,
    NEWER,
    OLDER_COMMIT,
    ONLY_OBSERVED,
    PENDING,
    UNKNOWN_APPLICATION,
    UNKNOWN_COMMIT,
    UNKNOWN_DEPLOYMENT,
    refusal,
)
from fairlead.web.preconditions import TAG_MALFORMED, entity_tag, overtaken, require_match
from fairlead.web.problems import documented
from fairlead.web.strict import NOT_JSON, Id, StrictBody, StrictRoute, require_json

Commit = Annotated[
    str,
    Field(
        min_length=2,
        max_length=64,
        pattern="^[0-9a-fA-F]+$",
        description="A commit's id, or the beginning of it",
        examples=[NEWER],
    ),
]
DeploymentId = Annotated[
    str, Path(description="The deployment's id", max_length=128, examples=[DEPLOYMENT_ID])
]
IfMatch = Annotated[
    list[str],
    Header(
        description="The ETag of the deployment as it was looked at, or *: what was changed since then is "
        "not decided about",
        default_factory=list,
    ),
]


class DeployBody(StrictBody):
    """What goes where."""

    application: Id
    commit: Commit


class RollbackBody(StrictBody):
    """Where to go back to."""

    to: Id | None = Field(
        default=None,
        description="An earlier deployment that succeeded, or its commit; without it, what was there before",
    )


_LOCATION: Final[dict[str, Any]] = {
    "headers": {
        "Location": {
            "description": "The deployment, to look at how it goes",
            "schema": {"type": "string"},
            "example": f"/api/deployments/{DEPLOYMENT_ID}",
        }
    }
}
_ETAG: Final[dict[str, Any]] = {
    "headers": {
        "ETag": {
            "description": "Names this state of the deployment: what If-Match takes",
            "schema": {"type": "string"},
            "example": '"3"',
        }
    }
}
STARTED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"description": "It begins"} | shown(deployment=as_json(PENDING)) | _LOCATION
}
"""An answer with a deployment that goes on by itself."""

_NOT_OVER: Final = refusal(
    "deployment-not-over",
    "Not now",
    f"deployment {DEPLOYMENT_ID} is running: cancel it, which takes back what it has written",
    409,
)
_NOT_WAITING: Final = refusal(
    "not-waiting", "Not now", f"deployment {DEPLOYMENT_ID} is running: it waits for nobody", 409
)
_OVER: Final = refusal("deployment-over", "Not now", f"deployment {DEPLOYMENT_ID} is over: succeeded", 409)


def started(deployment: DeploymentReport, response: Response) -> DeploymentReport:
    """The answer to what has begun."""
    response.headers["location"] = f"/api/deployments/{deployment.id}"
    return deployment


def gitops_deployments_router(operations: GitOpsOperations, approvers: Approvers) -> APIRouter:
    router = APIRouter(prefix="/api/deployments", tags=["deployments"], route_class=StrictRoute)
    listed = DeploymentList(deployments=[DEPLOYMENT.model_copy(update={"difference": ""})])

    @router.get("", summary="List deployments", responses={200: shown(deployments=as_json(listed))})
    async def list_deployments(
        *,
        application: Annotated[str | None, Query(max_length=128, description="Only of this one")] = None,
        state: Annotated[
            list[DeploymentState] | None, Query(description="Only in these states", max_length=16)
        ] = None,
        before: Annotated[
            float | None,
            Query(ge=0, le=1e11, allow_inf_nan=False, description="Only those made before: Unix time, s"),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> DeploymentList:
        """The newest first, without their differences.

        For older ones go on with the last one's `created` as `before`.
        """
        found = await operations.deployments(
            application=application, states=state or (), limit=limit, before=before
        )
        return DeploymentList(deployments=found)

    @router.post(
        "",
        status_code=202,
        summary="Deploy a commit",
        dependencies=[Depends(require_json)],
        responses={
            **STARTED,
            **documented(
                UNKNOWN_APPLICATION, UNKNOWN_COMMIT, ONLY_OBSERVED, OLDER_COMMIT, NOT_JSON, INVALID_BODY
            ),
        },
    )
    async def create_deployment(
        body: Annotated[
            DeployBody,
            Body(openapi_examples={"deploy": {"value": {"application": "fleet", "commit": NEWER}}}),
        ],
        request: Request,
        response: Response,
    ) -> DeploymentReport:
        """Bring an application to a commit of its branch, also to one that was taken back before.

        It goes on by itself, through approval and window where there are such. Asked for once more while it
        is on its way, the answer is the same deployment.
        """
        found = await operations.deploy(body.application, body.commit, request.state.principal)
        return started(found, response)

    _add_one(router, operations)
    _add_decisions(router, operations, approvers)
    return router


def _add_one(router: APIRouter, operations: GitOpsOperations) -> None:
    @router.get(
        "/{id}",
        summary="Show a deployment",
        responses={
            200: shown(deployment=as_json(DEPLOYMENT)) | _ETAG,
            **documented(UNKNOWN_DEPLOYMENT, INVALID_ID),
        },
    )
    async def get_deployment(id: DeploymentId, response: Response) -> DeploymentReport:  # noqa: A002 - the path's own name
        """Its steps with their times, what it changes as a difference, who approved it, and how it ended."""
        found = await operations.deployment(id)
        response.headers["etag"] = entity_tag(str(found.revision))
        return found

    @router.post(
        "/{id}/rollback",
        status_code=202,
        summary="Go back to before a deployment",
        dependencies=[Depends(require_json)],
        responses={
            **STARTED,
            **documented(UNKNOWN_DEPLOYMENT, _NOT_OVER, ONLY_OBSERVED, NOT_JSON, INVALID_BODY),
        },
    )
    async def rollback_deployment(
        id: DeploymentId,  # noqa: A002 - the path's own name
        request: Request,
        response: Response,
        body: Annotated[
            RollbackBody | None,
            Body(
                openapi_examples={
                    "before": {"summary": "To what was there before", "value": {}},
                    "earlier": {"summary": "To an earlier commit", "value": {"to": GOOD}},
                }
            ),
        ] = None,
    ) -> DeploymentReport:
        """The commit before it is deployed again, or an earlier one that succeeded.

        It needs no approval and no window. What Git has beyond that commit is blocked, and Git is asked to
        revert it; the next commit is taken as usual.
        """
        to = body.to if body else None
        return started(await operations.rollback(id, request.state.principal, to), response)


def _add_decisions(router: APIRouter, operations: GitOpsOperations, approvers: Approvers) -> None:
    @router.post(
        "/{id}/approve",
        summary="Approve a deployment",
        responses={
            200: shown(deployment=as_json(DEPLOYMENT)),
            **documented(UNKNOWN_DEPLOYMENT, NOBODY, _NOT_WAITING, overtaken("4"), TAG_MALFORMED),
        },
    )
    async def approve_deployment(
        id: DeploymentId,  # noqa: A002 - the path's own name
        request: Request,
        if_match: IfMatch,
    ) -> DeploymentReport:
        """One person agrees; with enough of them it goes on.

        Nobody approves a commit of their own, nor twice. The service's own tokens, `local` and `env`, are
        no person, and count only where no principal could approve instead.
        """
        actor = await approvers.name_of(request.state.caller)
        return await operations.approve(id, actor, lambda now: require_match(if_match, str(now)))

    @router.post(
        "/{id}/cancel",
        summary="Cancel a deployment",
        responses={
            200: shown(deployment=as_json(DEPLOYMENT)),
            **documented(UNKNOWN_DEPLOYMENT, _OVER, overtaken("4"), TAG_MALFORMED),
        },
    )
    async def cancel_deployment(
        id: DeploymentId,  # noqa: A002 - the path's own name
        request: Request,
        if_match: IfMatch,
    ) -> DeploymentReport:
        """End one that is not over. What it wrote is taken back; its commit is not taken again by itself."""
        actor = request.state.principal
        return await operations.cancel(id, actor, lambda now: require_match(if_match, str(now)))
