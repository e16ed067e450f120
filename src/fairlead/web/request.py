"""`POST /api/request`: one MCP request to a server, or to one that has a capability."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead.model.errors import InputRequired
from fairlead.model.request import RoutedRequest
from fairlead.web import examples
from fairlead.web.problems import documented, input_problem
from fairlead.web.services import Fleet
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, given, require_json

MAX_TIMEOUT: Final = 600.0  # s


class RequestBody(StrictBody):
    """One MCP request. Exactly one of `server` and `capability` says where it goes."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("server"), given("capability")]})

    server: str | None = Field(default=None, min_length=1, max_length=128, description="A server's id")
    capability: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="A capability that servers have, such as file-search",
    )
    method: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_./$-]{0,127}$", description="An MCP method, such as tools/call"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="The method's parameters")
    timeout: float | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT, description="Seconds; by default the server's own bound"
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.server is None) == (self.capability is None):
            msg = "Give exactly one of server and capability"
            raise ValueError(msg)
        return self


class RequestAnswer(BaseModel):
    """What the server answered."""

    result: dict[str, Any] = Field(description="The result of the JSON-RPC response, as the server gave it")


_CALL: Final = {
    "server": "filesystem",
    "method": "tools/call",
    "params": {"name": "read_text_file", "arguments": {"path": "notes.md"}},
    "timeout": 30,
}
_BY_CAPABILITY: Final = {"capability": "documentation-search", "method": "tools/list", "params": {}}
_RESULT: Final = {"result": {"content": [{"type": "text", "text": "# Notes"}]}}


def request_router(fleet: Fleet) -> APIRouter:
    router = APIRouter(tags=["requests"], route_class=StrictRoute)

    @router.post(
        "/api/request",
        summary="Route one MCP request",
        dependencies=[Depends(require_json)],
        responses={
            200: examples.shown(call=_RESULT),
            **documented(
                examples.UNKNOWN_SERVER,
                input_problem(InputRequired(examples.INPUT_REQUIRED)),
                NOT_JSON,
                examples.INVALID_REQUEST,
                examples.RPC_ERROR,
                examples.SERVER_NOT_READY,
                examples.CALL_TIMED_OUT,
            ),
        },
    )
    async def route_request(
        body: Annotated[
            RequestBody,
            Body(
                openapi_examples={
                    "call": {"summary": "Call a tool of a server", "value": _CALL},
                    "capability": {
                        "summary": "Ask any server that has a capability",
                        "value": _BY_CAPABILITY,
                    },
                }
            ),
        ],
        request: Request,
    ) -> RequestAnswer:
        """Send one request and wait for its answer.

        A JSON-RPC error of the server comes back as 502 with the error inside, a request for input as 409
        with the server's whole result inside.
        """
        routed = RoutedRequest(
            server=body.server,
            capability=body.capability,
            method=body.method,
            params=body.params,
            timeout=body.timeout,
            principal=request.state.principal,
            caller=request.state.caller,
        )
        return RequestAnswer(result=await fleet.request(routed))

    return router
