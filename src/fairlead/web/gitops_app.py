"""The GitOps controller's web app, behind the same door as the orchestrator's."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from fairlead.web.api import create_api, include_common
from fairlead.web.gitops_applications import gitops_applications_router
from fairlead.web.gitops_approval import Approvers
from fairlead.web.gitops_deployments import gitops_deployments_router
from fairlead.web.gitops_health import gitops_health_router, overall
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.gitops_sources import gitops_config_router, gitops_git_router, gitops_ownership_router
from fairlead.web.gitops_sync import gitops_drift_router, gitops_sync_router
from fairlead.web.gitops_webhooks import gitops_webhooks_router
from fairlead.web.health import health_router
from fairlead.web.metadata import metadata_router

_TAGS: Final = {
    "applications": "What is kept as Git says: a place in a repository, and a target.",
    "deployments": "Changes of targets: the pipeline, its history, and decisions about it.",
    "sync": "How far everything is.",
    "drift": "What is not as Git says.",
    "git": "The repositories.",
    "config": "The controller's own configuration.",
    "gitops": "Whether Git is in charge.",
    "health": "Whether the service and the environments are well.",
    "webhooks": "What Git hosts tell.",
}


def create_gitops_app(services: GitOpsServices) -> FastAPI:
    """The ASGI app. It starts and stops nothing: its services run before it is served."""
    app = create_api(
        services,
        summary="Git is the truth: the fleet and the files of developer environments are kept as it says.",
        description="Drift is seen at once and dealt with by policy; changes are deployed, and taken back "
        "when they do not become healthy.",
        tags=_TAGS,
    )
    operations = services.operations
    app.include_router(gitops_applications_router(operations))
    app.include_router(gitops_deployments_router(operations, Approvers(services.roster, services.policy)))
    app.include_router(gitops_sync_router(operations))
    app.include_router(gitops_drift_router(operations))
    app.include_router(gitops_git_router(operations))
    app.include_router(gitops_config_router(operations))
    app.include_router(gitops_ownership_router(operations))
    app.include_router(gitops_health_router(services))
    app.include_router(health_router(lambda: overall(operations), services.info.version, services.away))
    app.include_router(gitops_webhooks_router(services.webhooks))
    app.include_router(metadata_router(services))
    include_common(app, services)
    return app
