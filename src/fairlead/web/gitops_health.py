"""`/api/health/environment` and `/api/system/info` of the GitOps controller."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from fairlead.gitops.operations import GitOpsOperations
from fairlead.model.gitops_reports import EnvironmentHealth
from fairlead.web.examples import as_json, shown
from fairlead.web.gitops_examples import ENVIRONMENT
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.health import Overall
from fairlead.web.strict import StrictRoute
from fairlead.web.system import EXAMPLE, ServiceReport, service_report


class GitOpsReport(ServiceReport):
    """The GitOps controller."""

    applications: int
    sources: int = Field(description="Repositories that they come from")
    enabled: bool = Field(description="Whether Git is in charge of what the checkout declares")


def overall(operations: GitOpsOperations) -> Overall:
    """The controller in one word. An application that waits for a person does not count."""
    if operations.has_failed():
        return Overall.DEGRADED
    return Overall.STARTING if operations.is_starting() else Overall.OK


def gitops_health_router(services: GitOpsServices) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    operations = services.operations
    example = EXAMPLE | {"applications": 2, "sources": 1, "enabled": True}

    @router.get(
        "/api/health/environment",
        tags=["health"],
        summary="Health of the environments",
        responses={200: shown(environment=as_json(ENVIRONMENT))},
    )
    async def get_environment_health() -> EnvironmentHealth:
        """Whether this host has the tools that applications declare, and whether these are as Git says."""
        return await operations.environment_health()

    @router.get(
        "/api/system/info",
        tags=["system"],
        summary="About this service",
        responses={200: shown(info=example)},
    )
    async def get_system_info() -> GitOpsReport:
        """Version, addresses, uptime, and how much is looked after."""
        return GitOpsReport(
            **service_report(services).model_dump(),
            applications=operations.count,
            sources=len(operations.git_status().sources),
            enabled=operations.ownership().enabled,
        )

    return router
