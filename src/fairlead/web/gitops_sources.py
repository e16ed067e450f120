"""`/api/git`, `/api/config` and `/api/gitops`: repositories, the configuration, and who is in charge."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import Field

from fairlead.gitops.operations import GitOpsOperations
from fairlead.model.errors import Fault, Problem
from fairlead.model.gitops_reports import CommitList, GitStatus, OwnershipReport, Validation
from fairlead.web.examples import INVALID_BODY, as_json, shown
from fairlead.web.gitops_examples import COMMITS, CONFIGURATION, DOCUMENTS, GIT_STATUS, VALID, refusal
from fairlead.web.problems import documented
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, require_json

MAX_DOCUMENTS: Final = 500
MAX_JSON: Final = 4 * 2**20  # bytes
_UNKNOWN_SOURCE: Final = refusal(
    "unknown-source", "Not found", "there is no source 'confg'; known: config", 404
)
_NO_CHECKOUT: Final = refusal("no-checkout", "Not now", "this folder is in no Git checkout", 409)
_FLEET_AWAY: Final = Problem(
    "fleet-away",
    "The fleet is still Git's",
    "the orchestrator of this machine does not run: `fairlead up` starts it. The fleet is given back to its "
    "file as soon as that can be",
    503,
    Fault.UPSTREAM,
    5.0,
)


class ValidateBody(StrictBody):
    """Documents of a configuration repository, as text."""

    documents: dict[
        Annotated[str, Field(min_length=1, max_length=500)], Annotated[str, Field(max_length=2**20)]
    ] = Field(
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description="By file: applications/NAME.yml, config/gitops.yml, or a fleet file",
    )


class _ValidateRoute(StrictRoute):
    max_json = MAX_JSON


def gitops_git_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/git", tags=["git"], route_class=StrictRoute)

    @router.get("/status", summary="The repositories", responses={200: shown(git=as_json(GIT_STATUS))})
    async def get_git_status() -> GitStatus:
        """Of each its last verified commit, how long ago it was seen to be the newest, and what is wrong."""
        return operations.git_status()

    @router.get(
        "/commits",
        summary="Commits of a repository",
        responses={200: shown(commits=as_json(COMMITS)), **documented(_UNKNOWN_SOURCE)},
    )
    async def list_commits(
        *,
        source: Annotated[
            str | None, Query(max_length=128, description="Without it, the first by name")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> CommitList:
        """The newest first, each with the applications that have it in force or do not take it."""
        return await operations.commits(source, limit)

    return router


def gitops_config_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/config", tags=["config"], route_class=_ValidateRoute)

    @router.get("", summary="Show the configuration", responses={200: shown(config=CONFIGURATION)})
    async def get_config() -> dict[str, Any]:
        """`config/gitops.yml` as it is in force. Placeholders stay as written, secrets are concealed."""
        return operations.configuration()

    @router.post(
        "/validate",
        summary="Check documents",
        dependencies=[Depends(require_json)],
        responses={200: shown(valid=as_json(VALID)), **documented(NOT_JSON, INVALID_BODY)},
    )
    async def validate_config(
        body: Annotated[
            ValidateBody, Body(openapi_examples={"application": {"value": {"documents": DOCUMENTS}}})
        ],
    ) -> Validation:
        """All that is wrong in them, each with its place and how to mend it. Nothing is kept."""
        return await operations.validate(body.documents)

    return router


def gitops_ownership_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/gitops", tags=["gitops"], route_class=StrictRoute)
    observed = as_json(OwnershipReport(enabled=False))
    in_charge = as_json(OwnershipReport(enabled=True))

    @router.get("", summary="Who is in charge", responses={200: shown(ownership=observed)})
    async def get_ownership() -> OwnershipReport:
        """Whether Git is in charge of what the checkout declares, or it is only observed."""
        return operations.ownership()

    @router.post(
        "/enable",
        summary="Put Git in charge",
        responses={200: shown(ownership=in_charge), **documented(_NO_CHECKOUT)},
    )
    async def enable_gitops(request: Request) -> OwnershipReport:
        """Take the fleet spec from the file: from now on what is committed is in force."""
        return await operations.enable(request.state.principal)

    @router.post(
        "/disable",
        summary="Only observe",
        responses={200: shown(ownership=observed), **documented(_FLEET_AWAY)},
    )
    async def disable_gitops(request: Request) -> OwnershipReport:
        """Give the fleet spec back to the file; drift is seen as before."""
        return await operations.disable(request.state.principal)

    return router
