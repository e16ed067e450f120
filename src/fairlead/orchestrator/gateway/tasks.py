"""Tasks (the extension `io.modelcontextprotocol/tasks`): a call whose result is fetched later.

A server of the modern era may answer a call with a task, where the client says that it takes one. The client
then asks for it with `tasks/get`, answers its questions with `tasks/update`, or gives it up with
`tasks/cancel`. Over stdio a task lives in the process that made it, so that these must reach the very same
instance; behind a URL any connection will do. Clients get ids of ours, which say where the task is and are
good for their own principal alone.
"""

from __future__ import annotations

import secrets
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from fairlead.core.lifecycle import ENDED
from fairlead.mcp import eras
from fairlead.mcp.eras import Meta
from fairlead.mcp.errors import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY, McpError
from fairlead.mcp.messages import decode_any, decode_members, encode_json, join_members, notification
from fairlead.mcp.rewrite import wrap_uris
from fairlead.mcp.sealing import Sealer
from fairlead.mcp.task_ids import TaskHandle, open_task, seal_task
from fairlead.orchestrator.gateway.extensions import extensions_of
from fairlead.orchestrator.gateway.params import text_member
from fairlead.orchestrator.instance import MCPServerInstance

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.gateway import Gateway
    from fairlead.orchestrator.pool import ServerPool

METHODS: Final = ("tasks/get", "tasks/update", "tasks/cancel")
NOTIFICATION: Final = "notifications/tasks"
MAX_LISTENED: Final = 256  # tasks of one `subscriptions/listen`
_OVER: Final = (b'"completed"', b'"failed"', b'"cancelled"')
_SWEEP: Final = 1024  # tasks of an instance
_LONGEST: Final = 3600.0  # s for which an instance is kept for a task that says nothing of its time


class TaskRelay:
    """Of one gateway."""

    def __init__(self, gateway: Gateway, sealer: Sealer) -> None:
        self._gateway = gateway
        self._sealer = sealer
        self._node = secrets.token_hex(8)  # this start of this gateway
        self._ears: dict[Exchange, list[TaskEar]] = {}

    def __repr__(self) -> str:
        return f"<TaskRelay listening={len(self._ears)}>"

    # -- requests ----------------------------------------------------------------------------------------

    def request(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """`tasks/get`, `tasks/update` or `tasks/cancel`. Raises McpError, ProblemError."""
        gateway, method = self._gateway, exchange.method
        self._require_extension(exchange, meta, method)
        exchange.meta, exchange.exposed = meta, text_member(members, "taskId")
        pool, instance, handle = self._find(exchange, exchange.exposed)
        members["taskId"] = Raw(encode_json(handle.task))
        gateway.require_room(pool, exchange.head.account)
        if instance is not None:
            instance.require_ear()
        safe = method == "tasks/get" and instance is None
        gateway.enter_call(exchange, gateway.metrics.calls(pool.spec.id, method), pool, safe=safe)
        exchange.params, exchange.name = join_members(dict(members)), handle.task
        exchange.progress_token = meta.progress_token
        if instance is not None:
            exchange.send(instance, pool)
        else:
            gateway.forwarder.send(exchange, pool)

    def _require_extension(self, exchange: Exchange, meta: Meta, what: str) -> None:
        if eras.TASKS not in extensions_of(exchange.head.view, exchange.head.era):
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {what}; no server here has tasks")
        if not meta.tasks:
            needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {eras.TASKS: {}}}}
            raise McpError(MISSING_CLIENT_CAPABILITY, "Missing required client capability", needed)

    def _find(
        self, exchange: Exchange, task_id: str
    ) -> tuple[ServerPool, MCPServerInstance | None, TaskHandle]:
        """Where a task is; the instance is None where any will do. Raises McpError (-32602)."""
        head = exchange.head
        handle = open_task(self._sealer, task_id, head.principal)
        pool = None if handle is None else head.view.pools.get(handle.server)
        if handle is None or pool is None:
            raise McpError(INVALID_PARAMS, "Task not found")
        pool = pool.of(head.principal)
        if not handle.instance:
            return pool, None, handle
        here = pool.members if handle.node == self._node else ()
        for instance in here:
            if instance.id == handle.instance and instance.state not in ENDED:
                return pool, instance, handle
        raise McpError(INVALID_PARAMS, "Task not found: the process that ran it has ended")

    # -- results -----------------------------------------------------------------------------------------

    def relay(self, exchange: Exchange, raw: bytes) -> bytes:
        """A result with the ids of tasks as the client knows them."""
        if exchange.method not in (*METHODS, "tools/call"):
            return raw  # it only has a member of that name
        try:
            members: dict[str, Raw | bytes] = dict(decode_members(raw))
            created = bytes(members.get("resultType", b"")) == b'"task"'
            if exchange.method == "tools/call":
                return self._created(exchange, members) if created else raw
            return self._told(exchange, members)
        except McpError:  # the server's slip: its client may make of it what it can
            return raw

    def _created(self, exchange: Exchange, members: dict[str, Raw | bytes]) -> bytes:
        instance, pool = exchange.instance, exchange.pool
        assert instance is not None  # it has just answered
        assert pool is not None
        task = text_member(members, "taskId")  # type: ignore[arg-type] # still Raw here
        anywhere = instance.remote
        if not anywhere:
            if not len(instance.tasks) % _SWEEP:
                instance.has_tasks(monotonic())  # those that are over go: not everybody fetches a result
            instance.tasks[task] = monotonic() + _seconds_to_live(members)
        handle = TaskHandle(
            principal=exchange.head.principal,
            server=pool.spec.id,
            node="" if anywhere else self._node,
            instance="" if anywhere else instance.id,
            task=task,
        )
        members["taskId"] = encode_json(seal_task(self._sealer, handle))
        return join_members(members)

    def _told(self, exchange: Exchange, members: dict[str, Raw | bytes]) -> bytes:
        if exchange.instance is not None and bytes(members.get("status", b"")) in _OVER:
            exchange.instance.tasks.pop(exchange.name, None)
        return _as_known(members, exchange.exposed, exchange.server)

    # -- notifications -----------------------------------------------------------------------------------

    def listen(self, exchange: Exchange, wanted: object, meta: Meta) -> list[str]:
        """Those of these tasks that a client can be told of, from `open` on; by the ids as it knows them.

        Raises McpError: the client does not take tasks, or `wanted` is no list of ids.
        """
        if not isinstance(wanted, list) or not all(isinstance(task_id, str) for task_id in wanted):
            raise McpError(INVALID_PARAMS, "subscriptions/listen: taskIds must be a list of strings")
        self._require_extension(exchange, meta, "subscriptions/listen with taskIds")
        ears: dict[MCPServerInstance, TaskEar] = {}
        for task_id in wanted[:MAX_LISTENED]:
            try:
                pool, instance, handle = self._find(exchange, task_id)
            except McpError:
                continue
            instance = instance or next(iter(pool.members.ready()), None)
            if instance is not None:
                server = pool.spec.id if exchange.head.view.merged else None
                ears.setdefault(instance, TaskEar(exchange, instance, server)).known[handle.task] = task_id
        self._ears[exchange] = list(ears.values())
        return [task_id for ear in ears.values() for task_id in ear.known.values()]

    def open(self, exchange: Exchange) -> None:
        """The client has been told which tasks it will hear of."""
        for ear in self._ears.get(exchange, ()):
            ear.open()

    def unlisten(self, exchange: Exchange) -> None:
        """The client hears no more."""
        for ear in self._ears.pop(exchange, ()):
            ear.close()


class TaskEar:
    """Hears of the tasks of one instance, for one client."""

    def __init__(self, exchange: Exchange, instance: MCPServerInstance, server: str | None) -> None:
        self.known: dict[str, str] = {}  # the server's id -> the client's
        self._exchange = exchange
        self._instance = instance
        self._server = server  # whose URIs must be wrapped
        self._number = 0

    def __repr__(self) -> str:
        return f"<TaskEar {self._instance.id} tasks={len(self.known)}>"

    def open(self) -> None:
        self._number = self._instance.listen({"taskIds": list(self.known)}, self)

    def close(self) -> None:
        self._instance.stop_listening(self._number)

    def acknowledged(self, honoured: dict[str, Any]) -> None:
        pass  # the client may ask for its tasks at any time, too

    def ended(self, error: McpError | None) -> None:
        pass  # as above

    def told(self, method: str, members: dict[str, Raw]) -> None:
        """A notification of the server on this subscription."""
        try:
            known = self.known.get(text_member(members, "taskId")) if method == NOTIFICATION else None
        except McpError:  # it does not say of which
            return
        if known is None:
            return
        mine: dict[str, Raw | bytes] = dict(members)
        mine["_meta"] = encode_json({eras.META_SUBSCRIPTION: Raw(self._exchange.id)})
        self._exchange.event(notification(method, _as_known(mine, known, self._server)))


def _as_known(members: dict[str, Raw | bytes], task_id: str, server: str | None) -> bytes:
    """A task as its client knows it; `server` is whose URIs must be wrapped."""
    if "taskId" in members:
        members["taskId"] = encode_json(task_id)
    if server is not None and "result" in members:
        members["result"] = wrap_uris("tools/call", bytes(members["result"]), server)
    return join_members(members)


def _seconds_to_live(members: dict[str, Raw | bytes]) -> float:
    ttl = decode_any(members.get("ttlMs", b"null"))
    return min(ttl / 1000, _LONGEST) if type(ttl) in {int, float} else _LONGEST
