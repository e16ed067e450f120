"""Instances that serve the clients of one profile, where need be one call at a time.

A legacy server is told in `initialize` what its client can be asked, and over one pipe its requests do not
say which call they are about. So a call whose client can be asked something gets an instance that was told
so, and over stdio no other call goes there meanwhile: there is no more to such a lease than the call in
flight.

Who gets which instance, who waits, what starts and what ends is decided by `fairlead.core.leasing`, anew
whenever something happened (`look`); here it is carried out.

The instances are members of the pool like any other (deadlines, health, breakers, drains), but not in its
rotation. They count within `scaling.maxInstances`: the keeper has the others make room for them. Those of a
`sharing: session` server become the lease of the session that they were started for.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.leasing import Claim, Coming, Place, decide, suits
from fairlead.core.lifecycle import InstanceState
from fairlead.core.restart import RestartState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.eras import Era
from fairlead.mcp.profiles import NOBODY, ROOTS, Profile
from fairlead.model.errors import Problem, ProblemError
from fairlead.model.fleet import Sharing
from fairlead.model.status import BreakerState, Standing
from fairlead.orchestrator.catalogue import Catalogue
from fairlead.orchestrator.hope import require_hope, require_place, unavailable
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey
from fairlead.orchestrator.keeper import BLOCKING, HOLD, MAX_STARTS, MOST_OF_ALL, internal_problem
from fairlead.orchestrator.members import is_hung
from fairlead.orchestrator.nursery import Nursery
from fairlead.orchestrator.profile_lists import ProfileLists

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

PATIENCE: Final = 5.0  # s that a call waits for its client though others wait and nothing is left
SHARED_DEFAULT: Final = ("sampling", "elicitation")
SESSION_DEFAULT: Final = (*SHARED_DEFAULT, "roots")
LOG = structlog.get_logger("fairlead.pool")


@dataclass(frozen=True, slots=True)
class Need:
    """What a call's instance must be: told of this profile, and without other calls meanwhile."""

    profile: Profile
    alone: bool
    logs: bool = False  # its client wants to hear the server's log messages


@dataclass(slots=True)
class _Use:
    """Of an exclusive instance. `used` is loop time, s."""

    owner: str
    used: float
    held: int = 0  # calls that were given it and have not yet been sent


class _Turn:
    """A call that waits. What it gets is an instance, or None: any one will do, now that more is known."""

    __slots__ = ("claim", "future", "key", "need", "until")

    def __init__(self, key: str, need: Need, until: float) -> None:
        self.key = key  # empty: whoever only wants to see what there is
        self.need = need
        self.until = until  # loop time
        self.claim: Claim | None = None  # once the server is known
        self.future: asyncio.Future[MCPServerInstance | None] = asyncio.get_running_loop().create_future()
        self.future.add_done_callback(lambda future: future.cancelled() or future.exception())


class Exclusive:
    """Of one pool."""

    def __init__(self, pool: ServerPool, nursery: Nursery, tasks: Tasks) -> None:
        self.lists = ProfileLists(pool, tasks)
        self._pool = pool
        self._nursery = nursery
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._uses: dict[MCPServerInstance, _Use] = {}  # all exclusive ones that have not ended
        self._coming: dict[asyncio.Task[None], tuple[PoolKey, Coming]] = {}
        self._queue: list[_Turn] = []  # who waits, in the order in which they came
        self._short = 0  # turns for which there is no place yet
        self._learning: dict[str, asyncio.Task[None]] = {}
        self._restart = RestartState()
        self._not_before = 0.0  # loop time of the next start
        self._why: Problem | None = None  # the last start failed
        self._timer: asyncio.TimerHandle | None = None
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    def __repr__(self) -> str:
        return f"<Exclusive {list(self._uses)} coming={len(self._coming)} waiting={len(self)}>"

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    # -- who needs one -----------------------------------------------------------------------------------

    @property
    def _one_pipe(self) -> bool:
        """What the server says does not tell to which call it belongs."""
        spec = self._pool.spec
        return spec.url is None or spec.transport == "sse"

    @property
    def _stateful(self) -> bool:
        return self._pool.spec.sharing is Sharing.SESSION

    @property
    def _askable(self) -> tuple[str, ...]:
        """What a server of the legacy era may ask clients."""
        asked = self._pool.spec.client_requests
        if asked is not None:
            return tuple(request.value for request in asked)
        return SESSION_DEFAULT if self._stateful else SHARED_DEFAULT

    @property
    def _last(self) -> MCPServerInstance | None:
        """Who shows what the present version is like; None while nobody knows."""
        last = self._pool.members.last
        return last if last is not None and self._is_present(last.key) else None

    @property
    def concerns_any(self) -> bool:
        """Whether there are clients whose calls need an instance of their own kind."""
        last = self._last
        if last is None:
            return True  # nobody knows
        return (last.era is Era.LEGACY and bool(self._askable)) or self._logs_apart

    @property
    def _logs_apart(self) -> bool:
        last = self._last
        return self._one_pipe and (last is None or last.supports("logging"))

    def need(self, profile: Profile, *, logs: bool) -> Need | None:
        """What the instance of a call must be; None: any one."""
        told = self._told(profile)
        logs = logs and self._logs_apart
        return Need(told, self._one_pipe, logs) if told or logs else None

    def _told(self, profile: Profile) -> Profile:
        """What the server is told of a client."""
        last = self._last
        modern = last is not None and last.era is Era.MODERN  # it is told with each request
        return NOBODY if modern else profile.only(self._askable)

    # -- getting one -------------------------------------------------------------------------------------

    async def acquire(
        self,
        key: str,
        need: Need,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> MCPServerInstance | None:
        """An instance for a call of the session `key`, in turn; None: any one will do.

        The call must be sent at once, before anything else can happen. Raises ProblemError.
        """
        until = self._loop.time() + timeout
        turn = _Turn(key, need, until)
        self._queue.append(turn)
        while True:
            try:
                instance = await self._wait(turn)
            except TimeoutError:
                what = f"had no instance for this client within {timeout:g} s"
                raise unavailable(self._pool, "not-ready", what, retry=1.0) from None
            if instance is None or instance.state is InstanceState.READY:
                return instance
            turn = _Turn(key, need, until)  # it ended in this very moment
            self._queue.insert(0, turn)

    async def _wait(self, turn: _Turn) -> MCPServerInstance | None:
        now = self._loop.time()
        try:
            self._pool.wake_up(now)
            self.look()
            if not turn.future.done():
                self._require_hope(turn, now)
                require_place(self._pool, len(self) - 1)
            async with asyncio.timeout_at(turn.until):
                return await turn.future
        except BaseException:  # whatever ends the wait, the turn must not be lost
            if turn in self._queue:
                self._queue.remove(turn)
            self._loop.call_soon(self.look)
            raise
        finally:
            self._give_back(turn)

    def _give_back(self, turn: _Turn) -> None:
        """From here on the call in flight is what holds the instance."""
        future = turn.future
        got = future.result() if future.done() and not future.cancelled() and not future.exception() else None
        if got is not None and (use := self._uses.get(got)) is not None:
            use.held -= 1

    def _require_hope(self, turn: _Turn, now: float) -> None:
        """Raise ProblemError unless a turn may still come until its end."""
        require_hope(self._pool, turn.key, now, turn.until, may_try=True)
        why = self._why
        if why is None or self._lives_for(turn):
            return
        blocked = why.code in BLOCKING
        late = self._restart.failures > 1 and self._not_before > min(now + HOLD, turn.until)
        if blocked or late or why.code == "start-timeout":
            what = f"cannot start an instance for this client: {why.detail}"
            raise unavailable(self._pool, "failed", what, retry=max(1.0, self._not_before - now))

    def _lives_for(self, turn: _Turn) -> bool:
        """Whether an instance that suits it is there."""
        places = map(self._place, self._mine())
        return turn.claim is not None and any(suits(turn.claim, p) for p in places if not p.leaving)

    def reconsider(self) -> None:
        """Something is over: who waits in vain is told."""
        self.look()
        now = self._loop.time()
        for turn in list(self._queue):
            try:
                self._require_hope(turn, now)
            except ProblemError as refused:
                self._queue.remove(turn)
                turn.future.set_exception(refused)

    # -- who gets what -----------------------------------------------------------------------------------

    def look(self) -> None:
        """Something happened: give, start and end what there is to."""
        now, pool = self._loop.time(), self._pool
        before, self._short = self.taken, 0
        if self._last is not None:
            for turn in [turn for turn in self._queue if turn.claim is None]:
                self._place_claim(turn)
            if self._queue and pool.keeper.wanted and pool.circuits.lets_through:
                self._serve(now)
        self._end_spoilt()
        if self.taken != before:
            pool.keeper.wake()

    def _place_claim(self, turn: _Turn) -> None:
        """Now that the server is known it shows what a call needs."""
        need = self.need(turn.need.profile, logs=turn.need.logs)
        if need is None or (self._stateful and turn.key in self._pool.members.leases):
            self._answer(turn, None)
        else:
            own = self._stateful or need.profile.can(ROOTS)  # servers remember roots
            turn.need, turn.claim = need, Claim(need.profile.key, turn.key if own else "")

    def _answer(self, turn: _Turn, instance: MCPServerInstance | None) -> None:
        self._queue.remove(turn)
        if not turn.future.done():
            turn.future.set_result(instance)

    def _serve(self, now: float) -> None:
        instances = self._mine()
        paused = now < self._not_before
        turns = self._queue
        if self._stateful:  # one instance is enough for all calls of a session
            first: dict[str, _Turn] = {}
            for turn in turns:
                first.setdefault(turn.key, turn)
            turns = list(first.values())
        turns = [turn for turn in turns if not paused or self._lives_for(turn)]
        decision = decide(
            [turn.claim for turn in turns if turn.claim is not None],  # all have one by now
            [self._place(instance) for instance in instances],
            [coming for key, coming in self._coming.values() if self._is_present(key)],
            free=self._free(),
            room=self._limit,
        )
        self._short = decision.short
        for number, place in decision.given.items():
            if self._may_send:
                self._give(turns[number], instances[place], now)
        if paused:
            self._look_again(self._not_before - now)
            return
        self._drain([instances[place] for place in decision.ends])
        at_a_time = 1 if self._restart.failures > 1 else MAX_STARTS
        for number in decision.starts[: max(0, at_a_time - len(self._coming))]:
            self._start(turns[number])
        if decision.short:
            self._make_way(now)

    def _make_way(self, now: float) -> None:
        """Calls wait and nothing is left: a call that waits for its client, the longest so far, gives way."""
        waits = [(i.aside_since if self._one_pipe else i.questions.since, i) for i in self._mine()]
        longest = min(
            ((since, i) for since, i in waits if since is not None), key=itemgetter(0), default=None
        )
        if longest is None:
            return
        since, instance = longest
        if since + PATIENCE <= now:
            self._pool.give_way(instance)
        else:
            self._look_again(since + PATIENCE - now)

    @property
    def _may_send(self) -> bool:
        """The server as a whole may have one more call."""
        pool = self._pool
        return pool.circuits.lets_through and pool.members.in_flight < pool.spec.limits.calls

    def _drain(self, instances: list[MCPServerInstance]) -> None:
        if instances:
            self._pool.keeper.drain(instances)

    def _mine(self) -> list[MCPServerInstance]:
        """Those of the present version, but for the hung ones, which are replaced."""
        return [i for i in self._uses if i.exclusive and self._is_present(i.key) and not is_hung(i)]

    def _is_present(self, key: PoolKey) -> bool:
        return key.same_version(self._pool.members.key)

    @property
    def _limit(self) -> int:
        """Calls at a time of one instance."""
        return 1 if self._one_pipe else self._pool.spec.limits.calls_per_instance

    def _place(self, instance: MCPServerInstance) -> Place:
        use = self._uses[instance]
        calls = instance.calls_in_flight + use.held
        leaving = instance.state is not InstanceState.READY or instance.retiring or self._is_spoilt(instance)
        room = instance.limit - calls if not leaving and _is_sound(instance) else 0
        return Place(instance.profile.key, use.owner, calls, max(0, room), use.used, leaving)

    def _free(self) -> int:
        """How many may be started: all together `maxInstances`, but one of each kind at the least.

        Those that hang and those whose call waits for its client stand aside; with them it is twice as many.
        """
        maximum, members = self._pool.spec.scaling.max_instances, self._pool.members
        others = self._pool.keeper.coming() + sum(
            1 for i in members if not i.exclusive and self._is_present(i.key) and not is_hung(i)
        )
        mine = len(self._at_work()) + self._coming_now
        if not self._stateful:
            maximum, others = max(2, maximum), max(1, others)
        aside = sum(is_hung(i) or i.aside_since is not None for i in self._uses)
        return min(maximum, MOST_OF_ALL * maximum - aside) - others - mine

    def _at_work(self) -> list[MCPServerInstance]:
        """Those whose call does not wait for its client, who may be a person."""
        return [i for i in self._mine() if i.aside_since is None]

    @property
    def _coming_now(self) -> int:
        return sum(1 for key, _ in self._coming.values() if self._is_present(key))

    @property
    def taken(self) -> int:
        """Places that these instances have or want."""
        return len(self._at_work()) + self._coming_now + self._short

    def left_of(self, maximum: int) -> int:
        """How many instances others may have, of so many in all."""
        return max(0 if self._stateful else 1, maximum - self.taken)

    @property
    def idle(self) -> bool:
        """Nothing is there and nobody waits."""
        return not (self._uses or self._coming or self._queue)

    def _give(self, turn: _Turn, instance: MCPServerInstance, now: float) -> None:
        if self._stateful and turn.key:
            del self._uses[instance]
            instance.exclusive = instance.alone = False
            self._pool.turns.lease(turn.key, instance)
            for other in [other for other in self._queue if other.key == turn.key]:
                self._answer(other, None)  # its session has an instance, which may be busy by now
            self._loop.call_soon(self.reconsider)  # it may have been the last one
            return
        use = self._uses[instance]
        use.held += 1
        use.used = now
        if turn.claim is not None:
            use.owner = turn.claim.owner
        self._answer(turn, instance)

    def _is_spoilt(self, instance: MCPServerInstance) -> bool:
        """What a call that was given up still asks would be taken for another one's."""
        return instance.tainted and self._one_pipe

    def _end_spoilt(self) -> None:
        ready = [i for i in self._mine() if i.state is InstanceState.READY]
        self._drain([i for i in ready if self._is_spoilt(i) and not self._place(i).calls])

    # -- starting ----------------------------------------------------------------------------------------

    def _start(self, turn: _Turn) -> None:
        assert turn.claim is not None  # who has none yet is not served
        profile, owner = turn.need.profile, turn.claim.owner
        key = self._pool.members.key._replace(profile=str(profile))
        task = self._tasks.spawn(self._start_one(key, profile, owner), f"start {key}")
        self._coming[task] = key, Coming(profile.key, owner, self._limit)
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        del self._coming[task]
        self.look()
        self._pool.keeper.wake()

    async def _start_one(self, key: PoolKey, profile: Profile, owner: str) -> None:
        since = self._loop.time()
        try:
            newcomer = await self._nursery.bring_up(self._pool.spec, key, profile=profile)
        except ProblemError as error:
            self._could_not_start(error.problem, key, since)
            return
        except Exception as error:  # a fault of ours ends one start
            LOG.error("start failed", server=key.server, exc_info=error)
            self._could_not_start(internal_problem(error), key, since)
            return
        instance = newcomer.instance
        if not self._pool.keeper.wanted or not self._is_present(key):
            await asyncio.shield(instance.stop())
            return
        self._why = None
        instance.exclusive, instance.alone = True, self._one_pipe
        self._uses[instance] = _Use(owner, self._loop.time())
        self._pool.admit(instance)
        if profile:
            self.lists.take(instance, newcomer.catalogue)

    def _could_not_start(self, problem: Problem, key: PoolKey, since: float) -> None:
        if not self._pool.keeper.wanted or not self._is_present(key):
            return
        LOG.warning("instance cannot start", key=str(key), problem=problem.code, detail=problem.detail)
        self._why = problem
        self.failed(since)
        self._loop.call_soon(self.reconsider)

    def failed(self, since: float, *, ran_for: float = 0.0, answers: int = 0) -> None:
        """One failed that came up, or whose start began, at `since`; loop time."""
        now, before = self._loop.time(), self._restart
        self._restart = before.failed(now, since=since, ran_for=ran_for, answers=answers)
        if self._restart is not before:
            self._not_before = now + self._restart.delay(self._rng)

    def _look_again(self, seconds: float) -> None:
        if self._timer is None or self._timer.cancelled():
            self._timer = self._loop.call_later(seconds, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self.look()

    def give_up(self) -> list[asyncio.Task[None]]:
        """Start nothing more: the starts of now, which have been cancelled."""
        for task in self._coming:
            task.cancel()
        return list(self._coming)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # -- events ------------------------------------------------------------------------------------------

    def ended(self, instance: MCPServerInstance) -> None:
        """It is gone."""
        self._uses.pop(instance, None)
        self.look()

    def replaced(self) -> None:
        """There is a new version: with a clean record."""
        self._restart, self._not_before, self._why = RestartState(), 0.0, None
        self.lists.forget()
        for turn in self._queue:
            turn.claim = None
        self.look()

    def holds(self, instance: MCPServerInstance) -> bool:
        """Whether it is given to a call that is not yet sent."""
        return instance in self._uses and self._uses[instance].held > 0

    def owned_by(self, key: str) -> list[MCPServerInstance]:
        """What a session or principal alone can use, beside its lease."""
        return [instance for instance, use in self._uses.items() if use.owner == key]

    def disown(self, key: str) -> None:
        """The session has ended: what it alone could use ends."""
        self._drain(self.owned_by(key))

    def tick(self, now: float) -> None:
        """About once a second: end what nobody needed for long. `now` is loop time."""
        for instance, use in self._uses.items():
            if instance.calls_in_flight:
                use.used = now
        keep = self._pool.spec.scaling.scale_down_after if self._pool.keeper.target else 0.0
        unused = [i for i, use in self._uses.items() if use.used <= now - keep]
        self._drain([i for i in unused if not self._place(i).calls and not i.has_tasks(now)])
        self.look()

    # -- lists -------------------------------------------------------------------------------------------

    def catalogue_for(self, profile: Profile) -> Catalogue | None:
        """What the server offers to clients of this profile; None while nobody knows."""
        told = self._told(profile)
        return self.lists.of(told.key) if told and self._last else self._pool.catalogue

    async def learn(self, profile: Profile, *, timeout: float) -> None:  # noqa: ASYNC109
        """Have an instance of this profile show its lists; what cannot be known is as for everybody."""
        if self.catalogue_for(profile) is not None:
            return
        told = self._told(profile)
        task = self._learning.get(told.key)
        if task is None:
            task = self._tasks.spawn(self._learn(told), f"learn lists for {told}")
            self._learning[told.key] = task
            task.add_done_callback(lambda _: self._learning.pop(told.key))
        await asyncio.wait((task,), timeout=timeout)
        if self.catalogue_for(profile) is None:
            self.lists.take_for_granted(told.key)

    async def _learn(self, told: Profile) -> None:
        need = Need(told, self._one_pipe)
        try:
            await self.acquire("", need, timeout=self._pool.spec.timeouts.start)
        except ProblemError as refused:
            LOG.warning("lists unknown", profile=str(told), detail=refused.problem.detail)
        else:
            self._loop.call_soon(self.look)  # it has no call for what it got


def _is_sound(instance: MCPServerInstance) -> bool:
    return (
        instance.health.standing is Standing.HEALTHY
        and instance.breaker.state is BreakerState.CLOSED
        and not instance.overloaded
    )
