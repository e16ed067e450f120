"""What clients hear unasked: changed lists, and updates of the resources that they subscribed to.

A legacy session hears on its GET stream, a modern client on each `subscriptions/listen` that it has open.
What happens within a moment is told together, each thing once. What happens while a client has no stream
(or its listening is not acknowledged yet) is kept as a set and told as soon as it has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from fairlead.mcp import eras
from fairlead.mcp.eras import Meta
from fairlead.mcp.errors import (
    CALL_TIMED_OUT,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UPSTREAM_FAILED,
    McpError,
)
from fairlead.mcp.messages import decode_any, encode_json, notification, result
from fairlead.model.access import Caller
from fairlead.orchestrator.gateway.handshake import capabilities_of
from fairlead.orchestrator.gateway.hearers import Hearer, Hearers, Subject, place_of
from fairlead.orchestrator.gateway.params import text_member
from fairlead.orchestrator.gateway.sessions import Session, SessionTable
from fairlead.orchestrator.gateway.views import Audience, View
from fairlead.orchestrator.metrics import MetricsCollector

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.tasks import TaskRelay
    from fairlead.orchestrator.pool import ServerPool

CHANGE_METHODS: Final = {
    "tools": ("toolsListChanged", "notifications/tools/list_changed"),
    "prompts": ("promptsListChanged", "notifications/prompts/list_changed"),
    "resources": ("resourcesListChanged", "notifications/resources/list_changed"),
    "templates": ("resourcesListChanged", "notifications/resources/list_changed"),
}
UPDATED: Final = "notifications/resources/updated"
WINDOW: Final = 0.05  # s, in which what happens is told together
ACKNOWLEDGE: Final = 2.0  # s, for servers to take what a client wants to hear of
MAX_RESOURCES: Final = 1000  # of one client
MAX_URI: Final = 8192  # characters

Wait = Callable[["Exchange", Coroutine[Any, Any, None]], None]
"""Goes on with a request in a task that ends with it."""


class Listener:
    """An open `subscriptions/listen`: which lists its client wants to hear of."""

    __slots__ = ("acknowledged", "changed", "exchange", "updated", "wanted")

    def __init__(self, exchange: Exchange, wanted: frozenset[str]) -> None:
        self.exchange = exchange
        self.wanted = wanted  # methods of notifications
        self.acknowledged = False  # nothing may be said before
        self.changed: set[str] | None = None
        self.updated: set[str] | None = None

    @property
    def stream(self) -> Exchange | None:
        return self.exchange if self.acknowledged else None

    @property
    def key(self) -> str:
        return self.exchange.head.key


class Subscriptions:
    """Of one gateway."""

    def __init__(
        self, sessions: SessionTable, metrics: MetricsCollector, wait: Wait, tasks: TaskRelay
    ) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._wait = wait
        self._tasks = tasks
        self._listeners: dict[Exchange, Listener] = {}
        self._hearers = Hearers()
        self._changed: dict[Audience, set[str]] = {}  # methods of notifications that are due
        self._updated: dict[Subject, None] = {}  # the same of resources
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Subscriptions listeners={len(self._listeners)} {self._hearers}>"

    def set_pools(self, pools: Mapping[str, ServerPool]) -> None:
        """The servers that are there now."""
        self._hearers.set_pools(pools)

    def follow(self) -> None:
        """Servers may have new versions."""
        self._hearers.follow()

    # -- modern ------------------------------------------------------------------------------------------

    def listen(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """`subscriptions/listen`. What the endpoint does not offer is left out of what is acknowledged."""
        wanted = decode_any(members.get("notifications", Raw(b"null")))
        if not isinstance(wanted, dict):
            raise McpError(INVALID_PARAMS, "subscriptions/listen: params.notifications must be an object")
        if not exchange.head.accepts_stream:
            raise McpError(INVALID_REQUEST, "subscriptions/listen needs Accept: text/event-stream")
        uris = _uris(wanted.get("resourceSubscriptions"))
        if not exchange.head.may_call:  # only of lists
            uris, wanted = (), {flag: wanted[flag] for flag in wanted if flag != "taskIds"}
        offered = capabilities_of(exchange.head.view)
        honoured: dict[str, Any] = {
            flag: True
            for kind, (flag, _) in CHANGE_METHODS.items()
            if wanted.get(flag) is True and offered.get(kind, {}).get("listChanged")
        }
        if "taskIds" in wanted:
            honoured["taskIds"] = self._tasks.listen(exchange, wanted["taskIds"], meta)
        methods = frozenset(method for flag, method in CHANGE_METHODS.values() if flag in honoured)
        listener = self._listeners[exchange] = Listener(exchange, methods)
        subjects = self._subscribe_listener(listener, uris)
        if subjects:
            self._wait(exchange, self._acknowledge_later(listener, honoured, subjects))
        else:
            self._acknowledge(listener, honoured, [])

    def _subscribe_listener(
        self, listener: Listener, uris: Iterable[str]
    ) -> dict[str, tuple[ServerPool, Subject]]:
        """Of those resources whose servers offer that; by the URI as the client knows it."""
        subjects = {}
        for uri in uris:
            try:
                pool, subject = _subject(listener.exchange, uri)
            except McpError:
                continue
            self._hearers.add(listener, subject, uri, listener.exchange.profile)
            subjects[uri] = (pool, subject)
        self._metrics.subscriptions = len(self._hearers)
        return subjects

    async def _acknowledge_later(
        self,
        listener: Listener,
        honoured: dict[str, Any],
        subjects: Mapping[str, tuple[ServerPool, Subject]],
    ) -> None:
        """When the servers have taken the subscriptions, so that nothing is missed from then on."""
        kept = await asyncio.gather(*(self._is_kept(*about) for about in subjects.values()))
        for is_kept, (_, subject) in zip(kept, subjects.values(), strict=True):
            if not is_kept:
                self._hearers.remove(listener, subject)
        self._metrics.subscriptions = len(self._hearers)
        self._acknowledge(listener, honoured, [uri for uri, ok in zip(subjects, kept, strict=True) if ok])

    async def _is_kept(self, pool: ServerPool, subject: Subject) -> bool:
        """False when its server refuses it. One that is away or slow takes it later."""
        try:
            await pool.watch.kept(subject.uri, subject.key, timeout=ACKNOWLEDGE)
        except McpError as refused:
            return refused.code in (CALL_TIMED_OUT, UPSTREAM_FAILED)
        return True

    def _acknowledge(self, listener: Listener, honoured: dict[str, Any], uris: list[str]) -> None:
        exchange = listener.exchange
        if uris:
            honoured = {**honoured, "resourceSubscriptions": uris}
        params = {"notifications": honoured, "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
        exchange.event(notification("notifications/subscriptions/acknowledged", encode_json(params)))
        listener.acknowledged = True
        self._tasks.open(exchange)
        _tell_missed(listener)

    # -- legacy ------------------------------------------------------------------------------------------

    def opened(self, session: Session, *, gap: bool) -> None:
        """The session's stream has been opened; `gap`: what was said there before is lost in part."""
        if gap:
            _tell_changed(session, {method for _, method in CHANGE_METHODS.values()})
            _tell_updated(session, {uri: uri for uri in self._hearers.uris(session)})
        if session.stream is not None:
            _tell_missed(session)

    def subscribe(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """`resources/subscribe`; answered when the server has taken it."""
        session = exchange.head.session
        assert session is not None  # else it would have been refused
        uri = text_member(members, "uri")
        pool, subject = _subject(exchange, uri)
        known = self._hearers.of(session)
        if subject not in known and len(tuple(known)) >= MAX_RESOURCES:
            what = f"a session may subscribe to {MAX_RESOURCES} resources; unsubscribe from some"
            raise McpError(INVALID_PARAMS, what)
        fresh = self._hearers.add(session, subject, uri, session.profile)
        self._metrics.subscriptions = len(self._hearers)
        self._wait(exchange, self._subscribe(exchange, session, pool, subject))
        if fresh and exchange.waiting is not None:
            exchange.waiting.add_done_callback(
                lambda waited: self._remove(session, subject) if waited.cancelled() else None
            )

    def _remove(self, hearer: Hearer, subject: Subject) -> None:
        self._hearers.remove(hearer, subject)
        self._metrics.subscriptions = len(self._hearers)

    async def _subscribe(
        self, exchange: Exchange, session: Session, pool: ServerPool, subject: Subject
    ) -> None:
        try:
            await pool.watch.kept(subject.uri, subject.key)
        except McpError as refused:
            self._remove(session, subject)
            exchange.fail(refused)
        else:
            exchange.finish(200, result(exchange.id, b"{}"))

    def unsubscribe(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """`resources/unsubscribe`; whoever was not subscribed is told the same."""
        session = exchange.head.session
        assert session is not None
        _, subject = _subject(exchange, text_member(members, "uri"))
        self._remove(session, subject)
        exchange.finish(200, result(exchange.id, b"{}"))

    def forget(self, session: Session) -> None:
        """The session has ended."""
        self._hearers.remove_all(session)
        self._metrics.subscriptions = len(self._hearers)

    # -- both --------------------------------------------------------------------------------------------

    def tell_changed(self, view: View, kinds: frozenset[str]) -> None:
        """Each listening client of the view hears once of each list that changed, in a moment."""
        if kinds and (self._listeners or len(self._sessions)):
            self._changed.setdefault(view.audience, set()).update(CHANGE_METHODS[kind][1] for kind in kinds)
            self._tell_soon()

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        """A server says that a resource of its own has changed; `key` as in `PoolListener`."""
        subject = Subject(pool.spec.id, key, uri)
        if self._hearers.any_for(subject):
            self._updated[subject] = None
            self._tell_soon()

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self._tell_all)

    def _tell_all(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        updated, self._updated = self._updated, {}
        for listener in list(self._listeners.values()):
            methods = changed.get(listener.exchange.head.view.audience, set()) & listener.wanted
            _tell_changed(listener, methods)
        if changed:
            for session in self._sessions:
                _tell_changed(session, changed.get(session.audience, set()))
        told: dict[Hearer, dict[str, str]] = {}
        for subject in updated:
            for hearer, uris in self._hearers.concerned(subject).items():
                told.setdefault(hearer, {}).update(uris)
        for hearer, uris in told.items():
            _tell_updated(hearer, uris)

    def end(self, exchange: Exchange) -> None:
        """End a subscription; other exchanges are left alone."""
        listener = self._listeners.pop(exchange, None)
        if listener is not None:
            self._tasks.unlisten(exchange)
            self._hearers.remove_all(listener)
            self._metrics.subscriptions = len(self._hearers)
            if exchange.waiting is not None:
                exchange.waiting.cancel()
            body = encode_json(
                {"resultType": "complete", "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
            )
            exchange.finish(200, result(exchange.id, body))

    def end_of_others(self, is_valid: Callable[[Caller], bool]) -> None:
        """End the subscriptions of callers that may not listen any more."""
        for exchange in list(self._listeners):
            if not is_valid(exchange.head.caller):
                self.end(exchange)

    def end_of_view(self, view: View) -> None:
        """End the subscriptions at an endpoint that is there no more."""
        for exchange in list(self._listeners):
            if exchange.head.view.endpoint == view.endpoint:
                self.end(exchange)


def _uris(wanted: Any) -> tuple[str, ...]:
    """The resources of a filter, each once. Raises McpError (-32602)."""
    try:
        uris = msgspec.convert([] if wanted is None else wanted, list[str])
    except msgspec.ValidationError:
        what = "params.notifications.resourceSubscriptions must be a list of URIs"
        raise McpError(INVALID_PARAMS, f"subscriptions/listen: {what}") from None
    if len(uris) > MAX_RESOURCES:
        what = f"{len(uris)} resources; a subscription may have {MAX_RESOURCES}"
        raise McpError(INVALID_PARAMS, f"subscriptions/listen: {what}, open several")
    return tuple(dict.fromkeys(uris))


def _subject(exchange: Exchange, uri: str) -> tuple[ServerPool, Subject]:
    """The server that a resource is of. Raises McpError: there is none, or it does not tell of updates."""
    if len(uri) > MAX_URI:
        raise McpError(INVALID_PARAMS, f"the URI has {len(uri)} characters; it may have {MAX_URI}")
    pool, own = exchange.head.view.resource(uri)
    if pool.divided or not pool.watch.offers:
        what = f"server {pool.spec.id!r} does not tell of updates of its resources"
        raise McpError(METHOD_NOT_FOUND, f"{what}, so nobody can subscribe to them")
    return pool, Subject(pool.spec.id, place_of(pool, exchange.head.key), own)


def _tell_changed(hearer: Hearer, methods: Iterable[str]) -> None:
    if hearer.stream is None:
        if methods:
            hearer.changed = (hearer.changed or set()).union(methods)
        return
    for method in sorted(methods):
        _say(hearer, method)


def _tell_updated(hearer: Hearer, uris: Mapping[str, str]) -> None:
    """`uris` are those to tell of, each with the one that was asked for: that one is kept, since it is
    one of few."""
    if hearer.stream is None:
        hearer.updated = (hearer.updated or set()).union(uris.values())
        return
    for uri in uris:
        _say(hearer, UPDATED, uri)


def _tell_missed(hearer: Hearer) -> None:
    """It can hear now."""
    changed, hearer.changed = hearer.changed, None
    updated, hearer.updated = hearer.updated, None
    _tell_changed(hearer, changed or ())
    _tell_updated(hearer, {uri: uri for uri in sorted(updated or ())})


def _say(hearer: Hearer, method: str, uri: str | None = None) -> None:
    stream = hearer.stream
    if stream is None:
        return
    params: dict[str, Any] = {} if uri is None else {"uri": uri}
    if isinstance(hearer, Listener):
        params["_meta"] = {eras.META_SUBSCRIPTION: Raw(stream.id)}
    stream.event(notification(method, encode_json(params) if params else b""))
