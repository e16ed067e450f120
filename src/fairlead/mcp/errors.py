"""JSON-RPC and MCP error codes, and the HTTP status that each has in the modern era."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
# Implementation-defined, as the official SDKs use them.
SESSION_ENDED: Final = -32001
OVERLOADED: Final = -32003
UPSTREAM_FAILED: Final = -32004
CALL_TIMED_OUT: Final = -32005
FORBIDDEN: Final = -32006
# 2026-07-28
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_PROTOCOL_VERSION: Final = -32022

HTTP_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_PROTOCOL_VERSION: 400,
    METHOD_NOT_FOUND: 404,
    FORBIDDEN: 403,
}
"""Status of a modern answer that is an error; 200 for every code that is not here."""


class McpError(Exception):
    """Ends a request with a JSON-RPC error. `status` is HTTP's, where the code alone does not tell it."""

    def __init__(self, code: int, message: str, data: Any = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data = data

    def tree(self) -> Any:
        """`data` decoded, where it is still raw; None where it cannot be read."""
        if not isinstance(self.data, msgspec.Raw):
            return self.data
        try:
            return msgspec.json.decode(self.data)
        except (msgspec.DecodeError, RecursionError):
            return None

    def concealed(self, conceal: Callable[[str], str]) -> McpError:
        """The same without what `conceal` takes out of a text; this one, where there is nothing of it."""
        whole = self.encode().decode()
        if conceal(whole) == whole:
            return self
        return McpError(self.code, conceal(self.message), _texts(self.tree(), conceal), status=self.status)

    def encode(self) -> bytes:
        """The JSON-RPC error object."""
        return encode_error(self.code, self.message, self.data)


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """JSON data with each text in it changed."""
    match value:
        case str():
            return change(value)
        case dict():
            return {change(name): _texts(item, change) for name, item in value.items()}
        case list():
            return [_texts(item, change) for item in value]
    return value


def encode_error(code: int, message: str, data: Any = None) -> bytes:
    """The JSON-RPC error object as JSON; `data` is left out when it is None."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return msgspec.json.encode(error)
