"""Calls on their way to a server: which server, which instance, and what when that fails.

At once where an instance is free, else from a task that waits for one. A call whose instance is lost goes to
another one where that does no harm.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import UNSET, Raw

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.eras import Era, Meta
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.log_levels import more_verbose
from fairlead.mcp.messages import decode_members, encode_json, join_members
from fairlead.mcp.param_headers import check_headers, headers_for
from fairlead.model.errors import ProblemError
from fairlead.orchestrator.gateway.bridge import caller_of
from fairlead.orchestrator.gateway.params import mirrored_name, text_member
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.metrics import Outcome
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.replies import Failure, FailureKind

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.gateway import Gateway


class Forwarder:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def forward(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        """A request that a server must answer. Raises McpError, ProblemError."""
        gateway = self._gateway
        exchange.meta, exchange.progress_token = meta, meta.progress_token
        exchange.exposed = mirrored_name(exchange.method, members) or ""
        pool, name, safe = self._target(exchange, members)
        pool = pool.of(exchange.head.principal)
        comes_back = exchange.head.era is Era.MODERN and "requestState" in members
        if comes_back and gateway.bridge.take_up(exchange, members, caller_of(exchange)):
            return
        if (last := pool.members.last) is not None and last.era is Era.LEGACY:
            members.pop("inputResponses", None)  # of a call that was not parked
        exchange.need = pool.need(exchange.profile, logs=exchange.log_level is not None)
        gateway.require_room(pool, exchange.head.account)
        gateway.enter_call(exchange, gateway.metrics.calls(pool.spec.id, exchange.method), pool, safe=safe)
        if exchange.method == "tools/call":
            members.pop("task", None)  # of 2025-11-25: who does not offer it must not heed it
        exchange.params, exchange.name = join_members(dict(members)), name
        exchange.progress_token = meta.progress_token
        kept = exchange.method == "resources/read" and not pool.owner
        if not kept or not gateway.reads.answer(pool, name, exchange, members):
            self.send(exchange, pool)

    def send(self, exchange: Exchange, pool: ServerPool) -> None:
        """Send a call to an instance, now or as soon as there is one."""
        instance = self._preferred(exchange, pool)
        if instance is None and exchange.need is None:
            instance = pool.pick(exchange.head.key)
        if instance is not None and not instance.overloaded:
            exchange.send(instance, pool)
        else:
            self._gateway.wait(exchange, self._send_later(exchange, pool))

    def _preferred(self, exchange: Exchange, pool: ServerPool) -> MCPServerInstance | None:
        """The instance that began the call in an earlier round: it may know what others do not."""
        preferred, exchange.prefers = exchange.prefers, None
        return None if preferred is None else pool.with_room(preferred)

    def send_round(self, exchange: Exchange, params: bytes) -> None:
        """Send the next round of a call that has not ended."""
        pool = exchange.pool
        if exchange.ended or pool is None:
            return
        exchange.params = params
        exchange.started = monotonic()  # each round has the time of a call, however long a person thought
        exchange.prefers = exchange.instance.id if exchange.instance is not None else None
        self.send(exchange, pool)

    async def _send_later(self, exchange: Exchange, pool: ServerPool, *, healthy: bool = False) -> None:
        """Wait for an instance, then send; what fails is told to the client."""
        try:
            instance = await self._acquire(exchange, pool, healthy=healthy)
            while instance.state is not InstanceState.READY:  # it ended while it was told a level
                instance = await self._acquire(exchange, pool, healthy=healthy)
        except ProblemError as refused:
            if not exchange.ended and not exchange.attempts():
                self._gateway.leave(exchange, Outcome.REFUSED)
                exchange.fail_with(refused.problem)
            return
        except McpError as withheld:
            if not exchange.ended and not exchange.attempts():
                self._gateway.leave(exchange, Outcome.REFUSED)
                exchange.fail(withheld)
            return
        session = exchange.head.session
        if session is not None and session.ended:  # it ended while we waited: its new lease goes, too
            await pool.release(session.key)
        if not exchange.ended:
            exchange.send(instance, pool)
            instance.questions.deliver_early()

    async def _acquire(self, exchange: Exchange, pool: ServerPool, *, healthy: bool) -> MCPServerInstance:
        """An instance that may have the call, and was told of the level. Raises ProblemError, McpError."""
        left = exchange.started + pool.spec.timeouts.call - monotonic()
        instance = await pool.acquire(
            exchange.head.key, timeout=max(0.0, left), healthy=healthy, need=exchange.need
        )
        instance.require_ear()
        if exchange.method == "tools/call":  # its lists may have come only now
            withheld = pool.contracts.refusal(exchange.name, instance.profile.key)
            if withheld is not None:
                raise withheld
        if instance.era is Era.LEGACY:
            await self._set_level(exchange, instance)
        return instance

    async def _set_level(self, exchange: Exchange, instance: MCPServerInstance) -> None:
        """Have a legacy server say what the client wants to hear.

        An instance that serves many is told of the most that anybody wants; each client then hears its own
        part.
        """
        level, need = exchange.log_level, exchange.need
        if level is None or level == instance.log_level or not instance.supports("logging"):
            return
        alone = need is not None and need.alone
        if not alone and not more_verbose(level, instance.log_level):
            return
        answer = instance.set_log_level(level)
        if not alone:  # an instance of its own must not look free meanwhile, and its pipe keeps the order
            await asyncio.wait((answer,))

    # -- when an instance fails --------------------------------------------------------------------------

    def call_failed(self, exchange: Exchange, failure: Failure) -> None:
        """No attempt of a call is left: it is sent to another instance, or its client is told why not."""
        pool = exchange.pool
        if pool is None or failure.kind is FailureKind.TIMED_OUT or self._gateway.closing:
            exchange.give_up(failure)
            return
        safe = exchange.safe or failure.untouched
        why = pool.why_not_replay(safe=safe, replays=exchange.replays)
        if why is not None:
            self._gateway.metrics.not_replayed(pool.spec.id)
            exchange.give_up(failure, why)
            return
        self._gateway.metrics.replayed(pool.spec.id)
        exchange.replays += 1
        exchange.earlier = ()
        if exchange.instance is not None and exchange.instance.state is InstanceState.READY:
            # It lives and could not take the call (HTTP 502, say): one that is known to be well is asked.
            self._gateway.wait(exchange, self._send_later(exchange, pool, healthy=True))
        else:
            self.send(exchange, pool)

    def call_stuck(self, exchange: Exchange) -> None:
        """The instance that has a call looks hung. Where that is safe, a healthy one is asked, too.

        Once at most: what takes long there for a good reason takes long elsewhere.
        """
        pool = exchange.pool
        if pool is None or exchange.earlier or self._gateway.closing:
            return
        if pool.why_not_replay(safe=exchange.safe, replays=exchange.replays) is None:
            self._gateway.metrics.replayed(pool.spec.id)
            exchange.replays += 1
            exchange.earlier = tuple(exchange.attempts())
            self._gateway.wait(exchange, self._send_later(exchange, pool, healthy=True))

    def _target(self, exchange: Exchange, members: dict[str, Raw]) -> tuple[ServerPool, str, bool]:
        """Which server a request is for, its name there, whether it does no harm when it happens twice.

        The names in `members` are put back to the server's own.
        """
        view, method = self._gateway.view_for(exchange), exchange.method
        if method == "completion/complete":
            return *self._completion_target(view, members), True
        if method == "resources/read":
            pool, uri = view.resource(text_member(members, "uri"))
            members["uri"] = Raw(encode_json(uri))
            return pool, uri, True
        name = text_member(members, "name")
        route = view.route(method, encode_json(name))
        if route is None:
            if method == "tools/call" and (withheld := view.refusal(name)) is not None:
                raise withheld
            if not view.merged and _may(view, method, name):  # the list may be behind: let it decide
                return view.pools[view.endpoint], name, method != "tools/call"
            what = "tool" if method == "tools/call" else "prompt"
            raise McpError(INVALID_PARAMS, f"Unknown {what}: {name[:200]}")
        if route.mirrored:
            arguments = members.get("arguments")
            head = exchange.head
            if head.era is Era.MODERN and head.routing.name == name:  # else the call was wrapped in another
                check_headers(route.mirrored, arguments, head.parameters)
            exchange.parameters = headers_for(route.mirrored, arguments)
        members["name"] = Raw(route.json_name)
        return route.pool, route.name, route.safe

    def _completion_target(self, view: View, members: dict[str, Raw]) -> tuple[ServerPool, str]:
        reference = decode_members(members.get("ref", UNSET))
        if "uri" in reference:
            pool, uri = view.resource(text_member(reference, "uri"))
            reference["uri"] = Raw(encode_json(uri))
            reference.pop("name", None)  # a prompt's, which nobody has looked up
        else:
            route = view.prompts.get(encode_json(text_member(reference, "name")))
            if route is None:
                raise McpError(INVALID_PARAMS, "completion/complete: unknown prompt in params.ref")
            pool, reference["name"] = route.pool, Raw(route.json_name)
        members["ref"] = Raw(join_members(dict(reference)))
        return pool, ""


def _may(view: View, method: str, name: str) -> bool:
    """Whether a single server's tool or prompt may be asked for."""
    exposure, server = view.exposure, view.endpoint
    return exposure.may_call(server, name) if method == "tools/call" else exposure.reads(server)
