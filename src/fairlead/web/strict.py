"""Requests, read strictly: what the app accepts is what was meant, and can be passed on so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from email.message import Message
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.web.problems import FieldError, validation_problem

MAX_DEPTH: Final = 200
NOT_JSON: Final = Problem(
    code="unsupported-media-type",
    title="Unsupported media type",
    detail="Send the body as JSON, with Content-Type: application/json.",
    status=415,
    fault=Fault.CLIENT,
)


Id = Annotated[str, Field(min_length=1, max_length=128)]
"""What may be the id of a server, an instance or a breaker; whether it is one, the fleet knows."""


class StrictBody(BaseModel):
    """Base of what a body may be: camelCase, no unknown members, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


def given(*members: str) -> dict[str, Any]:
    """JSON Schema: these are there, and not null."""
    return {"required": list(members), "properties": {name: {"not": {"type": "null"}} for name in members}}


def _flag(text: Any) -> Any:
    if text in {"true", "false"}:
        return text == "true"
    msg = "write true or false"
    raise ValueError(msg)


QueryFlag = Annotated[bool, BeforeValidator(_flag)]
"""A truth value in a query."""


class StrictRoute(APIRoute):
    """A route that refuses unknown and repeated query parameters, and whose body `StrictRequest` parses.

    `max_json`: bytes from which on a body is refused before it is parsed, which would hold up everybody.
    """

    max_json: int | None = None

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        repeatable = {
            field.alias: _is_list(field.field_info.annotation) for field in self.dependant.query_params
        }

        async def strictly(request: Request) -> Response:
            if errors := list(_query_errors(request, repeatable)):
                raise ProblemError(validation_problem(errors))
            return await handle(StrictRequest(request.scope, request.receive, self.max_json))

        return strictly


def _is_list(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))


def _query_errors(request: Request, repeatable: dict[str, bool]) -> Iterator[FieldError]:
    """A misspelt `dryRun` would do what should only have been tried, so what is not known is refused."""
    known = ", ".join(repeatable) or "none"
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        where = f"query.{name[:64]}"
        if name not in repeatable:
            yield FieldError(where=where, what="there is no such parameter", how=f"remove it; known: {known}")
        elif count > 1 and not repeatable[name]:
            yield FieldError(where=where, what="it is there more than once", how="give it once")


class StrictRequest(Request):
    """Refuses what Python's own parser lets through: NaN, numbers out of range, lone surrogates, depth."""

    def __init__(self, scope: Scope, receive: Receive, max_json: int | None) -> None:
        super().__init__(scope, receive)
        self._max_json = max_json

    async def json(self) -> Any:
        """Raises JSONDecodeError, which FastAPI turns into a validation error."""
        body = await self.body()
        if self._max_json is not None and len(body) > self._max_json:
            msg = f"it has {len(body):,} bytes, and may have at most {self._max_json:,}"
            raise json.JSONDecodeError(msg, "", 0)
        return decode_json(body)


def decode_json(body: bytes) -> Any:
    """Raises JSONDecodeError, whose `msg` is for a person."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    except RecursionError:
        raise _too_deep() from None
    if _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


async def require_json(request: Request) -> None:
    """A dependency of routes with a body: one that is there must be declared as JSON. Raises 415.

    It runs after the body was read, but FastAPI parses it only when it is declared so.
    """
    if not await request.body():
        return
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    subtype = message.get_content_subtype()
    if message.get_content_maintype() != "application" or (
        subtype != "json" and not subtype.endswith("+json")
    ):
        raise ProblemError(NOT_JSON)


def _too_deep() -> json.JSONDecodeError:
    return json.JSONDecodeError(f"the JSON is nested deeper than {MAX_DEPTH} levels", "", 0)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in nested for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True
