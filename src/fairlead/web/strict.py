"""JSON bodies, read strictly: what the app accepts is what can be passed on with the same meaning."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

MAX_DEPTH: Final = 200


class StrictRoute(APIRoute):
    """A route whose body is parsed by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


class StrictRequest(Request):
    """Refuses what Python's own parser lets through: NaN, numbers out of range, lone surrogates, depth."""

    async def json(self) -> Any:
        """Raises JSONDecodeError, which FastAPI turns into a validation error."""
        try:
            value = msgspec.json.decode(await self.body())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        except RecursionError:
            raise _too_deep() from None
        if _deeper_than(value, MAX_DEPTH):
            raise _too_deep()
        return value


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
