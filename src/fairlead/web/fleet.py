"""`/api/fleet`: the fleet spec, its tag, replacing it as a transaction, and the live edits on top."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from pydantic import AfterValidator

from fairlead.core.overrides import key_text, parse_key
from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.errors import Fault, Problem, SpecError
from fairlead.model.reports import Change, FleetStatus, Origin, Override, Owner
from fairlead.model.status import Condition
from fairlead.web.examples import (
    CHANGE,
    CHANGE_REFUSED,
    INVALID_CONFIG,
    SINCE,
    as_json,
    shown,
)
from fairlead.web.preconditions import (
    IF_MATCH_MALFORMED,
    IF_MATCH_MISSING,
    changed_meanwhile,
    entity_tag,
    expected_tag,
)
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.services import ConfigService
from fairlead.web.strict import NOT_JSON, QueryFlag, StrictRoute, require_json

SPEC: Final[dict[str, Any]] = {
    "version": "1",
    "servers": {
        "filesystem": {
            "package": "npm:@modelcontextprotocol/server-filesystem@2026.8.31",
            "args": ["${HOME}/notes"],
            "capabilities": ["file-operations"],
            "scaling": {"minInstances": 2},
        }
    },
    "loadBalancing": {"strategy": "least-connections"},
}
_STATUS: Final = FleetStatus(
    owner=Owner.FILE,
    generation=7,
    observed_generation=7,
    conditions=[
        Condition(type="Ready", status=True, reason="Settled", message="1 server is ready", since=SINCE)
    ],
    overrides=[Override(key="servers.filesystem.scaling.minInstances", value=2, was=1, by="ada", at=SINCE)],
    spec=SPEC,
)
_UNKNOWN_OVERRIDE: Final = Problem(
    code="unknown-override",
    title="There is no such live edit",
    detail="No live edit has the key 'servers.filesystem.scaling'. GET /api/fleet lists them.",
    status=404,
    fault=Fault.CLIENT,
)
_INVALID_KEY: Final = validation_problem(
    [FieldError(where="query.keys", what="there is no such parameter", how="remove it; known: key")]
)
_ETAG: Final[dict[str, Any]] = {
    "headers": {
        "ETag": {
            "description": "Names this state of the spec, its owner and the live edits: what If-Match takes",
            "schema": {"type": "string"},
            "example": '"3f9c2a71-7"',
        }
    }
}


def _key(text: str) -> str:
    """The key in the spelling that live edits have."""
    try:
        return key_text(parse_key(text))
    except SpecError as error:
        msg = error.hint
        raise ValueError(msg) from None


OverrideKey = Annotated[str, Query(max_length=4096), AfterValidator(_key)]


class _FleetRoute(StrictRoute):
    max_json = MAX_BYTES


def fleet_router(config: ConfigService) -> APIRouter:
    router = APIRouter(prefix="/api/fleet", tags=["config"], route_class=_FleetRoute)

    @router.get(
        "",
        summary="Show the fleet spec and its state",
        responses={200: shown(fleet=as_json(_STATUS)) | _ETAG},
    )
    async def get_fleet(response: Response) -> FleetStatus:
        """The spec in force in the fleet file's words, whose it is, the live edits, and how far the fleet is.

        Placeholders stay as they are written.
        """
        response.headers["etag"] = entity_tag(config.tag)
        return config.status()

    @router.put(
        "",
        summary="Replace the fleet spec",
        dependencies=[Depends(require_json)],
        responses={
            200: shown(changed=as_json(CHANGE)) | _ETAG,
            **documented(
                CHANGE_REFUSED,
                changed_meanwhile("3f9c2a71-8"),
                NOT_JSON,
                INVALID_CONFIG,
                IF_MATCH_MALFORMED,
                IF_MATCH_MISSING,
            ),
        },
    )
    async def replace_fleet(
        *,
        document: Annotated[
            dict[str, Any],
            Body(
                description="A fleet file as JSON, such as the `spec` of GET /api/fleet. "
                "`fairlead config schema` prints its schema.",
                openapi_examples={"spec": {"value": SPEC}},
            ),
        ],
        request: Request,
        response: Response,
        if_match: Annotated[
            list[str],
            Header(
                description="The ETag of what is replaced, or * for whatever it is. Required.",
                default_factory=list,
            ),
        ],
        dry_run: Annotated[QueryFlag, Query(alias="dryRun", description="Only say what it would do")] = False,
        origin: Annotated[
            Origin,
            Query(
                description="live: kept as live edits. gitops: from now on GitOps owns the spec. "
                "gitops-whole: so, and no live edit stays but those of `keep`."
            ),
        ] = Origin.LIVE,
        keep: Annotated[
            list[OverrideKey],
            Query(
                description="With gitops-whole: the dotted key of a live edit that the spec has, and that "
                "stays one; may be repeated. One that is not there counts for nothing.",
                default_factory=list,
            ),
        ],
    ) -> Change:
        """Put a whole spec in force, touching only what differs, or change nothing at all.

        A new version of a server comes up and is healthy before the old one is drained; calls in flight end
        where they are. If GitOps closes the connection before they are up, nothing has changed.
        """

        async def gone() -> bool:
            return getattr(request.state, "sends_no_more", False) or await request.is_disconnected()

        del document  # it is JSON; what it means is read off the bytes, with the place of whatever is wrong
        change = await config.replace(
            await request.body(),
            expected=expected_tag(if_match, config.tag),
            dry_run=dry_run,
            origin=origin,
            by=request.state.principal,
            keep=keep,
            gone=gone,  # the controller closes its connection only when it waits no more
        )
        if not dry_run:
            response.headers["etag"] = entity_tag(config.tag)
        return change

    _add_ways_back(router, config)
    return router


def _add_ways_back(router: APIRouter, config: ConfigService) -> None:
    """Taking back live edits, and ownership."""

    @router.delete(
        "/overrides",
        summary="Take back live edits",
        responses={
            200: shown(changed=as_json(CHANGE)),
            **documented(_UNKNOWN_OVERRIDE, CHANGE_REFUSED, _INVALID_KEY),
        },
    )
    async def drop_overrides(
        key: Annotated[
            list[OverrideKey],
            Query(
                description="The dotted key of one; may be repeated. Without it, all.", default_factory=list
            ),
        ],
    ) -> Change:
        """Put the accepted spec in force at these keys again."""
        return await config.drop_overrides(key or None)

    @router.post(
        "/release",
        summary="Let the file own the spec again",
        responses={200: shown(changed=as_json(CHANGE)), **documented(CHANGE_REFUSED, INVALID_CONFIG)},
    )
    async def release_fleet() -> Change:
        """Take the spec from GitOps: the fleet file is put in force, and watched as before."""
        return await config.release()
