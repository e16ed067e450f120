"""What the web app of every service has: the door, problems, and what is about no service in particular.

From outside in: `RequestContext` (request id, log, count, security headers, unexpected errors), `Audited`,
`AdmissionMiddleware` (Host, Origin, token, rate, body), then the routes, each behind `permissions.guard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware

from fairlead.web.access import access_router
from fairlead.web.admission import AdmissionMiddleware
from fairlead.web.audit import audit_router
from fairlead.web.audited import Audited
from fairlead.web.context import RequestContext
from fairlead.web.docs import docs_router
from fairlead.web.events import events_router
from fairlead.web.live_endpoint import live_route
from fairlead.web.login import login_pages, login_router
from fairlead.web.metrics import metrics_router
from fairlead.web.openapi import describe
from fairlead.web.permissions import guard
from fairlead.web.problems import add_handlers
from fairlead.web.services import EveryService
from fairlead.web.store_gate import store_gate

_TAGS: Final = {
    "events": "What happened and happens, and the live connection.",
    "access": "Who may come in.",
    "audit": "Who did what.",
    "system": "The service itself.",
    "metrics": "Numbers for Prometheus and for people.",
}


class Api(FastAPI):
    """FastAPI whose OpenAPI document also has what holds for every operation."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def create_api(services: EveryService, *, summary: str, description: str, tags: Mapping[str, str]) -> FastAPI:
    """An app without any route. `tags` are those of the service's own routes, with what they are about."""
    app = Api(
        title="Fairlead",
        summary=summary,
        description=description,
        version=services.info.version,
        openapi_tags=[{"name": name, "description": about} for name, about in {**tags, **_TAGS}.items()],
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
    return app


def include_common(app: FastAPI, services: EveryService) -> None:
    """The routes that every service has."""
    app.include_router(metrics_router(services.metrics))
    app.include_router(audit_router(services.audit))
    app.include_router(events_router(services.live))
    app.router.routes.append(live_route(services.live))
    if services.roster is not None:
        app.include_router(access_router(services.roster))
    if services.browsers is not None:
        app.include_router(login_router(services, services.browsers))
        app.include_router(login_pages(services, services.browsers))
    app.include_router(docs_router())
