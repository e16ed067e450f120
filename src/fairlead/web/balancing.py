"""`/api/load-balancer`: how calls are spread over servers and instances, and changing that while it runs."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Body, Depends, Request
from pydantic import ConfigDict, Field, model_validator

from fairlead.core.overrides import REMOVED, Edit
from fairlead.model.fleet import Strategy
from fairlead.model.fleet_values import Weight
from fairlead.model.reports import BalancerStatus, CapabilityGroups, Member, ServerBalance
from fairlead.web.examples import CHANGE_REFUSED, INVALID_BODY, UNKNOWN_SERVER, as_json, shown
from fairlead.web.problems import documented
from fairlead.web.services import ConfigService, Fleet
from fairlead.web.strict import NOT_JSON, Id, StrictBody, StrictRoute, given, require_json


class BalancingBody(StrictBody):
    """What is to change. At least one of `strategy` and `weights`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                given("strategy"),
                {"required": ["strategy", "server"]},
                {
                    "required": ["weights"],
                    "properties": {"weights": {"minProperties": 1}, "server": {"type": "null"}},
                },
            ]
        }
    )

    strategy: Annotated[Strategy, Field(strict=False)] | None = Field(
        default=None, description="With `server`, null means: as the fleet"
    )
    server: Id | None = Field(
        default=None,
        description="Whose strategy it is; without it, that of all servers that have none of their own",
    )
    weights: dict[Id, Weight] = Field(
        default_factory=dict,
        description="By the id of a server or an instance. Those of instances last as long as the instance.",
    )

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.server is not None and "strategy" not in self.model_fields_set:
            msg = "Give strategy with server (null: as the fleet); weights need no server"
            raise ValueError(msg)
        if self.strategy is None and self.server is None and not self.weights:
            msg = "Give at least one of strategy and weights; strategy may be null only with server"
            raise ValueError(msg)
        return self


_EXAMPLES: Final[dict[str, Any]] = {
    "fleet": {"summary": "The strategy of the fleet", "value": {"strategy": "least-connections"}},
    "server": {
        "summary": "The strategy of one server",
        "value": {"strategy": "round-robin", "server": "filesystem"},
    },
    "weights": {
        "summary": "Weights of a server and an instance",
        "value": {"weights": {"filesystem": 1.5, "filesystem-1": 0.5}},
    },
}
_STATUS: Final = BalancerStatus(
    strategy=Strategy.RESOURCE_BASED,
    servers=[
        ServerBalance(
            id="filesystem",
            strategy=Strategy.ROUND_ROBIN,
            weight=1.0,
            panicking=False,
            calls_waiting=0,
            instances=[
                Member(
                    id="filesystem-1",
                    weight=1.0,
                    in_rotation=True,
                    calls_in_flight=1,
                    limit=64,
                    pressure=0.08,
                    calls_total=128,
                )
            ],
        )
    ],
    capabilities=[CapabilityGroups(capability="file-operations", groups=[["filesystem"]])],
)


def edits_of(body: BalancingBody, servers: set[str]) -> list[Edit]:
    """What is to change in the spec: all but the weights of instances."""
    edits = []
    if body.server is not None:
        value = REMOVED if body.strategy is None else body.strategy.value
        edits.append(Edit(("servers", body.server, "strategy"), value))
    elif body.strategy is not None:
        edits.append(Edit(("loadBalancing", "strategy"), body.strategy.value))
    weights = ((id_, weight) for id_, weight in body.weights.items() if id_ in servers)
    return edits + [Edit(("loadBalancing", "weights", id_), weight) for id_, weight in weights]


def _instances(fleet: Fleet) -> set[str]:
    """Those that have a weight: not those that are still coming."""
    return {member.id for server in fleet.balancer_status().servers for member in server.instances}


def balancing_router(fleet: Fleet, config: ConfigService) -> APIRouter:
    router = APIRouter(prefix="/api/load-balancer", tags=["balancing"], route_class=StrictRoute)

    @router.get("/status", summary="Show the balancing", responses={200: shown(status=as_json(_STATUS))})
    async def get_balancer_status() -> BalancerStatus:
        """Strategies, weights, who gets calls, and which servers share the calls of a capability."""
        return fleet.balancer_status()

    @router.post(
        "/strategy",
        summary="Change the balancing",
        dependencies=[Depends(require_json)],
        responses={
            200: shown(status=as_json(_STATUS)),
            **documented(UNKNOWN_SERVER, CHANGE_REFUSED, NOT_JSON, INVALID_BODY),
        },
    )
    async def set_strategy(
        body: Annotated[BalancingBody, Body(openapi_examples=_EXAMPLES)], request: Request
    ) -> BalancerStatus:
        """Change strategies and weights, without touching a call in flight.

        All but the weights of instances are live edits: they stay until the spec's owner changes the same.
        """
        servers, instances = {status.id for status in fleet.servers()}, _instances(fleet)
        for named in (*filter(None, [body.server]), *body.weights):
            if named not in servers and (named == body.server or named not in instances):
                fleet.server(named)  # raises, with the nearest name
        if edits := edits_of(body, servers):
            await config.edit(edits, by=request.state.principal)
        left = _instances(fleet) - servers  # one may have gone while the edit was put in force
        fleet.set_instance_weights({id_: weight for id_, weight in body.weights.items() if id_ in left})
        return fleet.balancer_status()

    return router
