"""The instances of one server, and who gets which call.

A `shared` server answers everybody from the instances in rotation. A `session` server holds state, so each
session takes a free instance as its own (a lease), another one is warmed behind it, and the instance ends
with its session; `scaling.maxInstances` bounds them all. The keeper sees to it that there are as many
instances as there should be; whatever changes who may get calls goes through `refresh`, which works out the
rotation anew.

A new version of the server is `prepare`d beside the running one, and `commit`ted in one synchronous step:
from then on only instances of the new version get calls, and the old ones end after their last answer.

`pick` is on the hot path: it finds an instance without waiting, or says None, and the slow path then
`acquire`s one, which may mean waiting, in turn.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from fairlead.core.autoscale import Load
from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.core.health import Health, HealthPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.core.presence import Presence
from fairlead.core.ratelimit import Gcra
from fairlead.core.retry import RetryBudget, refusal
from fairlead.kit.tasks import Tasks
from fairlead.mcp.profiles import Profile
from fairlead.model.fleet import LoadBalancing, ServerSpec, Sharing
from fairlead.model.reports import BreakerStatus, ServerBalance
from fairlead.model.status import BreakerState, ServerState, ServerStatus, Standing
from fairlead.orchestrator.catalogue import Catalogue, differing
from fairlead.orchestrator.circuits import Circuits, server_policy
from fairlead.orchestrator.contracts import ContractKeeper, ToolContracts
from fairlead.orchestrator.exclusive import Exclusive, Need
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.keeper import Keeper, first_target
from fairlead.orchestrator.list_reader import ListReader
from fairlead.orchestrator.members import Members, is_hung
from fairlead.orchestrator.next_version import NextVersion
from fairlead.orchestrator.nursery import Newcomer, Nursery
from fairlead.orchestrator.pool_events import PoolEvents
from fairlead.orchestrator.pool_reports import balance_of, breakers_of, status_of
from fairlead.orchestrator.pool_state import PoolState
from fairlead.orchestrator.ports import Launcher, PoolListener
from fairlead.orchestrator.revision import pool_key
from fairlead.orchestrator.rotation import Rotation
from fairlead.orchestrator.rules import CallRules
from fairlead.orchestrator.server_requests import ServerRequest
from fairlead.orchestrator.turns import Turns
from fairlead.orchestrator.watching import ResourceWatch
from fairlead.ports import LinkLost

SETTLE: Final = 10.0  # s after a start in which clients that list wait for this server
LOG = structlog.get_logger("fairlead.pool")


class ServerPool:
    """One server of the fleet."""

    divided = False  # each principal has instances of its own, see `apart`
    owner = ""  # the principal whose they are

    def __init__(
        self,
        spec: ServerSpec,
        fleet: LoadBalancing,
        launcher: Launcher,
        listener: PoolListener,
        numbers: Iterator[int] | None = None,
        *,
        keeper: ContractKeeper | None = None,
    ) -> None:
        """`numbers` are those of its instances, so that no id comes twice, even if it is removed and back."""
        self.spec = spec
        self.catalogue = Catalogue()
        self.contract = f"unknown of {spec.id}"  # digest of the tools: with the same one, they are the same
        self.restarts = 0
        self.calls_held = 0  # by the gateway: in flight or waiting
        self.rate: Gcra | None = None  # of requests, where it is bounded; the gateway's
        self.members = Members(pool_key(spec))
        self.breaker = Breaker(server_policy(spec))
        state = ServerState.STOPPED if spec.enabled else ServerState.DISABLED
        self.shown = PoolState(state, self._state_changed)
        self.events = PoolEvents(spec.id, state)
        self.instance_started = self.events.started
        self.circuits = Circuits(spec.id, self.breaker, self.members, self.events)
        self.rotation = Rotation(spec.strategy or fleet.strategy)
        self.turns = Turns(self)
        self.waiting = self.turns.waiting
        self.presence = Presence()
        self.contracts = ToolContracts(self, keeper or ContractKeeper(), self._state_changed)
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(self._task_failed)
        self._nursery = Nursery(launcher, self, numbers or itertools.count(1))
        self.keeper = Keeper(self, self._nursery, self._tasks)
        self.exclusive = Exclusive(self, self._nursery, self._tasks)
        self.bridges = True  # there may be clients whose calls need instances of their own kind
        self._fleet = fleet
        self._listener = listener
        self._queue = self.waiting.queue
        self._next = NextVersion(self._nursery)
        self._budget = RetryBudget()
        self._list_reader = ListReader(self, self._tasks)
        self.watch = ResourceWatch(self, self._tasks)
        self._calls_seen = 0
        self._last_call = self._loop.time()
        self._health = HealthPolicy.of(spec.health_check)
        self._rules = CallRules.of(spec)

    def __repr__(self) -> str:
        return f"<ServerPool {self.members.key} {self.state} {self.keeper} {self.members}>"

    # -- the hot path ------------------------------------------------------------------------------------

    def pick(self, key: str) -> MCPServerInstance | None:
        """An instance for a call of the session `key`, at once, or None: then `acquire` may have to wait."""
        if self._stateful:
            return self.turns.pick_own(key)
        if self._queue:
            return None  # others were here first
        return self.rotation.pick()

    def of(self, principal: str) -> ServerPool:
        """The pool whose instances a principal's calls go to."""
        return self

    def need(self, profile: Profile, *, logs: bool) -> Need | None:
        """What the instance of a call must be, by what its client can be asked; None: any in rotation."""
        return self.exclusive.need(profile, logs=logs)

    def with_room(self, instance_id: str) -> MCPServerInstance | None:
        """This instance, if it is ready and may have one more call."""
        for instance in self.members:
            if instance.id == instance_id and instance.state is InstanceState.READY and not is_hung(instance):
                return instance if instance.room > 0 and not self.exclusive.holds(instance) else None
        return None

    # -- the slow path -----------------------------------------------------------------------------------

    async def acquire(
        self,
        key: str,
        *,
        timeout: float,  # noqa: ASYNC109
        healthy: bool = False,
        need: Need | None = None,
    ) -> MCPServerInstance:
        """An instance for a call of the session `key`; waits, bounded, for its turn. Raises ProblemError.

        `healthy`: one that is not even suspect. `need` is what it must be besides.
        """
        until = self._loop.time() + timeout
        if need is not None and (need.profile or not self._stateful) and key not in self.members.leases:
            instance = await self.exclusive.acquire(key, need, timeout=timeout)
            if instance is not None:
                return instance
        instance = await self.turns.take(key, timeout=timeout, until=until, healthy=healthy)
        if need is not None and need.alone and instance.leased_to == key and key.startswith("principal:"):
            instance.alone, instance.limit = True, 1
        return instance

    def wake_up(self, now: float) -> None:
        """A server that went idle comes back, or tries to."""
        if self.keeper.target == 0 and self.keeper.wanted:
            self.keeper.target, self._last_call = 1, now
            if self.state is ServerState.IDLE:
                self.shown.set(ServerState.STARTING, "Waking", "starting for a call")
            self.keeper.wake()

    @property
    def _stateful(self) -> bool:
        return self.spec.sharing is Sharing.SESSION

    def why_not_replay(self, *, safe: bool, replays: int) -> str | None:
        """Why a call that lost its instance cannot go to another one; None when it may, and is paid for."""
        if safe and self._stateful:
            return "the server's state went with the instance"
        return refusal(safe, replays, self._budget, self._loop.time(), self.members.calls_total)

    # -- leases ------------------------------------------------------------------------------------------

    def holds(self, key: str) -> bool:
        """Whether the session has an instance of its own here."""
        return key in self.members.leases or bool(self.exclusive.owned_by(key))

    async def release(self, key: str) -> None:
        """The session has ended: its instance ends with it."""
        self.exclusive.disown(key)
        lease = self.members.leases.pop(key, None)
        if lease is not None:
            await lease.instance.stop()
            self.keeper.wake()

    def release_idle(self, before: float) -> None:
        """End the leases of principals last used before `before` (loop time) without a call in flight.

        A session's lease lives as long as its session.
        """
        for key in self.turns.unused(before):
            self._tasks.spawn(self.release(key), f"release {key}")

    # -- starting and stopping ---------------------------------------------------------------------------

    def start(self) -> None:
        """Want the server to run, one that went idle too; returns at once."""
        if self.keeper.wanted:
            self.wake_up(self._loop.time())
            return
        self.keeper.target = first_target(self.spec)
        self._last_call = self._loop.time()
        self.shown.set(ServerState.STARTING, "Starting", "starting")
        self.keeper.start()
        self._loop.call_later(SETTLE, self.shown.settled.set)

    def drain(self, *, state: ServerState = ServerState.STOPPED) -> None:
        """Want nothing any more: calls in flight finish, new ones are refused; `keeper.empty` is the end."""
        for instance in self.members:
            self.members.drain(instance)
        self.keeper.finish()
        calls = self.members.calls_in_flight
        self.shown.set(state, "Stopped", f"{state}; {calls} calls are finishing" if calls else state.value)
        self.refresh()
        self.call_all_waiting()

    async def stop(self) -> None:
        """Want nothing, and have nothing: returns when every instance of now has ended.

        Whoever starts the server meanwhile gets new ones; this stop leaves them alone.
        """
        leaving = list(self.members)
        self.drain()
        ending = self._end(leaving, [*self.keeper.give_up(), *self.exclusive.give_up()])
        await asyncio.shield(self._tasks.spawn(ending, f"stop {self.spec.id}"))  # even if nobody waits for it

    async def _end(
        self, leaving: Sequence[MCPServerInstance], given_up: Sequence[asyncio.Task[None]]
    ) -> None:
        await asyncio.gather(*given_up, return_exceptions=True)
        await asyncio.gather(*(instance.stop() for instance in leaving))
        if not self.keeper.wanted:
            self.keeper.empty.set()
            self.emptied()

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        await self.discard(list(self._next.instances))
        self.exclusive.close()
        self.watch.close()
        await self._tasks.close()

    def emptied(self) -> None:
        """Nothing was wanted, and the last instance has ended."""
        self.shown.set(self.state, "Stopped", self.state.value)

    def became_idle(self) -> None:
        """Scaled to zero."""
        self.shown.set(ServerState.IDLE, "Idle", f"idle, starts with the next call; {self._offer()}")

    def welcome(self, newcomers: Sequence[Newcomer]) -> None:
        """New instances of the present version: they get calls from now on."""
        for newcomer in newcomers:
            self.admit(newcomer.instance)
        self.bridges = self.exclusive.concerns_any
        self.take_lists(newcomers[-1].catalogue)
        self.refresh()
        self.shown.set(ServerState.READY, "Ready", self._offer())
        self._call_waiting()
        self.exclusive.look()
        self.keeper.wake()

    def admit(self, instance: MCPServerInstance) -> None:
        """It is ready, and of the present version."""
        self.members.add(instance)
        self.rule(instance)
        self.events.ready(instance)

    def rule(self, instance: MCPServerInstance) -> None:
        """What holds for it now."""
        instance.rules = self._rules
        instance.limit = 1 if instance.alone else self.spec.limits.calls_per_instance
        instance.watched = instance.watched or instance.exclusive

    def installing(self, text: str) -> None:
        """How the installation of its package goes on, for those who watch."""
        if self.state is ServerState.INSTALLING:
            self.shown.set(ServerState.INSTALLING, "Installing", text)

    def retire(self, instance_id: str) -> bool:
        """Let one instance go as soon as another one has taken its place; False when there is none such."""
        for instance in self.members.present():
            if instance.id == instance_id:
                self.keeper.retire(instance)
                return True
        return False

    # -- a new version, or new rules ---------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """It has come up once and is meant to go on: a change must not take it away for something worse."""
        going = (ServerState.READY, ServerState.IDLE, ServerState.STARTING)
        return self.keeper.wanted and self.members.last is not None and self.state in going

    def adjust(self, spec: ServerSpec, fleet: LoadBalancing) -> None:
        """A new spec that asks for no other process: in force from the next call on."""
        self.spec, self._fleet = spec, fleet
        self._health = HealthPolicy.of(spec.health_check)
        self._rules = CallRules.of(spec)
        self.rotation.use(spec.strategy or fleet.strategy)
        self.breaker.adopt(server_policy(spec))
        policy = BreakerPolicy.of(spec.circuit_breaker)
        for instance in self.members:
            instance.breaker.adopt(policy)
            self.rule(instance)
        if self.keeper.target:
            self.keeper.target = min(max(self.keeper.target, first_target(spec)), spec.scaling.max_instances)
        self._breakers_changed()
        self._call_waiting()
        self.exclusive.look()
        self.keeper.wake()

    async def prepare(self, spec: ServerSpec, gate: asyncio.Semaphore | None = None) -> list[Newcomer]:
        """As many instances of a new version as serve now, ready; nothing of them yet gets calls.

        `gate` bounds how many start at a time. Raises ProblemError when one does not come up; then none is
        left.
        """
        count = min(max(1, len(self.members.free())), spec.scaling.max_instances)
        return await self._next.prepare(spec, count, gate)

    async def discard(self, instances: Sequence[MCPServerInstance]) -> None:
        """End what was prepared."""
        await self._next.discard(instances)

    def commit(
        self, spec: ServerSpec, fleet: LoadBalancing, newcomers: Sequence[Newcomer]
    ) -> tuple[str, ...]:
        """From now on this version: the old instances end after their last answer. The sessions that move.

        Without newcomers (nothing served before) the new version is simply started.
        """
        old, moved = list(self.members), tuple(self.members.leases)
        self._next.take([newcomer.instance for newcomer in newcomers])
        self.members.key = pool_key(spec)
        self.breaker.reset(self._loop.time(), self.members.answers)
        self.keeper.forgive()
        self.adjust(spec, fleet)
        if self.keeper.wanted and not newcomers:
            self.shown.set(ServerState.STARTING, "Starting", "starting")
        self.start()  # nothing, unless somebody has stopped it
        if newcomers:
            self.keeper.target = max(1, self.keeper.target)
            self.welcome(newcomers)
        self.keeper.drain(old)
        self.exclusive.replaced()
        self.bridges = self.exclusive.concerns_any
        return moved

    def disable(self, spec: ServerSpec, fleet: LoadBalancing) -> None:
        """A spec that switches the server off: what runs of it drains."""
        self.members.key = pool_key(spec)
        self.adjust(spec, fleet)
        self.exclusive.replaced()
        self.drain(state=ServerState.DISABLED)

    # -- lists -------------------------------------------------------------------------------------------

    def catalogue_for(self, profile: Profile) -> Catalogue | None:
        """What the server offers to clients of this profile; None while nobody knows."""
        return self.exclusive.catalogue_for(profile)

    async def learn(self, profile: Profile, *, timeout: float) -> None:  # noqa: ASYNC109
        """Read what the server offers to clients of this profile; then `catalogue_for` knows."""
        await self.exclusive.learn(profile, timeout=timeout)

    def lists_differ(self, before: Catalogue, after: Catalogue) -> None:
        """Clients of one profile get other lists from now on."""
        if kinds := differing(before, after):
            self._listener.catalogue_changed(self, kinds)

    def _offer(self) -> str:
        count = len(self.catalogue.items("tools"))
        return "1 tool" if count == 1 else f"{count} tools"

    def take_lists(self, catalogue: Catalogue) -> None:
        """What was read of the server's lists just now."""
        self.show_lists(self._list_reader.complete(self.contracts.offered(), catalogue))

    def show_lists(self, offered: Catalogue) -> None:
        """What the server offers now."""
        before, self.catalogue = self.catalogue, (catalogue := self.contracts.admit(offered))
        self.contract = catalogue.contract() if catalogue.items("tools") else f"no tools of {self.spec.id}"
        kinds = differing(before, catalogue)
        if kinds:
            self.exclusive.lists.others_changed()
        if kinds or catalogue.hints != before.hints:
            self._listener.catalogue_changed(self, kinds)
        if not kinds.isdisjoint(("resources", "templates")):
            self.watch.retry()
        if self.state is ServerState.READY:
            self.shown.set(ServerState.READY, "Ready", self._offer())

    def list_changed(self, instance: MCPServerInstance, kind: str) -> None:
        if instance not in self.members or not instance.key.same_version(self.members.key):
            return  # not yet in force, or no more
        if instance.profile:
            self.exclusive.lists.changed(instance)
        elif instance.leased_to is None or instance is self.members.last:
            self.lists_changed()

    @property
    def listed(self) -> bool:
        """Whether the lists of endpoints show what it offers; calls find it in any case."""
        return self.presence.listed

    def _note_presence(self) -> None:
        """One that is stopped, or away for too long, stands in no list until it is back."""
        before = self.presence
        self.presence = before.seen(self.state, self._loop.time(), self.spec.lists.grace)
        if self.listed is not before.listed:
            kinds = frozenset(kind for kind, items in self.catalogue.lists.items() if items)
            self._listener.catalogue_changed(self, kinds)

    def _state_changed(self) -> None:
        self._note_presence()
        self.events.state(self.shown)
        self._listener.state_changed(self)

    def revalidate(self, now: float) -> None:
        """Somebody has asked for a list; `now` is loop time."""
        self._list_reader.revalidate(now)

    def lists_changed(self) -> None:
        """The lists may be other ones now: read them again."""
        self._list_reader.changed()

    # -- what befalls the instances ----------------------------------------------------------------------

    def instance_ended(self, instance: MCPServerInstance, lost: LinkLost) -> None:
        self.events.ended(instance, lost)
        if instance not in self.members:
            return  # it was still coming: whoever starts it tells
        self.members.remove(instance)
        self.refresh()
        if not lost.expected:
            self.died(instance, lost.reason, lost.detail)
        self.exclusive.ended(instance)
        self.call_all_waiting()
        self.keeper.wake()

    def died(self, instance: MCPServerInstance, reason: str, detail: str) -> None:
        """An instance is lost. All of its calls together count as one failure of the server."""
        now = self._loop.time()
        LOG.warning("instance died", instance=instance.id, reason=reason, stderr=detail[-500:])
        if not instance.key.same_version(self.members.key):
            return  # an old version on its way out
        self.restarts += 1
        since = now if instance.ready_at is None else instance.ready_at
        if instance.exclusive:
            self.exclusive.failed(since, ran_for=now - since, answers=instance.answers)
            delay = 0.0
        else:
            delay = self.keeper.failed(since, ran_for=now - since, answers=instance.answers)
        if instance.lost_calls or instance.calls_in_flight:
            self.breaker.failed(now, self.members.answers, f"{instance.id} {reason}")
            self._breakers_changed()
        if not self.keeper.wanted or instance.exclusive:
            return
        word = self.keeper.failing_reason("Died")
        text = f"{self.keeper.failing_text(reason, delay)}; starting again"
        if any(i is not instance and not is_hung(i) for i in self.members.ready()):
            self.shown.lacks(word, text)
        else:
            self.shown.set(ServerState.STARTING, word, text)

    def call_failed(self, instance: MCPServerInstance, reason: str, *, number: int, transport: bool) -> None:
        now = self._loop.time()
        self.circuits.failed(instance, number, now, reason)
        if transport and instance.health.standing is Standing.HEALTHY:
            self._observe(instance, instance.health.failed(now, self._health, full=False), reason)
        self._breakers_changed()
        if instance.exclusive:
            self.exclusive.look()

    def calls_slow(self, instance: MCPServerInstance, numbers: Sequence[int]) -> None:
        self.events.slow(instance, len(numbers), self._rules.slow_call)
        self.circuits.slow(instance, numbers, self._loop.time())
        self._breakers_changed()

    def answered(self, instance: MCPServerInstance, number: int) -> None:
        if self.circuits.answered(instance, number, self._loop.time()):
            self._breakers_changed()
        if instance.exclusive:
            self.exclusive.look()
        if self._queue:
            self._call_waiting()
        leaving = instance.state is InstanceState.DRAINING or is_hung(instance)
        if leaving and not instance.calls_in_flight:
            self.keeper.wake()

    # -- what a server says to a client ------------------------------------------------------------------

    def session_asked(self, instance: MCPServerInstance, request: ServerRequest) -> None:
        if instance.leased_to is None:
            request.refuse_unheard("its call has ended")
        else:
            self._listener.session_asked(self, instance.leased_to, request)

    def give_way(self, instance: MCPServerInstance) -> None:
        """Its call waits for a client that does not come, and others wait for the instance."""
        self._listener.give_way(self, instance)

    def session_told(self, instance: MCPServerInstance, method: str, params: bytes) -> None:
        self._listener.session_told(self, instance.leased_to, method, params)

    def roots_changed(self, key: str) -> None:
        """The roots of this session are others now: its own instances are told."""
        for instance in self.members:
            if instance.leased_to == key or instance in self.exclusive.owned_by(key):
                instance.roots_changed()

    def resource_updated(self, instance: MCPServerInstance, uri: str) -> None:
        self.watch.heard(instance, uri)

    def tell_updated(self, uri: str, key: str | None) -> None:
        """A resource has changed, or may have; `key` is whose own instance it is about."""
        self._listener.resource_updated(self, uri, key)

    def _breakers_changed(self) -> None:
        """Say what the breakers do, and work out who gets calls."""
        if self.circuits.take_note(self.shown):
            self.call_all_waiting()
        self.refresh()

    # -- health ------------------------------------------------------------------------------------------

    def checked(self, instance: MCPServerInstance, *, passed: bool, reason: str, full: bool) -> None:
        """What a health check has found."""
        health = instance.health
        after = (health.passed if passed else health.failed)(self._loop.time(), self._health, full=full)
        self._observe(instance, after, reason)

    def answered_lately(self, instance: MCPServerInstance, now: float) -> None:
        """It has answered calls since the last look."""
        self._observe(instance, instance.health.answered(now, self._health), "it answers")

    def _observe(self, instance: MCPServerInstance, health: Health, reason: str) -> None:
        before, instance.health = instance.health.standing, health
        if health.standing is before:
            return
        self.events.health(instance, reason)
        self.refresh()
        if is_hung(instance):
            instance.hand_over()
        elif health.standing is Standing.SUSPECT:
            self._listener.became_suspect(self, instance)
        self._call_waiting()
        self.keeper.wake()

    # -- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: deadlines, breakers, samples. `now` is loop time."""
        for instance in self.known_instances():
            instance.expire(now)
        if self.circuits.advance(now):
            self._breakers_changed()
        self._note_presence()
        self._list_reader.tick(now)
        self.members.sample(now, self.spec.resources.cpu)
        self._call_waiting()  # room came without an answer: a call was cancelled, or never sent
        self.exclusive.tick(now)
        if self.members.leaving():
            self.keeper.wake()

    def load(self, now: float) -> Load:
        """What scaling decides by."""
        free = [i for i in self.members.free() if not is_hung(i)]
        total = self.members.calls_total
        if total != self._calls_seen or self.members.calls_in_flight or self._queue or len(self.exclusive):
            self._calls_seen, self._last_call = total, now
        busy = [i.cpu_cores / self.spec.resources.cpu for i in free if i.cpu_cores is not None]
        return Load(
            instances=len(free) + self.keeper.coming(),
            in_flight=sum(i.calls_in_flight for i in free),
            waiting=len(self.waiting),
            longest_wait=self.waiting.longest(now),
            cpu=sum(busy) / len(busy) if busy else None,
            leased=len(self.members.leases),
            last_call=self._last_call,
            coming=self.keeper.coming(),
        )

    def scale_to(self, count: int, reason: str) -> None:
        """Aim at so many instances that belong to nobody."""
        keeper = self.keeper
        if count != keeper.target and keeper.wanted:
            self.events.scaled(keeper.target, count, reason)
            keeper.target = count
            keeper.wake()

    # -- who gets calls ----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Something changed: work out the rotation anew."""
        panicked = self.rotation.panicking
        self.rotation.refresh(
            self.members.staying() if self.keeper.wanted else (),
            self.spec.limits,
            self.breaker,
            panic=self._fleet.panic_threshold / 100,
        )
        if self.rotation.panicking and not panicked:
            LOG.warning("too few instances are trusted, so all get calls", server=self.spec.id)
        self._watch()
        self.watch.look()

    def _watch(self) -> None:
        """Ask for word of each answer while anything depends on it."""
        every = bool(self._queue) or self.breaker.state is not BreakerState.CLOSED
        for instance in self.members:
            tried = instance.breaker.state is not BreakerState.CLOSED
            leaving = instance.state is InstanceState.DRAINING or is_hung(instance)
            instance.watched = every or tried or leaving or instance.exclusive

    def _call_waiting(self) -> None:
        self.turns.call()
        if not self._queue:
            self._watch()

    def call_all_waiting(self) -> None:
        """Let everybody who waits look again whether there is hope."""
        self.turns.call_all()
        self.exclusive.reconsider()

    def gives_calls_to(self, instance: MCPServerInstance) -> bool:
        own = instance.exclusive or instance.leased_to is not None
        return instance in self.rotation or (own and not is_hung(instance))

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)

    # -- being looked at ---------------------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        return self.shown.now

    @property
    def settled(self) -> asyncio.Event:
        """It has shown its lists once, or cannot."""
        return self.shown.settled

    @property
    def instances(self) -> tuple[MCPServerInstance, ...]:
        """Those that have been ready, whatever they do now."""
        return tuple(self.members)

    def known_instances(self) -> tuple[MCPServerInstance, ...]:
        """All that there are, those that are still coming included."""
        return (*self.members, *self._nursery.coming, *self._next.instances)

    @property
    def leases(self) -> tuple[str, ...]:
        """The sessions that have an instance of their own."""
        return tuple(self.members.leases)

    @property
    def in_flight(self) -> int:
        return self.members.in_flight

    @property
    def calls_waiting(self) -> int:
        return len(self.waiting) + len(self.exclusive)

    @property
    def weight(self) -> float:
        return self.spec.weight

    @property
    def pressure(self) -> float:
        return self.members.pressure

    def status(self) -> ServerStatus:
        return status_of(self)

    def balance(self) -> ServerBalance:
        return balance_of(self)

    def breakers(self) -> list[BreakerStatus]:
        return breakers_of(self, self._loop.time())

    def reset_breaker(self, breaker_id: str) -> BreakerStatus | None:
        """Close a breaker now, the server's or an instance's; None when there is none with this id here."""
        if not self.circuits.reset(breaker_id, self._loop.time()):
            return None
        self._breakers_changed()
        return next(status for status in self.breakers() if status.id == breaker_id)
