"""The orchestrator's web app: REST, metrics and pages, behind the door that `core.admission` keeps."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from fairlead.web.api import create_api, include_common
from fairlead.web.balancing import balancing_router
from fairlead.web.breakers import breakers_router
from fairlead.web.config import config_router
from fairlead.web.credentials import credentials_router
from fairlead.web.fleet import fleet_router
from fairlead.web.health import health_router, overall, servers_health_router
from fairlead.web.metadata import metadata_router
from fairlead.web.metrics import summaries_router
from fairlead.web.request import request_router
from fairlead.web.servers import servers_router
from fairlead.web.services import Services
from fairlead.web.system import system_router
from fairlead.web.toolsets import toolsets_router
from fairlead.web.trends import trends_router

_TAGS: Final = {
    "servers": "The MCP servers of the fleet.",
    "balancing": "How calls are spread, and who gets none for a while.",
    "health": "Whether the service and its servers answer.",
    "requests": "Single MCP requests, for programs that do not speak MCP themselves.",
    "config": "The fleet spec in force, and changing it.",
}
_MCP: Final = ("/mcp", "/servers/{server}/mcp", "/toolsets/{toolset}/mcp")


def create_app(services: Services) -> FastAPI:
    """The ASGI app. It starts and stops nothing: its services run before it is served."""
    app = create_api(
        services,
        summary="One dependable fleet of MCP servers behind one endpoint.",
        description=(
            "MCP itself is at `/mcp` (all servers), `/servers/{id}/mcp` (one) and `/toolsets/{name}/mcp` "
            "(a choice of tools)."
        ),
        tags=_TAGS,
    )
    app.include_router(servers_router(services.fleet, services.config))
    app.include_router(toolsets_router(services.fleet))
    app.include_router(balancing_router(services.fleet, services.config))
    app.include_router(breakers_router(services.fleet))
    app.include_router(
        health_router(lambda: overall(services.fleet.servers()), services.info.version, services.away)
    )
    app.include_router(servers_health_router(services.fleet))
    app.include_router(request_router(services.fleet, services.is_good))
    app.include_router(fleet_router(services.config))
    app.include_router(config_router(services.config))
    app.include_router(system_router(services))
    app.include_router(summaries_router(services.metrics, services.fleet))
    app.include_router(trends_router(services.trends))
    app.include_router(metadata_router(services, _MCP))
    if services.credentials is not None:
        app.include_router(credentials_router(services, services.credentials))
    include_common(app, services)
    return app
