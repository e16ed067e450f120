"""One request that REST routes to a server: asked, and asked again where that is safe.

As in the fast lane, an attempt whose instance is lost is followed by another one, and one whose instance
looks hung gets company: a healthy instance is asked as well, once, and the first answer wins.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Raw

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import encode_json
from fairlead.mcp.param_headers import Pairs, headers_for
from fairlead.model.errors import ProblemError
from fairlead.model.request import RoutedRequest
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.replies import CallLostError, FutureReply

LATE: Final = 2.0  # s by which the instance's own deadline comes after the request's


class _GivenUpError(Exception):
    """An attempt is lost and is not repeated; `error` says why."""

    def __init__(self, error: McpError) -> None:
        super().__init__(error.message)
        self.error = error


class RoutedCall:
    """Of one request. `timeout`, in seconds, bounds all attempts together; the caller enforces it."""

    def __init__(
        self, pool: ServerPool, request: RoutedRequest, metrics: MetricsCollector, timeout: float
    ) -> None:
        self._pool = pool
        self._request = request
        self._metrics = metrics
        self._timeout = timeout
        self._safe = pool.catalogue.is_safe(request.method, request.params.get("name"))
        self._parameters = _parameters(pool, request)
        self._replays = 0
        self._stuck = asyncio.Event()
        self.instance = ""  # that was asked last
        self._asking: list[tuple[MCPServerInstance, int]] = []  # who has an attempt now, and its number

    async def result(self) -> bytes:
        """The raw result. Raises McpError, ProblemError."""
        first = asyncio.ensure_future(self._ask(healthy=False))
        stuck = asyncio.ensure_future(self._stuck.wait())
        tasks: list[asyncio.Future[bytes]] = [first]
        try:
            await asyncio.wait((first, stuck), return_when=asyncio.FIRST_COMPLETED)
            if not first.done() and self._why_not_replay() is None:
                self._count_replay()
                tasks.append(asyncio.ensure_future(self._ask(healthy=True)))
            return await _first_answer(tasks)
        except asyncio.CancelledError:
            for instance, number in self._asking:  # time is up: that counts as it does in the fast lane
                self._pool.call_failed(instance, "did not answer in time", number=number, transport=False)
            raise
        finally:
            stuck.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stuck, *tasks, return_exceptions=True)

    async def _ask(self, *, healthy: bool) -> bytes:
        """Ask one instance after the other, until one answers or no other may be asked."""
        while True:
            key = f"principal:{self._request.principal}"
            instance = await self._pool.acquire(key, timeout=self._timeout, healthy=healthy)
            instance.require_ear()
            if self._request.method == "tools/call":
                self._pool.contracts.require(self._request.params.get("name"), instance.profile.key)
            try:
                return await self._attempt(instance)
            except CallLostError as lost:
                why = self._why_not_replay(untouched=lost.failure.untouched)
                if why is not None:
                    self._metrics.not_replayed(self._pool.spec.id)
                    raise _GivenUpError(lost.failure.as_error(why)) from None
                self._count_replay()
                healthy = instance.state is InstanceState.READY  # it lives on: ask one that is well

    async def _attempt(self, instance: MCPServerInstance) -> bytes:
        self.instance = instance.id
        asking = (instance, instance.next_token())
        self._asking.append(asking)
        try:
            return await instance.call(
                self._request.method,
                self._request.params,
                timeout=self._timeout + LATE,
                reply=FutureReply(on_stuck=self._stuck.set),
                parameters=self._parameters,
            )
        finally:
            self._asking.remove(asking)

    def _why_not_replay(self, *, untouched: bool = False) -> str | None:
        return self._pool.why_not_replay(safe=self._safe or untouched, replays=self._replays)

    def _count_replay(self) -> None:
        self._replays += 1
        self._metrics.replayed(self._pool.spec.id)


def _parameters(pool: ServerPool, request: RoutedRequest) -> Pairs:
    """The arguments that headers repeat."""
    mirrored = pool.catalogue.mirrored(request.params.get("name"))
    if request.method != "tools/call" or not mirrored:
        return ()
    return headers_for(mirrored, Raw(encode_json(request.params.get("arguments"))))


async def _first_answer(tasks: list[asyncio.Future[bytes]]) -> bytes:
    """What is answered first, an error of the server too; failures count only when nothing else is left."""
    failed: McpError | ProblemError | None = None
    for task in asyncio.as_completed(tasks):
        try:
            return await task
        except _GivenUpError as given_up:
            failed = given_up.error
        except ProblemError as refused:
            failed = failed or refused
    assert failed is not None
    raise failed
