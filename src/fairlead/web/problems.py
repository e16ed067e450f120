"""Errors as RFC 9457 problem documents: what each exception becomes, and how OpenAPI shows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from fairlead.core.admission import Headers
from fairlead.model.errors import Fault, InputRequired, Problem, ProblemError, RpcError
from fairlead.ports import StoreAwayError, StoreSlowError
from fairlead.web.store_gate import store_away, store_slow

PROBLEM_JSON: Final = "application/problem+json"
EXAMPLE_ID: Final = "8f14e45fceea4f0e9b6f6f3c2f0a7d11"
_CALLERS_RPC_ERRORS: Final = frozenset({-32600, -32601, -32602})


class FieldError(BaseModel):
    """One thing that is wrong in a request."""

    where: str = Field(description="The place, such as body.timeout")
    what: str
    how: str = Field(description="How to mend it")


class ProblemDocument(BaseModel):
    """An error (RFC 9457). Some problems have further members of their own."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="urn:fairlead:problem: and the problem's code")
    title: str
    status: int
    detail: str = Field(description="Where it is and how to mend it")
    instance: str = Field(description="The request's id, also in the log")
    fault: Fault = Field(description="Whose fault it is")
    retryAfter: float | None = Field(  # noqa: N815 - as it stands in the document
        default=None, description="Seconds after which to try again"
    )
    errors: list[FieldError] | None = Field(default=None, description="Each invalid field of a request")


INTERNAL: Final = Problem(
    code="internal",
    title="Something went wrong here",
    detail="This is a fault of Fairlead. The log says more under this request's id.",
    status=500,
    fault=Fault.GATEWAY,
)
NOT_FOUND: Final = Problem(
    code="not-found",
    title="There is no such resource",
    detail="No resource has this path. /openapi.json lists all of them, /docs shows them.",
    status=404,
    fault=Fault.CLIENT,
)


def problem_response(problem: Problem, request_id: str, headers: Headers = ()) -> Response:
    """The answer that shows `problem`; `headers` are added."""
    response = Response(
        msgspec.json.encode(problem.document(request_id)), problem.status, media_type=PROBLEM_JSON
    )
    if problem.retry_after is not None:
        response.raw_headers.append((b"retry-after", b"%d" % math.ceil(problem.retry_after)))
    response.raw_headers.extend(headers)
    return response


def rpc_problem(error: RpcError) -> Problem:
    """A server's JSON-RPC error: 502 with the error inside."""
    inside: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        inside["data"] = error.data
    return Problem(
        code="rpc-error",
        title="The server answered with an error",
        detail=f"JSON-RPC error {error.code}: {error.message}",
        status=502,
        fault=Fault.CLIENT if error.code in _CALLERS_RPC_ERRORS else Fault.UPSTREAM,
        extra={"error": inside},
    )


def input_problem(asked: InputRequired) -> Problem:
    """A server's question back: 409 with its result inside."""
    return Problem(
        code="input-required",
        title="The server asks for input",
        detail="Answer each entry of inputRequired.inputRequests: send the request again with "
        "params.inputResponses under the same keys, and params.requestState as it stands there.",
        status=409,
        fault=Fault.CLIENT,
        extra={"inputRequired": dict(asked.result)},
    )


def validation_problem(errors: Iterable[FieldError]) -> Problem:
    """All that is wrong in a request: 422. What was sent is not repeated, it may hold secrets."""
    listed = [error.model_dump() for error in errors]
    detail = "; ".join(f"{e['where']}: {e['what']} ({e['how']})" for e in listed)
    return Problem(
        code="invalid-request",
        title="The request is not valid",
        detail=detail,
        status=422,
        fault=Fault.CLIENT,
        extra={"errors": listed},
    )


def http_problem(error: HTTPException) -> Problem:
    """What the router refuses."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NOT_FOUND
    status = HTTPStatus(error.status_code)
    allowed = (error.headers or {}).get("Allow")
    detail = f"This resource takes {allowed}." if allowed else f"{error.detail}."
    return Problem(
        code=status.phrase.lower().replace(" ", "-"),
        title=status.phrase.capitalize(),
        detail=detail,
        status=error.status_code,
        fault=Fault.CLIENT,
    )


def field_error(error: dict[str, Any]) -> FieldError:
    """One of pydantic's errors, in our words."""
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "missing":
            return FieldError(where=where, what="it is missing", how="add it")
        case "extra_forbidden":
            return FieldError(where=where, what="there is no such member", how="remove it or mend its name")
        case "json_invalid":
            return FieldError(where="body", what=error["ctx"]["error"], how="send one JSON object")
        case _:
            message = error["msg"].removeprefix("Value error, ")
            return FieldError(where=where, what="it is not valid", how=message[:1].lower() + message[1:])


def add_handlers(app: FastAPI) -> None:
    """Show every expected exception as a problem. The unexpected ones end in `RequestContext`."""

    def show(request: Request, problem: Problem, headers: Headers = ()) -> Response:
        return problem_response(problem, request.state.request_id, headers)

    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return show(request, error.problem)

    @app.exception_handler(StoreAwayError)
    async def on_store_away(request: Request, error: StoreAwayError) -> Response:
        slow = isinstance(error, StoreSlowError)
        return show(request, store_slow(str(error)) if slow else store_away(str(error)))

    @app.exception_handler(RpcError)
    async def on_rpc_error(request: Request, error: RpcError) -> Response:
        return show(request, rpc_problem(error))

    @app.exception_handler(InputRequired)
    async def on_input_required(request: Request, asked: InputRequired) -> Response:
        return show(request, input_problem(asked))

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        return show(request, validation_problem(field_error(e) for e in error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            error.headers = {"Allow": ", ".join(_methods(app, request.scope["path"]))}
        headers = tuple((k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items())
        return show(request, http_problem(error), headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """All that a path takes: the router itself knows only those of the first route that fits."""
    every = iter_route_contexts(app.routes)
    fitting = (each for each in every if compile_path(each.path or "")[0].match(path))
    return sorted({method for each in fitting for method in each.methods or ()})


def documented(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these problems, with each as an example."""
    by_status: dict[int, list[Problem]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {status: _response(same) for status, same in by_status.items()}


def _response(problems: Sequence[Problem]) -> dict[str, Any]:
    examples = {p.code: {"summary": p.title, "value": p.document(EXAMPLE_ID)} for p in problems}
    return {
        "description": " or ".join(p.title for p in problems),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
