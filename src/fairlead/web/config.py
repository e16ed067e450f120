"""`/api/config`: the fleet file in force."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from fairlead.model.reports import Change
from fairlead.web.examples import CHANGE, CHANGE_REFUSED, INVALID_CONFIG, NOT_THE_OWNER, as_json, shown
from fairlead.web.problems import documented
from fairlead.web.services import ConfigService
from fairlead.web.strict import StrictRoute


def config_router(config: ConfigService) -> APIRouter:
    router = APIRouter(prefix="/api/config", tags=["config"], route_class=StrictRoute)
    example = {
        "version": "1",
        "servers": {
            "magic": {
                "package": "npm:@21st-dev/magic@0.2.3",
                "environment": {"TWENTYFIRST_API_KEY": "${TWENTYFIRST_API_KEY}"},
            }
        },
    }

    @router.get("", summary="Show the fleet spec", responses={200: shown(spec=example)})
    async def get_config() -> dict[str, Any]:
        """The spec in force. Placeholders stay as they are written."""
        return config.current()

    @router.post(
        "/reload",
        summary="Read the fleet file again",
        responses={
            200: shown(changed=as_json(CHANGE)),
            **documented(NOT_THE_OWNER, CHANGE_REFUSED, INVALID_CONFIG),
        },
    )
    async def reload_config() -> Change:
        """Put the file in force now, touching only what changed. A bad file changes nothing."""
        return await config.reload()

    return router
