"""`/api/servers`: the servers of the fleet, and starting and stopping them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from fairlead.model.status import ServerStatus
from fairlead.web.examples import (
    FILESYSTEM,
    INVALID_ID,
    MAGIC,
    SERVER_BLOCKED,
    UNKNOWN_SERVER,
    as_json,
    shown,
)
from fairlead.web.problems import documented
from fairlead.web.services import Fleet

ServerId = Annotated[
    str, Path(description="The server's id in the fleet file", max_length=128, examples=["filesystem"])
]


class ServerList(BaseModel):
    """All servers, in the order of the fleet file."""

    generation: int = Field(description="Counts the fleet specs that were put in force")
    servers: list[ServerStatus]


_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: shown(ready=as_json(FILESYSTEM), blocked=as_json(MAGIC)),
    **documented(UNKNOWN_SERVER, INVALID_ID),
}


def servers_router(fleet: Fleet) -> APIRouter:
    router = APIRouter(prefix="/api/servers", tags=["servers"])

    @router.get(
        "",
        summary="List the servers",
        responses={200: shown(fleet={"generation": 1, "servers": [as_json(FILESYSTEM), as_json(MAGIC)]})},
    )
    async def list_servers() -> ServerList:
        """State, instances, tools and conditions of every server."""
        return ServerList(generation=fleet.generation, servers=fleet.servers())

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
    return router
