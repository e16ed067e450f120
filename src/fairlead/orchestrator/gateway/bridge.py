"""Requests of servers, and whom they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.orchestrator.server_requests import ServerRequest

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.gateway import Gateway
    from fairlead.orchestrator.gateway.lane import Exchange
    from fairlead.orchestrator.pool import ServerPool


class Bridge:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def asked(self, exchange: Exchange, request: ServerRequest) -> None:
        request.refuse_unoffered()

    def session_asked(self, pool: ServerPool, key: str, request: ServerRequest) -> None:
        request.refuse_unoffered()

    def session_told(self, key: str, method: str, params: bytes) -> None:
        pass
