"""The web app: REST, metrics and pages, behind the door that `core.admission` keeps.

From outside in: `RequestContext` (request id, log, count, security headers, unexpected errors), `Audited`,
`AdmissionMiddleware` (Host, Origin, token, rate, body), then the routes, each behind `permissions.guard`.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware

from fairlead.web.access import access_router
from fairlead.web.admission import AdmissionMiddleware
from fairlead.web.audit import audit_router
from fairlead.web.audited import Audited
from fairlead.web.balancing import balancing_router
from fairlead.web.breakers import breakers_router
from fairlead.web.config import config_router
from fairlead.web.context import RequestContext
from fairlead.web.credentials import credentials_router
from fairlead.web.docs import docs_router
from fairlead.web.events import events_router
from fairlead.web.fleet import fleet_router
from fairlead.web.health import health_router, servers_health_router
from fairlead.web.live_endpoint import live_route
from fairlead.web.login import login_pages, login_router
from fairlead.web.metadata import metadata_router
from fairlead.web.metrics import metrics_router, summaries_router
from fairlead.web.openapi import describe
from fairlead.web.permissions import guard
from fairlead.web.problems import add_handlers
from fairlead.web.request import request_router
from fairlead.web.servers import servers_router
from fairlead.web.services import Services
from fairlead.web.store_gate import store_gate
from fairlead.web.system import system_router
from fairlead.web.toolsets import toolsets_router
from fairlead.web.trends import trends_router

_TAGS: Final = [
    {"name": "servers", "description": "The MCP servers of the fleet."},
    {"name": "balancing", "description": "How calls are spread, and who gets none for a while."},
    {"name": "health", "description": "Whether the service and its servers answer."},
    {
        "name": "requests",
        "description": "Single MCP requests, for programs that do not speak MCP themselves.",
    },
    {"name": "config", "description": "The fleet spec in force, and changing it."},
    {"name": "events", "description": "What happened and happens, and the live connection."},
    {"name": "access", "description": "Who may come in."},
    {"name": "audit", "description": "Who did what."},
    {"name": "system", "description": "The service itself."},
    {"name": "metrics", "description": "Numbers for Prometheus and for people."},
]


class Api(FastAPI):
    """FastAPI whose OpenAPI document also has what holds for every operation."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def create_app(services: Services) -> FastAPI:
    """The ASGI app. It starts and stops nothing: its services run before it is served."""
    app = Api(
        title="Fairlead",
        summary="One dependable fleet of MCP servers behind one endpoint.",
        description=(
            "MCP itself is at `/mcp` (all servers), `/servers/{id}/mcp` (one) and `/toolsets/{name}/mcp` "
            "(a choice of tools)."
        ),
        version=services.info.version,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(guard), Depends(store_gate(services.away, services.settled), scope="function")],
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(RequestContext, metrics=services.metrics),
            Middleware(Audited, audit=services.audit),
            Middleware(AdmissionMiddleware, services=services),
        ],
    )
    add_handlers(app)
    app.include_router(servers_router(services.fleet, services.config))
    app.include_router(toolsets_router(services.fleet))
    app.include_router(balancing_router(services.fleet, services.config))
    app.include_router(breakers_router(services.fleet))
    app.include_router(health_router(services.fleet, services.info.version, services.away))
    app.include_router(servers_health_router(services.fleet))
    app.include_router(request_router(services.fleet, services.is_good))
    app.include_router(fleet_router(services.config))
    app.include_router(config_router(services.config))
    app.include_router(system_router(services))
    app.include_router(metrics_router(services.metrics))
    app.include_router(summaries_router(services.metrics, services.fleet))
    app.include_router(trends_router(services.trends))
    app.include_router(audit_router(services.audit))
    app.include_router(events_router(services.live))
    app.router.routes.append(live_route(services.live))
    app.include_router(metadata_router(services))
    if services.roster is not None:
        app.include_router(access_router(services.roster))
    if services.browsers is not None:
        app.include_router(login_router(services, services.browsers))
        app.include_router(login_pages(services, services.browsers))
    if services.credentials is not None:
        app.include_router(credentials_router(services, services.credentials))
    app.include_router(docs_router())
    return app
