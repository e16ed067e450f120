"""The `subscriptions/listen` that one instance has open, and who hears of them (modern era).

Such a request has no deadline and is no call: it must not take a call's place, nor keep an instance from
ending. So it stands in a table of its own.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from msgspec import UNSET, Raw

from fairlead.mcp import eras
from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import FromServer, decode_any, decode_members, encode_json
from fairlead.orchestrator.replies import error_from_server

_TAKES_TASKS: Final = eras.Meta(capabilities=encode_json({"extensions": {eras.TASKS: {}}}))


class Ear(Protocol):
    """Hears what becomes of a `subscriptions/listen`. Called from the event loop; must not raise."""

    def acknowledged(self, honoured: dict[str, Any]) -> None:
        """The server has opened it; `honoured` is what it will tell of, in the server's words."""
        ...

    def ended(self, error: McpError | None) -> None:
        """The server, or the transport, has ended it; None where the server did so in good order."""
        ...

    def told(self, method: str, members: dict[str, Raw]) -> None:
        """A notification on it; `members` are its params'."""
        ...


class Ears:
    """By the number of the request."""

    __slots__ = ("_ears",)

    def __init__(self) -> None:
        self._ears: dict[int, Ear] = {}

    def __repr__(self) -> str:
        return f"<Ears {sorted(self._ears)}>"

    def open(self, number: int, wanted: dict[str, Any], ear: Ear, client: bytes) -> bytes:
        """The request; `wanted` is its filter, `client` who asks, as JSON."""
        self._ears[number] = ear
        capabilities = _TAKES_TASKS if "taskIds" in wanted else eras.NO_META
        meta = Raw(eras.meta_for(eras.Era.MODERN, capabilities, client, None))
        params = encode_json({"notifications": wanted, "_meta": meta})
        return b'{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":%b}' % (number, params)

    def forget(self, number: int) -> bool:
        """Hear of it no more; False when it is not open."""
        return self._ears.pop(number, None) is not None

    def end(self, number: int, error: McpError | None) -> bool:
        """It has ended by the other side; False when it is not open."""
        ear = self._ears.pop(number, None)
        if ear is not None:
            ear.ended(error)
        return ear is not None

    def answered(self, message: FromServer | None, number: int) -> bool:
        """The same, told by the answer to the request."""
        bad = message is not None and message.error is not UNSET
        return self.end(number, error_from_server(message.error) if bad else None)  # type: ignore[union-attr, arg-type]

    def told(self, message: FromServer) -> None:
        """A notification that belongs to one of them; any other is dropped."""
        try:
            members = decode_members(message.params)
            meta = decode_any(members.get("_meta", Raw(b"null")))
        except McpError:
            return
        number = meta.get(eras.META_SUBSCRIPTION) if isinstance(meta, dict) else None
        ear = self._ears.get(number) if type(number) is int else None
        if ear is not None:
            ear.told(str(message.method), members)

    def acknowledged(self, message: FromServer) -> None:
        """`notifications/subscriptions/acknowledged`; what it does not say well is dropped."""
        try:
            params = None if message.params is UNSET else decode_any(message.params)
        except McpError:
            return
        meta = params.get("_meta") if isinstance(params, dict) else None
        number = meta.get(eras.META_SUBSCRIPTION) if isinstance(meta, dict) else None
        ear = self._ears.get(number) if type(number) is int else None
        if ear is not None and isinstance(params, dict):
            honoured = params.get("notifications")
            ear.acknowledged(honoured if isinstance(honoured, dict) else {})
