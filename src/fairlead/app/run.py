"""Runs the orchestrator service: the order of starting, what runs beside it, the order of stopping.

Starting: lock the state folder, take the port, end what a killed predecessor left, then serve, and only then
start the servers, so that a client that comes early waits for its server instead of failing. Stopping: no new
connections, calls in flight finish (bounded), servers stop, the last events are written, the lock goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Final

import structlog
import uvloop

from fairlead import __version__
from fairlead.app.compose import System, compose
from fairlead.app.listening import Front, Listener, addresses, listening
from fairlead.app.persistence import keeping
from fairlead.app.settings import Settings
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError
from fairlead.stores.state import StateFolder

LOG = structlog.get_logger("fairlead.run")
TICK: Final = 1.0  # s


def run_orchestrator(settings: Settings, *, stop_when_stdin_closes: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ProblemError when it cannot start."""
    state = StateFolder(settings.state_dir)
    for line in state.prepare():
        LOG.warning("state folder", note=line)
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with state.lock(), listening(settings) as listeners:
        return uvloop.run(_until_told(settings, state, listeners, stop_when_stdin_closes))


async def _until_told(
    settings: Settings, state: StateFolder, listeners: tuple[Listener, ...], stop_when_stdin_closes: bool
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_when_stdin_closes:
        await watch_stdin(stop)
    async with serving(settings, state, listeners):
        state.write_run(addresses(listeners), __version__)
        LOG.info("ready for clients", **addresses(listeners), version=__version__)
        await stop.wait()
        state.clear_run()
        LOG.info("stopping")
    return 0


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, state: StateFolder, listeners: tuple[Listener, ...]
) -> AsyncIterator[System]:
    """The whole service on `listeners`, until the block ends. Raises ProblemError when it cannot start."""
    async with keeping(settings, state, "orchestrator") as kept:
        system = compose(settings, state, listeners, kept)
        async with _started(system, listeners):
            yield system
    LOG.info("stopped")


@contextlib.asynccontextmanager
async def _started(system: System, listeners: tuple[Listener, ...]) -> AsyncIterator[None]:
    await system.access.start()
    system.gateway.set_policy(system.policy())
    for line in await system.drivers.process.sweep():
        LOG.warning("ended what an earlier orchestrator left", process=line)
    system.config.on_applied = lambda: system.gateway.set_policy(system.policy())
    front = Front(system, listeners)
    tasks = Tasks(_task_failed)
    system.access.following.on_changed = lambda: _access_changed(system, tasks)
    if system.access.oauth is not None:
        system.access.oauth.keys.on_withdrawn = lambda: system.gateway.set_policy(system.policy())
    served = tasks.spawn(front.serve(), "serve")
    ticking = tasks.spawn(_tick(system, front), "tick")
    if system.limits is not None:
        system.limits.start()
    try:
        await system.tool_lock.read()
        await system.config.start()
        following = [
            tasks.spawn(system.config.follow(), "follow the fleet file"),
            tasks.spawn(system.config.follow_others(), "follow the kept fleet spec"),
            tasks.spawn(system.tool_lock.follow(), "follow the lock file"),
            tasks.spawn(_follow_tokens(system), "follow the tokens"),
            tasks.spawn(system.access.following.run(tasks), "follow who may come in"),
            *(
                [tasks.spawn(oauth.keys.run(), "follow OAuth's keys")]
                if (oauth := system.access.oauth)
                else []
            ),
            tasks.spawn(system.trends.follow(), "roll up the metrics"),
        ]
        yield
        for task in following:
            task.cancel()
        system.live.close()
        front.stop()
        await served  # calls in flight finish, bounded by edge.shutdown_timeout
        await system.trends.roll_up()
    finally:
        ticking.cancel()
        if system.limits is not None:
            await system.limits.close()
        await system.live.aclose()
        await system.gateway.close()
        await system.fleet.close()
        await asyncio.gather(system.drivers.process.close(), system.drivers.remote.close())
        if system.tracer is not None:
            await asyncio.to_thread(system.tracer.close)
        await tasks.close()


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)


def _access_changed(system: System, tasks: Tasks) -> None:
    system.gateway.set_policy(system.policy())
    tasks.spawn(system.fleet.credentials_changed(), "look at upstream credentials")


async def _tick(system: System, front: Front) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK)
        now = loop.time()
        await system.fleet.tick()
        system.config.tick()
        system.gateway.tick(now)
        system.live.sweep()
        system.kept.tick()
        front.tick(now)


async def _follow_tokens(system: System) -> None:
    async for _ in system.access.tokens.watch():
        try:
            system.access.read_tokens()
            system.gateway.set_policy(system.policy())
        except ProblemError as damaged:
            LOG.error("tokens unreadable, the known ones stay", detail=damaged.problem.detail)


async def watch_stdin(stop: asyncio.Event) -> None:
    """Stop when whoever started us has gone, and its end of our stdin with it."""

    class Gone(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Gone, sys.stdin)
