"""`/api/servers`: the servers of the fleet; starting, stopping, scaling and draining them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Body, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead.core.access import may_use
from fairlead.core.overrides import Edit
from fairlead.model.errors import Problem, ProblemError
from fairlead.model.status import ServerStatus
from fairlead.web.examples import (
    CHANGE_REFUSED,
    FILESYSTEM,
    INVALID_BODY,
    INVALID_ID,
    MAGIC,
    SERVER_BLOCKED,
    UNKNOWN_INSTANCE,
    UNKNOWN_SERVER,
    as_json,
    shown,
)
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.services import ConfigService, Fleet
from fairlead.web.strict import NOT_JSON, Id, StrictBody, StrictRoute, given, require_json

ServerId = Annotated[
    str, Path(description="The server's id in the fleet file", max_length=128, examples=["filesystem"])
]


class ServerList(BaseModel):
    """All servers, in the order of the fleet file."""

    generation: int = Field(description="Counts the fleet specs that were put in force")
    servers: list[ServerStatus]


class ScaleBody(StrictBody):
    """How many instances there may be: `instances`, or one or both of the bounds."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [given("instances"), {"anyOf": [given("minInstances"), given("maxInstances")]}]
        }
    )

    instances: int | None = Field(
        default=None, ge=0, le=1000, description="At least so many; raises the upper bound where it is less"
    )
    min_instances: int | None = Field(default=None, ge=0, le=1000, description="0 lets the server go idle")
    max_instances: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.instances is None) == (self.min_instances is None and self.max_instances is None):
            msg = "Give either instances, or minInstances or maxInstances or both"
            raise ValueError(msg)
        return self


class DrainBody(StrictBody):
    """What is drained: one instance, or the whole server."""

    instance: Id | None = Field(
        default=None, description="An instance of the server; without it, all, and the server is stopped"
    )


def _crossed(given: str, least: int, most: int) -> Problem:
    what = f"minInstances ({least}) would be more than maxInstances ({most})"
    how = "lower one or raise the other; both can be given at once"
    return validation_problem([FieldError(where=f"body.{given}", what=what, how=how)])


def scaling_of(body: ScaleBody, server: ServerStatus) -> dict[str, int]:
    """The keys of the server's `scaling` that change, the smaller bound first.

    Raises ProblemError (422) when the least would be more than the most.
    """
    if (least := body.instances) is not None:
        raised = {"maxInstances": least} if least > server.max_instances else {}
        return {"minInstances": least, **raised}
    least = server.min_instances if body.min_instances is None else body.min_instances
    most = server.max_instances if body.max_instances is None else body.max_instances
    if least > most:
        raise ProblemError(
            _crossed("maxInstances" if body.min_instances is None else "minInstances", least, most)
        )
    bounds = {"minInstances": body.min_instances, "maxInstances": body.max_instances}
    return {key: bound for key, bound in bounds.items() if bound is not None}


_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: shown(ready=as_json(FILESYSTEM), blocked=as_json(MAGIC)),
    **documented(UNKNOWN_SERVER, INVALID_ID),
}


_SCALES: Final[dict[str, Any]] = {
    "instances": {"summary": "At least three instances", "value": {"instances": 3}},
    "bounds": {"summary": "Between one and eight", "value": {"minInstances": 1, "maxInstances": 8}},
    "idle": {"summary": "None while nobody calls", "value": {"minInstances": 0}},
}
_DRAINS: Final[dict[str, Any]] = {
    "instance": {"summary": "Replace an instance", "value": {"instance": "filesystem-1"}},
    "server": {"summary": "Stop a server when its calls have ended", "value": {}},
}


def servers_router(fleet: Fleet, config: ConfigService) -> APIRouter:
    router = APIRouter(prefix="/api/servers", tags=["servers"], route_class=StrictRoute)

    @router.get(
        "",
        summary="List the servers",
        responses={200: shown(fleet={"generation": 1, "servers": [as_json(FILESYSTEM), as_json(MAGIC)]})},
    )
    async def list_servers(request: Request) -> ServerList:
        """State, instances, tools and conditions of every server that the caller was granted."""
        grants = request.state.caller.grants
        shown = [server for server in fleet.servers() if may_use(grants, server.id)]
        return ServerList(generation=fleet.generation, servers=shown)

    @router.get("/{id}", summary="Show one server", responses=_ONE)
    async def get_server(id: ServerId) -> ServerStatus:  # noqa: A002 - the path's own name
        """State, instances, tools and conditions of one server."""
        return fleet.server(id)

    def action(name: str, summary: str, text: str, act: Callable[[str], Awaitable[ServerStatus]]) -> None:
        async def endpoint(id: ServerId) -> ServerStatus:  # noqa: A002 - the path's own name
            return await act(id)

        router.add_api_route(
            f"/{{id}}/{name}",
            endpoint,
            methods=["POST"],
            operation_id=f"{name}_server",
            summary=summary,
            description=text,
            responses={**_ONE, **documented(SERVER_BLOCKED)},
        )

    action(
        "start", "Start a server", "Start what was stopped, or try a failed one again at once.", fleet.start
    )
    action("stop", "Stop a server", "Stop its instances; it stays stopped until it is started.", fleet.stop)
    action("restart", "Restart a server", "Replace its instances by new ones.", fleet.restart)

    @router.post(
        "/{id}/scale",
        summary="Scale a server",
        dependencies=[Depends(require_json)],
        responses={**_ONE, **documented(CHANGE_REFUSED, NOT_JSON, _crossed("minInstances", 5, 4))},
    )
    async def scale_server(
        id: ServerId,  # noqa: A002 - the path's own name
        body: Annotated[ScaleBody, Body(openapi_examples=_SCALES)],
        request: Request,
    ) -> ServerStatus:
        """Change the bounds between which it scales: a live edit, in force when this answers.

        Instances that are to come may still start then, and those that are to go drain.
        """
        scaling = scaling_of(body, fleet.server(id))
        edits = [Edit(("servers", id, "scaling", key), bound) for key, bound in scaling.items()]
        await config.edit(edits, by=request.state.principal)
        return fleet.server(id)

    @router.post(
        "/{id}/drain",
        summary="Drain a server or an instance",
        dependencies=[Depends(require_json)],
        responses={**_ONE, **documented(UNKNOWN_SERVER, UNKNOWN_INSTANCE, NOT_JSON, INVALID_BODY)},
    )
    async def drain_server(
        id: ServerId,  # noqa: A002 - the path's own name
        body: Annotated[DrainBody | None, Body(openapi_examples=_DRAINS)] = None,
    ) -> ServerStatus:
        """Take it out of service: the calls that it has end first.

        A server gets no new ones, and stays stopped until it is started. An instance is replaced by another
        one, and gets no new calls as long as others serve; one that is alone goes on until that one is ready.
        """
        return await fleet.drain(id, body.instance if body else None)

    return router
