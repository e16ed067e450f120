"""Keeps on one instance what the clients of one place want to hear of.

How it works. It is level-based: `look` compares what is wanted with what the server has taken, and only where
there is a difference a task does it, which ends when there is none. So an instance that dies, drains or is
taken is simply followed by another one, which gets everything anew; and because something may have changed
in between, clients then hear of all of it. What fails is tried again after growing pauses.

A legacy server is asked with `resources/subscribe` and `resources/unsubscribe`. A modern one has a single
`subscriptions/listen` open, for the changes of its lists too; another set of URIs means a new one, and the
old one is closed only a moment after the server has acknowledged the new one. None of this counts as calls
or keeps an instance from ending: a server that goes idle is asked again when it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Raw

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import (
    CALL_TIMED_OUT,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UPSTREAM_FAILED,
    McpError,
)
from fairlead.mcp.profiles import NOBODY
from fairlead.model.errors import ProblemError
from fairlead.model.status import ServerState
from fairlead.orchestrator.members import is_hung

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool

ANSWER: Final = 10.0  # s, for a server to take a subscription
AT_A_TIME: Final = 32  # requests to one legacy server
MANY: Final = 2**20  # new URIs in one listen, unless the server has found fault with some
LINGER: Final = 0.25  # s, in which a listen that was replaced may still bring what is on its way
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0  # s, before what failed or ended is tried again
STABLE: Final = 30.0  # s; the end of a listen that was open for longer is no failure
AWAY: Final = (ServerState.STOPPED, ServerState.DISABLED, ServerState.BLOCKED, ServerState.FAILED)
_FLAGS: Final = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
LOG = structlog.get_logger("fairlead.pool")
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None] | None]


class Listen:
    """One `subscriptions/listen` to a modern server, open or over."""

    def __init__(
        self,
        instance: MCPServerInstance,
        flags: frozenset[str],
        uris: frozenset[str],
        on_end: Callable[[Listen], None],
    ) -> None:
        self.filter = (flags, uris)
        self.honoured: frozenset[str] = frozenset()  # of the URIs, as the server says
        self.over = False
        self.error: McpError | None = None
        self.settled = asyncio.Event()  # acknowledged, or over
        self.since = asyncio.get_running_loop().time()
        self._instance = instance
        self._on_end = on_end
        wanted: dict[str, Any] = dict.fromkeys(sorted(flags), True)
        if uris:
            wanted["resourceSubscriptions"] = sorted(uris)
        self._number = instance.listen(wanted, self)

    def acknowledged(self, honoured: dict[str, Any]) -> None:
        uris = honoured.get("resourceSubscriptions")
        said = [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []
        self.honoured = self.filter[1].intersection(said)
        self.settled.set()

    def told(self, method: str, members: dict[str, Raw]) -> None:
        pass  # what it asks for is heard by the instance

    def ended(self, error: McpError | None) -> None:
        self.over, self.error = True, error
        self.settled.set()
        self._on_end(self)

    def close(self) -> None:
        """Close it, without a word."""
        self.over = True
        self._instance.stop_listening(self._number)


class Carrier:
    """Of one place: `key` is None for the shared instances, else whose own instance it is."""

    def __init__(
        self, pool: ServerPool, key: str | None, spawn: Spawn, rested: Callable[[], None] = lambda: None
    ) -> None:
        """`rested` is called when nothing is going on any more."""
        self.key = key
        self.profile = NOBODY
        self.wanted: Counter[str] = Counter()  # how many want to hear of a URI; never 0
        self.held: set[str] = set()  # what `instance` has taken
        self.instance: MCPServerInstance | None = None
        self._refused: dict[str, McpError] = {}  # what it has not
        self._barred: set[str] = set()  # of those what it will not even hear of: a listen has none of them
        self._batch = MANY  # how many new ones the next listen has
        self._former: MCPServerInstance | None = None  # until `instance` has taken everything
        self._released: Callable[[], None] = lambda: None  # lets the former one go
        self._missed: set[str] = set()  # nobody told of these for a while: told as soon as they are held
        self._listen: Listen | None = None
        self._deaf: MCPServerInstance | None = None  # it knows no `subscriptions/listen`
        self._problem: McpError | None = None  # why there is no instance of its own
        self._failures = 0
        self._not_before = float("-inf")  # loop time
        self._pool = pool
        self._spawn = spawn
        self._rested = rested
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        where = self.instance.id if self.instance is not None else None
        return f"<Carrier {self.key} on {where} wanted={dict(self.wanted)} held={sorted(self.held)}>"

    @property
    def idle(self) -> bool:
        """Nothing is wanted, nothing is held, nothing is going on."""
        return not (self.wanted or self.held or self._listen or self._works)

    @property
    def _works(self) -> bool:
        return self._task is not None and not self._task.done()

    def used(self, instance: MCPServerInstance) -> bool:
        """It carried this before, and may still tell what nobody else does yet."""
        return instance is self._former

    def add(self, uri: str) -> None:
        """One more wants to hear of it."""
        self.wanted[uri] += 1
        self._forgive(uri)  # it may be there by now
        self.look()

    def remove(self, uri: str) -> None:
        """One less does."""
        self.wanted[uri] -= 1
        if not self.wanted[uri]:
            del self.wanted[uri]
            self._forgive(uri)
        self.look()

    def _forgive(self, uri: str) -> None:
        self._refused.pop(uri, None)
        self._barred.discard(uri)

    # -- who waits ---------------------------------------------------------------------------------------

    async def kept(self, uri: str) -> None:
        """Until the server has taken this, or will because it is idle. Raises McpError when it does not."""
        while uri not in self.held:
            error = self._refused.get(uri) or self._problem
            if error is None and self.instance is None and self._pool.state in AWAY:
                what = f"server {self._pool.spec.id!r} is {self._pool.state}: {self._pool.shown.message}"
                error = McpError(UPSTREAM_FAILED, what)
            if error is not None:
                raise error
            if self._pool.state is ServerState.IDLE:
                self.late(uri)
                return
            await self._news.wait()

    def late(self, uri: str) -> None:
        """Who wants it does not wait any more: they hear of it when the server has taken it."""
        self._missed.add(uri)

    def _tell(self) -> None:
        """Let those who wait look again."""
        self._news.set()
        self._news = asyncio.Event()

    # -- what there is, and what there should be ---------------------------------------------------------

    def look(self) -> None:
        """Something changed; cheap where nothing is to be done."""
        self._tell()
        if self._works:
            self._wake.set()
            if self.key is not None and not self.wanted and self.instance is None and self._task is not None:
                self._task.cancel()  # it waits for an instance that nobody needs
        elif self._differs():
            self._task = self._spawn(self._work(), f"watch {self._pool.spec.id}")
            if self._task is not None:
                self._task.add_done_callback(lambda _: self._rest())

    def _rest(self) -> None:
        self.look()
        self._rested()

    def retry(self) -> None:
        """What the server refused may be there now."""
        self._refused, self._barred = {}, set()
        self.look()

    def _present(self) -> MCPServerInstance | None:
        """The instance that should carry it now: the same as long as it can."""
        members = self._pool.members
        if self.key is not None:
            lease = members.leases.get(self.key)
            found = [] if lease is None else [lease.instance]
        else:
            found = [i for i in members.staying() if not i.profile]
        found = [i for i in found if i.state is InstanceState.READY and not is_hung(i)]
        return self.instance if self.instance in found else next(iter(found), None)

    def _differs(self) -> bool:
        instance = self._present()
        if instance is not self.instance:
            return True
        if instance is None:
            return self.key is not None and bool(self.wanted)
        if instance.era is Era.MODERN:
            return not self._hears(instance)
        return bool(self._missing() or self._surplus())

    def _missing(self) -> list[str]:
        return [uri for uri in self.wanted if uri not in self.held and uri not in self._refused]

    def _surplus(self) -> list[str]:
        return [uri for uri in self.held if uri not in self.wanted]

    def _filter(self, instance: MCPServerInstance) -> tuple[frozenset[str], frozenset[str]]:
        """What to listen to: flags for the lists that the server says may change, and URIs."""
        lists = {} if self.key is not None else _FLAGS
        flags = frozenset(flag for part, flag in lists.items() if instance.declares(part, "listChanged"))
        if not offers_updates(instance):
            return flags, frozenset()
        kept = self._listened() & self.wanted.keys()
        new = self.wanted.keys() - kept - self._barred
        return flags, kept.union(sorted(new)[: self._batch])

    def _listened(self) -> frozenset[str]:
        """The URIs that the open listen has."""
        return frozenset() if self._listen is None else self._listen.filter[1]

    def _hears(self, instance: MCPServerInstance) -> bool:
        wanted = self._filter(instance)
        if instance is self._deaf or not any(wanted):
            return self._listen is None and not self._missing()
        return self._listen is not None and self._listen.filter == wanted and not self._missing()

    # -- doing the difference ----------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = await self._step()
            except Exception as error:  # whatever one server makes of us, its clients are served on
                LOG.error("watching failed", server=self._pool.spec.id, exc_info=error)
                pause = self._fail()
            if pause is None and not self._wake.is_set():
                return
            if pause:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def _step(self) -> float | None:
        """Do something of the difference; None when none is left, else after how many seconds to go on."""
        if (pause := self._not_before - self._loop.time()) > 0.0:
            return max(pause, 0.001)
        instance = self._present()
        if instance is None and self.key is not None and self.wanted:
            return await self._lease(self.key)
        if instance is not self.instance:
            self._move(instance)
        if instance is None or not self._differs():
            self._settle()
            return None
        if instance.era is Era.MODERN:
            return await self._listen_on(instance)
        return await self._subscribe_on(instance)

    def _settle(self) -> None:
        """All that is wanted is held, or cannot be: tell of what may have changed meanwhile."""
        self._missed &= self.wanted.keys()
        told = self._missed & self.held
        self._missed -= told
        if self.instance is not None:
            self._released()
            self._former, self._released = None, lambda: None
        self._tell()
        for uri in sorted(told):
            self._pool.tell_updated(uri, self.key)

    def _fail(self) -> float:
        """Something did not work; s until it is tried again."""
        pause = min(FIRST_PAUSE * 2.0**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        self._not_before = self._loop.time() + pause
        return pause

    async def _lease(self, key: str) -> float:
        """An instance for what one session wants."""
        try:
            need = self._pool.need(self.profile, logs=False)
            await self._pool.acquire(key, timeout=ANSWER, need=need)
        except ProblemError as refused:
            self._problem = McpError(UPSTREAM_FAILED, refused.problem.detail)
            self._tell()
            return self._fail()
        self._problem = None
        if self._present() is None:
            return self._fail()  # it has gone already, or the server shares its instances by now
        return 0.0

    def _move(self, instance: MCPServerInstance | None) -> None:
        """Another instance carries it from now on; nothing of it is there yet."""
        old, listen, held = self.instance, self._listen, sorted(self.held)
        self._missed |= self.held
        self.instance, self.held, self._refused, self._listen = instance, set(), {}, None
        self._barred, self._batch = set(), MANY
        if old is None:
            return
        self._released()
        self._former = old

        def release() -> None:
            if listen is not None:
                listen.close()
            elif held and old is not self.instance and old.state is InstanceState.READY:
                self._spawn(self._unsubscribe(old, held), f"unsubscribe {old.id}")

        self._released = release

    # -- legacy servers ----------------------------------------------------------------------------------

    async def _subscribe_on(self, instance: MCPServerInstance) -> float:
        if not offers_updates(instance):
            self._refuse(self._missing())
            return 0.0
        missing, surplus = self._missing()[:AT_A_TIME], self._surplus()[:AT_A_TIME]
        said = await asyncio.gather(*(_say(instance, "resources/subscribe", uri) for uri in missing))
        await self._unsubscribe(instance, surplus)
        self.held -= set(surplus)
        failed = False
        for uri, error in zip(missing, said, strict=True):
            if error is None:
                self.held.add(uri)
            elif error.code in (UPSTREAM_FAILED, CALL_TIMED_OUT):
                failed = True
            else:
                self._refused[uri] = error
        self._tell()
        if failed and instance.state is InstanceState.READY:
            return self._fail()
        self._failures = 0
        return 0.0

    async def _unsubscribe(self, instance: MCPServerInstance, uris: Collection[str]) -> None:
        await asyncio.gather(*(_say(instance, "resources/unsubscribe", uri) for uri in uris))

    def _refuse(self, uris: Collection[str]) -> None:
        what = f"server {self._pool.spec.id!r} does not tell of updates"
        self._refused |= {uri: McpError(METHOD_NOT_FOUND, f"{what}: {uri}") for uri in uris}

    # -- modern servers ----------------------------------------------------------------------------------

    async def _listen_on(self, instance: MCPServerInstance) -> float:
        flags, uris = self._filter(instance)
        before = self._listen
        if instance is self._deaf or not (flags or uris):
            self._listen, self.held = None, set()
            self._refuse(self._missing())
            if before is not None:
                before.close()
            return 0.0
        listen = Listen(instance, flags, uris, self._listen_ended)
        try:
            async with asyncio.timeout(ANSWER):
                await listen.settled.wait()
        except TimeoutError:
            listen.close()
            return self._not_heard(instance, McpError(CALL_TIMED_OUT, "it is not acknowledged"))
        except asyncio.CancelledError:
            listen.close()
            raise
        if listen.over:
            if listen.error is not None and listen.error.code == INVALID_PARAMS and uris - self._listened():
                return self._find_fault(sorted(uris - self._listened()), listen.error)
            return self._not_heard(instance, listen.error)
        if before is not None and not before.over:
            self._loop.call_later(LINGER, before.close)
        self._listen, self.held = listen, set(listen.honoured)
        self._refused = {uri: error for uri, error in self._refused.items() if uri in self._barred}
        self._batch = min(2 * self._batch, MANY)
        self._refuse(uris.intersection(self._missing()))  # others came meanwhile, and are asked for next
        if before is None and flags:
            self._pool.lists_changed()  # they may have, before it was listened to
        return 0.0

    def _find_fault(self, new: list[str], error: McpError) -> float:
        """One of these spoils a listen for all the others: take fewer at a time, until it is alone."""
        if len(new) > 1:
            self._batch = len(new) // 2
        elif new[0] in self.wanted:
            self._barred.add(new[0])
            self._refused[new[0]] = error
            self._tell()
        return 0.0

    def _not_heard(self, instance: MCPServerInstance, error: McpError | None) -> float:
        if error is not None and error.code == METHOD_NOT_FOUND:
            LOG.info("the server knows no subscriptions/listen", instance=instance.id)
            self._deaf = instance
            return 0.0
        if instance.state is InstanceState.READY:
            why = error.message if error is not None else "it ended at once"
            LOG.warning("listening failed", instance=instance.id, detail=why)
        return self._fail()

    def _listen_ended(self, listen: Listen) -> None:
        """By the server or the transport: what it tells from now on is missed until there is a new one."""
        if listen is not self._listen:
            return
        self._missed |= self.held
        self._listen, self.held = None, set()
        if self._loop.time() - listen.since > STABLE:
            self._failures = 0
        self._fail()
        self.look()


def offers_updates(instance: MCPServerInstance) -> bool:
    """Whether the server tells of updates of resources that it is asked to watch."""
    return instance.declares("resources", "subscribe")


async def _say(instance: MCPServerInstance, method: str, uri: str) -> McpError | None:
    """Tell a legacy server; why it does not want to, if so."""
    if instance.state is not InstanceState.READY:
        return McpError(UPSTREAM_FAILED, f"{instance.id} is {instance.state}")
    try:
        async with asyncio.timeout(ANSWER):
            await instance.ask(method, {"uri": uri}, timeout=ANSWER)
    except TimeoutError:
        return McpError(CALL_TIMED_OUT, f"{instance.id} did not answer {method} within {ANSWER:g} s")
    except McpError as error:
        return error
    return None
