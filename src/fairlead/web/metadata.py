"""Protected resource metadata (RFC 9728): which authorization server gives tokens for what is served here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from fairlead.core.challenge import METADATA
from fairlead.model.access import Role
from fairlead.model.errors import ProblemError
from fairlead.web.problems import NOT_FOUND
from fairlead.web.services import EveryService


def metadata_router(services: EveryService, endpoints: Sequence[str] = ()) -> APIRouter:
    """One document for the service, and one for each MCP endpoint, whether there is such a server or not."""
    router = APIRouter(include_in_schema=False)

    async def get_resource_metadata(request: Request) -> dict[str, Any]:
        sign_in = services.policy().sign_in
        if not sign_in.resource:
            raise ProblemError(NOT_FOUND)
        endpoint = request.url.path.removeprefix(METADATA)
        document: dict[str, Any] = {
            "resource": sign_in.resource + endpoint,
            "resource_name": "Fairlead",
            "authorization_servers": [sign_in.issuer],
            "bearer_methods_supported": ["header"],
            "resource_documentation": sign_in.resource + "/docs",
        }
        if sign_in.scope:  # a client may ask for all of them
            all_scopes = [f"fairlead:{role.word}" for role in Role]
            document["scopes_supported"] = [sign_in.scope] if endpoint else all_scopes
        return document

    for endpoint in ("", *endpoints):
        router.add_api_route(METADATA + endpoint, get_resource_metadata, methods=["GET"])
    return router
