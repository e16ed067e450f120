"""`POST /api/request`: one MCP request to a server, or to one that has a capability."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead.core import refusals
from fairlead.model.access import Caller
from fairlead.model.errors import InputRequired, ProblemError
from fairlead.model.request import RoutedRequest
from fairlead.web import examples
from fairlead.web.problems import documented, input_problem
from fairlead.web.services import Fleet
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, given, require_json

MAX_TIMEOUT: Final = 600.0  # s
LOOK: Final = 0.5  # s between looks at the caller's credential while a server works


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


def request_router(fleet: Fleet, is_good: Callable[[Caller], bool]) -> APIRouter:
    """`is_good` says whether a caller's credential still is."""
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
        asking = fleet.request(routed)
        return RequestAnswer(result=await _while(lambda: is_good(request.state.caller), asking))

    return router


async def _while(is_good: Callable[[], bool], asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The answer, unless the caller's credential is good no more before it comes: then all is cancelled."""

    async def watch() -> None:
        while is_good():  # noqa: ASYNC110 - time ends credentials, too
            await asyncio.sleep(LOOK)
        raise ProblemError(refusals.INVALID_TOKEN)

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            result = await asking
            watching.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return result
