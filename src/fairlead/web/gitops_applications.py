"""`/api/applications`: what is kept as Git says, and how people steer it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import Field

from fairlead.gitops.operations import LONGEST_HOLD, GitOpsOperations
from fairlead.model.gitops import Policy
from fairlead.model.gitops_reports import (
    ApplicationDiff,
    ApplicationList,
    ApplicationReport,
    DeploymentReport,
    HoldReport,
)
from fairlead.web.examples import INVALID_BODY, as_json, shown
from fairlead.web.gitops_deployments import STARTED, started
from fairlead.web.gitops_examples import (
    APPLICATION,
    DIFF,
    GOOD,
    ONLY_OBSERVED,
    UNKNOWN_APPLICATION,
    refusal,
)
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, require_json

Name = Annotated[str, Path(description="The application's name", max_length=128, examples=["fleet"])]
PathText = Annotated[str, Field(min_length=1, max_length=500)]


class HoldBody(StrictBody):
    """What is left alone, for how long, and why."""

    path: PathText = Field(description="A pattern: servers.magic.**, .mcp.json#mcpServers.**, .claude/**")
    seconds: float = Field(gt=0, le=LONGEST_HOLD, allow_inf_nan=False)
    reason: str = Field(min_length=1, max_length=500, description="For whoever finds it")


class ResolveBody(StrictBody):
    """One place of the application's diff, and whose version is taken."""

    object: str = Field(min_length=1, max_length=1024, description="As the diff has it")
    key: str = Field(default="", max_length=4096, description="As the diff has it; empty: the whole object")
    take: Literal["remote", "local", "merge"] = Field(
        description="remote: Git's. local: the live one, which Git is asked to take. merge: both together, "
        "which only texts can be"
    )


_HOLD: Final[dict[str, Any]] = {
    "path": "servers.magic.**",
    "seconds": 3600,
    "reason": "incident 42",
}
_RESOLVE: Final[dict[str, Any]] = {"object": "fleet", "key": "servers.filesystem.args", "take": "local"}
_BAD_NAME: Final = validation_problem(
    [FieldError(where="path.name", what="it is not valid", how="string should have at most 128 characters")]
)
_NOT_PROMOTED: Final = refusal(
    "not-promoted",
    "Not now",
    "fleet takes Git's newest commit: set its `promotedFrom` to the application before it",
    409,
)
_UNKNOWN_HOLD: Final = refusal("unknown-hold", "Not found", "fleet has no hold on 'servers.x'", 404)
_UNKNOWN_BLOCKED: Final = refusal(
    "unknown-commit", "Not found", "fleet has no such blocked commit; there are: none", 404
)
_UNKNOWN_DIFFERENCE: Final = refusal(
    "unknown-difference", "Not found", "fleet: 'fleet' differs at no such place; it does at: none", 404
)
_BAD_KEY: Final = refusal("bad-key", "The request is not valid", "the key has an empty part", 422)
_BAD_PATH: Final = refusal("bad-path", "The request is not valid", "the path has an empty part", 422)


def gitops_applications_router(operations: GitOpsOperations) -> APIRouter:
    router = APIRouter(prefix="/api/applications", tags=["applications"], route_class=StrictRoute)
    listed = ApplicationList(applications=[APPLICATION])

    @router.get("", summary="List applications", responses={200: shown(applications=as_json(listed))})
    async def list_applications() -> ApplicationList:
        """All, by name: what each joins, which commit is in force, and whether it is as Git says."""
        return ApplicationList(applications=await operations.applications())

    @router.get(
        "/{name}",
        summary="Show an application",
        responses={
            200: shown(application=as_json(APPLICATION)),
            **documented(UNKNOWN_APPLICATION, _BAD_NAME),
        },
    )
    async def get_application(name: Name) -> ApplicationReport:
        """What it joins, which commit is in force, and whether it is as Git says."""
        return await operations.application(name)

    @router.get(
        "/{name}/diff",
        summary="What a sync would do",
        responses={200: shown(diff=as_json(DIFF)), **documented(UNKNOWN_APPLICATION, _BAD_NAME)},
    )
    async def get_application_diff(name: Name) -> ApplicationDiff:
        """Each place that differs with its three versions, and what the policy says of it; values are
        shortened, and secrets concealed.

        It is as the last look found it: POST /api/drift/check looks now.
        """
        return operations.diff(name)

    _add_steering(router, operations)
    _add_exceptions(router, operations)
    return router


def _add_steering(router: APIRouter, operations: GitOpsOperations) -> None:
    one: dict[int | str, dict[str, Any]] = {200: shown(application=as_json(APPLICATION))}

    @router.post(
        "/{name}/promote",
        status_code=202,
        summary="Promote an application's commit",
        responses={**STARTED, **documented(UNKNOWN_APPLICATION, _NOT_PROMOTED, ONLY_OBSERVED, _BAD_NAME)},
    )
    async def promote_application(name: Name, request: Request, response: Response) -> DeploymentReport:
        """Deploy here the commit that is in force at the application which its `promotedFrom` names."""
        return started(await operations.promote(name, request.state.principal), response)

    @router.post(
        "/{name}/suspend",
        summary="Suspend an application",
        responses=one | documented(UNKNOWN_APPLICATION, _BAD_NAME),
    )
    async def suspend_application(name: Name, request: Request) -> ApplicationReport:
        """Nothing is written to its target until it is resumed; drift is seen as before."""
        return await operations.suspend(name, request.state.principal)

    @router.post(
        "/{name}/resume",
        summary="Resume an application",
        responses=one | documented(UNKNOWN_APPLICATION, _BAD_NAME),
    )
    async def resume_application(name: Name) -> ApplicationReport:
        """It is kept as Git says again, from now on."""
        return await operations.resume(name)

    @router.post(
        "/{name}/resolve",
        summary="Decide a conflict",
        dependencies=[Depends(require_json)],
        responses=one
        | documented(
            UNKNOWN_APPLICATION, _UNKNOWN_DIFFERENCE, ONLY_OBSERVED, NOT_JSON, INVALID_BODY, _BAD_KEY
        ),
    )
    async def resolve_difference(
        name: Name,
        request: Request,
        body: Annotated[ResolveBody, Body(openapi_examples={"live": {"value": _RESOLVE}})],
    ) -> ApplicationReport:
        """A person says whose version of one place is taken. The other one is kept in the history."""
        return await operations.resolve(
            name, body.object, body.key, Policy(body.take), request.state.principal
        )


def _add_exceptions(router: APIRouter, operations: GitOpsOperations) -> None:
    hold = HoldReport(path="servers.magic.**", by="ada", reason="incident 42", until=1795352400.0)

    @router.put(
        "/{name}/holds",
        summary="Hold a path",
        dependencies=[Depends(require_json)],
        responses={
            200: shown(hold=as_json(hold)),
            **documented(UNKNOWN_APPLICATION, NOT_JSON, INVALID_BODY, _BAD_PATH),
        },
    )
    async def hold_path(
        name: Name,
        request: Request,
        body: Annotated[HoldBody, Body(openapi_examples={"incident": {"value": _HOLD}})],
    ) -> HoldReport:
        """Nothing is written at the path for a while, whatever Git says. In the place of a hold on the same
        path.
        """
        return await operations.hold(name, body.path, body.seconds, body.reason, request.state.principal)

    @router.delete(
        "/{name}/holds",
        status_code=204,
        summary="Release a held path",
        responses=documented(UNKNOWN_APPLICATION, _UNKNOWN_HOLD, _BAD_NAME),
    )
    async def release_path(
        name: Name, path: Annotated[str, Query(min_length=1, max_length=500, description="As it was held")]
    ) -> None:
        """Git decides there again, from now on."""
        await operations.release(name, path)

    @router.delete(
        "/{name}/blocked/{commit}",
        status_code=204,
        summary="Unblock a commit",
        responses=documented(UNKNOWN_APPLICATION, _UNKNOWN_BLOCKED, _BAD_NAME),
    )
    async def unblock_commit(
        name: Name,
        commit: Annotated[
            str, Path(max_length=64, description="Its id, or the beginning of it", examples=[GOOD])
        ],
    ) -> None:
        """A commit that was taken back is taken as any other again, if it is the newest."""
        await operations.unblock(name, commit)
