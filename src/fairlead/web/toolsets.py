"""`/api/toolsets`: the named views that show a choice of the servers' tools."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from fairlead.model.reports import ToolsetStatus
from fairlead.web.examples import as_json, shown
from fairlead.web.services import Fleet
from fairlead.web.strict import StrictRoute


class ToolsetList(BaseModel):
    """All toolsets, in the order of the fleet spec."""

    toolsets: list[ToolsetStatus]


_DOCS: Final = ToolsetStatus(
    name="docs",
    description="For writing documentation",
    mode="list",
    path="/toolsets/docs/mcp",
    servers=["context7", "filesystem"],
    tools=6,
    prompts=0,
    resources=0,
    templates=0,
    problems=["filesystem: rename: there is no tool 'read_fiel'"],
)


def toolsets_router(fleet: Fleet) -> APIRouter:
    router = APIRouter(prefix="/api/toolsets", tags=["servers"], route_class=StrictRoute)

    @router.get(
        "",
        summary="List the toolsets",
        responses={200: shown(toolsets=as_json(ToolsetList(toolsets=[_DOCS])))},
    )
    async def list_toolsets(request: Request) -> ToolsetList:
        """How much each of them shows the caller now, and what of its spec has no effect."""
        return ToolsetList(toolsets=fleet.toolsets(request.state.caller.grants))

    return router
