"""A request that a server sends: it waits for the client's answer, or for a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Raw

from fairlead.mcp.errors import INVALID_PARAMS, METHOD_NOT_FOUND, McpError
from fairlead.mcp.messages import FromServer, decode_any, error, one_line, result

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance


class ServerRequest:
    """Answered once; what comes later is dropped."""

    __slots__ = ("call", "deadline", "done", "id", "instance", "method", "params")

    def __init__(self, instance: MCPServerInstance, request_id: bytes, method: str, params: bytes) -> None:
        self.instance = instance
        self.id = request_id  # the server's, as JSON
        self.method = method
        self.params = params  # an object as JSON, on one line
        self.deadline = float("inf")  # loop time, for the answer
        self.call: int | None = None  # the instance's number of the call that it is about
        self.done = False

    def __repr__(self) -> str:
        return f"<ServerRequest {self.method} {self.id!r} of {self.instance.id} done={self.done}>"

    def tree(self) -> dict[str, Any]:
        """The params, decoded; empty where they are no object."""
        try:
            tree = decode_any(Raw(self.params))
        except McpError:
            return {}
        return tree if isinstance(tree, dict) else {}

    def answer(self, raw: bytes) -> None:
        """The client's result, as JSON on one line."""
        self._say(result(self.id, raw))

    def refuse(self, refused: McpError) -> None:
        """The client's error, or ours."""
        self._say(error(self.id, one_line(refused.encode())))  # its data is in the client's own spelling

    def refuse_unoffered(self) -> None:
        """Nobody can be asked this: the server was not told that it could."""
        self.refuse(McpError(METHOD_NOT_FOUND, f"{self.method[:100]} was not offered to this server"))

    def refuse_unheard(self, why: str) -> None:
        """The client that was meant cannot be asked any more."""
        self.refuse(McpError(INVALID_PARAMS, f"nobody can answer {self.method[:100]}: {why}"))

    def _say(self, answer: bytes) -> None:
        if not self.done:
            self.done = True
            self.instance.respond(self, answer)


def params_of(message: FromServer) -> bytes:
    """The params of a server's message, on one line; `{}` where they are no object."""
    raw = b"" if message.params is UNSET else bytes(message.params)
    return one_line(raw) if raw[:1] == b"{" else b"{}"
