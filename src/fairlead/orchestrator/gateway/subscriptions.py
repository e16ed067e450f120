"""What clients hear unasked: changed lists, and updates of the resources that they subscribed to.

A legacy session hears on its GET stream, a modern client on each `subscriptions/listen` that it has open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from fairlead.mcp import eras
from fairlead.mcp.eras import Meta
from fairlead.mcp.errors import INVALID_PARAMS, INVALID_REQUEST, McpError
from fairlead.mcp.messages import decode_any, encode_json, notification, result
from fairlead.orchestrator.gateway.sessions import Session, SessionTable
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.metrics import MetricsCollector

if TYPE_CHECKING:
    from collections.abc import Collection

    from fairlead.orchestrator.gateway.lane import Exchange
    from fairlead.orchestrator.pool import ServerPool

CHANGE_METHODS: Final = {
    "tools": ("toolsListChanged", "notifications/tools/list_changed"),
    "prompts": ("promptsListChanged", "notifications/prompts/list_changed"),
    "resources": ("resourcesListChanged", "notifications/resources/list_changed"),
    "templates": ("resourcesListChanged", "notifications/resources/list_changed"),
}


@dataclass(slots=True)
class Listener:
    """An open `subscriptions/listen`: which lists its client wants to hear of."""

    exchange: Exchange
    wanted: frozenset[str]  # methods of notifications


class Subscriptions:
    """Of one gateway."""

    def __init__(self, sessions: SessionTable, metrics: MetricsCollector) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._listeners: dict[Exchange, Listener] = {}

    def __repr__(self) -> str:
        return f"<Subscriptions listeners={len(self._listeners)}>"

    # -- modern ------------------------------------------------------------------------------------------

    def listen(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """`subscriptions/listen`."""
        wanted = decode_any(members.get("notifications", Raw(b"null")))
        if not isinstance(wanted, dict):
            raise McpError(INVALID_PARAMS, "subscriptions/listen: params.notifications must be an object")
        if not exchange.head.accepts_stream:
            raise McpError(INVALID_REQUEST, "subscriptions/listen needs Accept: text/event-stream")
        honoured = {flag: True for flag, _ in CHANGE_METHODS.values() if wanted.get(flag) is True}
        methods = frozenset(method for flag, method in CHANGE_METHODS.values() if flag in honoured)
        self._listeners[exchange] = Listener(exchange, methods)
        self._metrics.streams += 1
        params = {"notifications": honoured, "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
        exchange.event(notification("notifications/subscriptions/acknowledged", encode_json(params)))

    # -- legacy ------------------------------------------------------------------------------------------

    def open(self, session: Session, exchange: Exchange) -> None:
        """The session's stream for what is said unasked; a new one replaces an old one."""
        if session.stream is not None:
            self.end(session.stream)
        session.stream = exchange
        self._metrics.streams += 1
        exchange.open()
        changed, session.changed = session.changed, None
        _tell_session(session, sorted(changed or ()))

    # -- both --------------------------------------------------------------------------------------------

    def tell_changed(self, view: View, kinds: frozenset[str]) -> None:
        """Each listening client of the view hears once of each list that changed."""
        methods = sorted({CHANGE_METHODS[kind][1] for kind in kinds})
        for listener in list(self._listeners.values()):
            if listener.exchange.head.view is not view:
                continue
            meta = encode_json({"_meta": {eras.META_SUBSCRIPTION: Raw(listener.exchange.id)}})
            for method in methods:
                if method in listener.wanted:
                    listener.exchange.event(notification(method, meta))
        for session in self._sessions:
            if session.endpoint == view.endpoint:
                _tell_session(session, methods)

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        """A server says that a resource of its own has changed; `key` as in `PoolListener`."""

    def end(self, exchange: Exchange) -> None:
        """End a GET stream or a subscription; other exchanges are left alone."""
        session = exchange.head.session
        if session is not None and session.stream is exchange:
            session.stream = None
            self._metrics.streams -= 1
            exchange.end()
        elif self._listeners.pop(exchange, None) is not None:
            self._metrics.streams -= 1
            body = encode_json(
                {"resultType": "complete", "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
            )
            exchange.finish(200, result(exchange.id, body))

    def end_of_others(self, principals: Collection[str]) -> None:
        """End the subscriptions of all but these principals."""
        for exchange in list(self._listeners):
            if exchange.head.principal not in principals:
                self.end(exchange)


def _tell_session(session: Session, methods: list[str]) -> None:
    if session.stream is None:
        session.changed = (session.changed or set()) | set(methods)
        return
    for method in methods:
        session.stream.event(notification(method))
