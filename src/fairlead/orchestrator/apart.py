"""A server that each principal's calls reach with a credential of their own.

Its pool is divided. The pool itself has instances that were opened with the fleet file's `headers`: they show
the lists and are checked, scaled and shown like any server's, and get no calls. The calls of a principal go
over a pool of the principal's own, whose instances were opened with its credential; that is part of their
key, so they are nobody else's. It comes with the principal's first call, and ends when it was not used for
long, when the credential is changed or removed, and shortly before an access token expires: the next call
then begins with the new one, while calls in flight finish over the old.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import LoadBalancing, ServerSpec
from fairlead.model.launch import Launch, RemoteLaunch
from fairlead.model.status import ServerState
from fairlead.orchestrator.contracts import ContractKeeper
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.nursery import Newcomer
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.ports import Launcher, PoolListener
from fairlead.ports import CredentialSource, Driver, StoreAwayError

IDLE: Final = 600.0  # s after which a principal's instances end that nobody uses
EARLY: Final = 60.0  # s before an access token expires
LOG = structlog.get_logger("fairlead.pool")


@dataclass(frozen=True, slots=True)
class Apart:
    """What a divided pool is made with, beside its spec."""

    launcher: Launcher
    credentials: CredentialSource | None
    listener: PoolListener


class DividedPool(ServerPool):
    """See the module's head."""

    divided = True

    def __init__(
        self,
        spec: ServerSpec,
        fleet: LoadBalancing,
        apart: Apart,
        numbers: Iterator[int],
        *,
        keeper: ContractKeeper,
    ) -> None:
        super().__init__(spec, fleet, apart.launcher, apart.listener, numbers, keeper=keeper)
        self._apart = apart
        self._numbers = numbers
        self._contract_keeper = keeper
        self._owned: dict[str, PrincipalPool] = {}
        self._ending: dict[PrincipalPool, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<DividedPool {super().__repr__()} of {sorted(self._owned)}>"

    @property
    def owners(self) -> tuple[str, ...]:
        """The principals who have instances of their own."""
        return tuple(self._owned)

    def of(self, principal: str) -> ServerPool:
        """The principal's own pool; one that has just been made starts now."""
        if not self.keeper.wanted:
            return self  # which says that it does not run
        pool = self._owned.get(principal)
        if pool is None:
            pool = self._owned[principal] = PrincipalPool(self, principal, self._apart, self._numbers)
            pool.start()
        return pool

    def pick(self, key: str) -> MCPServerInstance | None:
        """None: the slow path asks whose call it is."""
        return None

    def forget(self, pool: PrincipalPool, *, at_once: bool = False) -> None:
        """No new call goes there; those in flight finish, unless it ends at once."""
        if self._owned.get(pool.owner) is pool:
            del self._owned[pool.owner]
        if pool not in self._ending:
            pool.drain()
            self._ending[pool] = self._tasks.spawn(self._end_one(pool), f"end {pool.members.key}")
        if at_once:
            pool.keeper.empty.set()

    async def _end_one(self, pool: PrincipalPool) -> None:
        await pool.keeper.empty.wait()
        await pool.close()
        del self._ending[pool]

    async def recheck(self) -> None:
        """Credentials may have changed: what was opened with another one ends at once."""
        assert self._apart.credentials is not None
        for pool in list(self._owned.values()):
            try:
                version = await self._apart.credentials.version(pool.owner, self.spec.id)
            except StoreAwayError:
                return  # then nothing can have changed
            if pool.has_asked and version != pool.version:
                self.forget(pool, at_once=True)

    def tick(self, now: float) -> None:
        super().tick(now)
        for pool in [*self._owned.values(), *self._ending]:
            pool.tick(now)
            pool.release_idle(now - IDLE)
        for pool in list(self._owned.values()):
            if pool.is_over(now):
                self.forget(pool)

    # -- what is asked of all ----------------------------------------------------------------------------

    def holds(self, key: str) -> bool:
        return super().holds(key) or any(pool.holds(key) for pool in self._owned.values())

    async def release(self, key: str) -> None:
        await super().release(key)
        for pool in list(self._owned.values()):
            await pool.release(key)

    def adjust(self, spec: ServerSpec, fleet: LoadBalancing) -> None:
        super().adjust(spec, fleet)
        for pool in self._owned.values():
            pool.adjust(spec, fleet)

    def commit(
        self, spec: ServerSpec, fleet: LoadBalancing, newcomers: Sequence[Newcomer]
    ) -> tuple[str, ...]:
        """A new version: the principals' pools end after their calls, and come anew with it."""
        moved = super().commit(spec, fleet, newcomers)
        self._forget_all()
        return moved

    def drain(self, *, state: ServerState = ServerState.STOPPED) -> None:
        super().drain(state=state)
        self._forget_all()

    async def stop(self) -> None:
        for pool in [*self._owned.values(), *self._ending]:
            self.forget(pool, at_once=True)
        ending = list(self._ending.values())
        await super().stop()
        if ending:
            await asyncio.wait(ending)

    def _forget_all(self) -> None:
        for pool in list(self._owned.values()):
            self.forget(pool)


class PrincipalPool(ServerPool):
    """The instances of one principal."""

    def __init__(self, whole: DividedPool, owner: str, apart: Apart, numbers: Iterator[int]) -> None:
        self._launching = _WithCredential(apart, owner)
        super().__init__(
            whole.spec,
            whole._fleet,
            self._launching,
            _Quiet(apart.listener),
            numbers,
            keeper=whole._contract_keeper,
        )
        self.owner = owner
        key = self.members.key
        mark = hashlib.sha256(f"{key.environment} {owner}".encode()).hexdigest()[:12]
        self.members.key = key._replace(environment=mark)
        self._used = self._loop.time()
        self._calls = 0

    @property
    def has_asked(self) -> bool:
        """For the credential, so that `version` says something."""
        return self._launching.has_asked

    @property
    def version(self) -> float | None:
        """Of the credential that its instances were opened with; None when there was none."""
        return self._launching.version

    def call_failed(self, instance: MCPServerInstance, reason: str, *, number: int, transport: bool) -> None:
        super().call_failed(instance, reason, number=number, transport=transport)
        if "HTTP 401" in reason:
            self._launching.refused()

    def is_over(self, now: float) -> bool:
        """Whether another pool should take its place, at once or when it is needed. `now` is loop time."""
        total = self.members.calls_total
        if total != self._calls or self.in_flight or self.calls_waiting:
            self._calls, self._used = total, now
        expires = self._launching.expires
        return now - self._used > IDLE or (expires is not None and time.time() > expires - EARLY)


class _WithCredential:
    """A launcher for one principal. `version` and `expires` are of what was launched with last."""

    def __init__(self, apart: Apart, owner: str) -> None:
        self.has_asked = False
        self.version: float | None = None
        self.expires: float | None = None
        self._apart = apart
        self._owner = owner
        self._tried = False

    def refused(self) -> None:
        """The server does not take the credential any more: the next instances come with a renewed one."""
        self.expires = 0.0
        self._tried = True

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        """See `ports.Launcher`."""
        source = self._apart.credentials
        if source is None:
            raise ProblemError(_NO_STORE)
        try:
            credential = await source.get(self._owner, spec.id, renew=self._tried)
        except ProblemError as refused:
            self.has_asked |= refused.problem.code == "missing-credential"
            raise
        self.has_asked, self.version, self.expires = True, credential.version, credential.expires
        self._tried = True  # another launch means that this one failed, or is over
        launch_for = await self._apart.launcher.prepare(spec)

        def launch(instance_id: str) -> tuple[Launch, Driver]:
            shared, driver = launch_for(instance_id)
            assert isinstance(shared, RemoteLaunch)  # the spec says so
            own = {name.lower() for name in credential.headers}
            kept = {name: value for name, value in shared.headers.items() if name.lower() not in own}
            return replace(shared, headers=kept | dict(credential.headers)), driver

        return launch


class _Quiet:
    """Hears for a principal's pool what concerns its calls. Its lists and states are not the server's."""

    def __init__(self, listener: PoolListener) -> None:
        self._listener = listener
        self.session_asked = listener.session_asked
        self.give_way = listener.give_way
        self.session_told = listener.session_told
        self.became_suspect = listener.became_suspect

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None: ...

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None: ...

    def state_changed(self, pool: ServerPool) -> None:
        shown = pool.shown
        LOG.info(
            "server state", server=pool.spec.id, principal=pool.owner, state=shown.now, message=shown.message
        )


_NO_STORE: Final = Problem(
    "missing-credential",
    "No credentials here",
    "this service keeps no credentials of principals",
    503,
    Fault.GATEWAY,
)
