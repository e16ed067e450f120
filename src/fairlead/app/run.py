"""Runs the orchestrator service: the order of starting, what runs beside it, the order of stopping.

Starting: lock the state folder, take the port, end what a killed predecessor left, then serve, and only then
start the servers, so that a client that comes early waits for its server instead of failing. Stopping: no new
connections, calls in flight finish (bounded), servers stop, the lock goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Final

import structlog
import uvicorn
import uvloop

from fairlead import __version__
from fairlead.app.compose import System, compose
from fairlead.app.settings import Settings, base_url
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.orchestrator.gateway.lane import make_lane
from fairlead.stores.state import StateFolder

LOG = structlog.get_logger("fairlead.run")
TICK: Final = 1.0  # s
BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `run` has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_orchestrator(settings: Settings, *, stop_when_stdin_closes: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ProblemError when it cannot start."""
    state = StateFolder(settings.state_dir)
    for line in state.prepare():
        LOG.warning("state folder", note=line)
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with state.lock(), listen(settings) as listener:
        return uvloop.run(_until_told(settings, state, listener, stop_when_stdin_closes))


async def _until_told(
    settings: Settings, state: StateFolder, listener: socket.socket, stop_when_stdin_closes: bool
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_when_stdin_closes:
        await _watch_stdin(stop)
    async with serving(settings, state, listener) as system:
        address = base_url(settings.host, system.port)
        state.write_run({"orchestrator": address}, __version__)
        LOG.info("ready for clients", address=address, version=__version__)
        await stop.wait()
        state.clear_run()
        LOG.info("stopping")
    return 0


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises ProblemError when the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        detail = (
            f"{settings.host}:{settings.port}: {error.strerror}. End what holds the port, or take another "
            "one with --port N, FAIRLEAD_PORT=N, or --port 0 for any free one"
        )
        raise ProblemError(Problem("port-taken", "Cannot listen", detail, 500, Fault.CLIENT)) from None
    return listener


@contextlib.asynccontextmanager
async def serving(settings: Settings, state: StateFolder, listener: socket.socket) -> AsyncIterator[System]:
    """The whole service on `listener`, until the block ends. Raises ProblemError when it cannot start."""
    system = compose(settings, state, listener.getsockname()[1])
    system.tokens.ensure_local()
    for line in await system.drivers.process.sweep():
        LOG.warning("ended what an earlier orchestrator left", process=line)
    system.config.on_applied = lambda: system.gateway.set_policy(system.policy())
    server = _server(system)
    tasks = Tasks(_task_failed)
    served = tasks.spawn(server.serve(sockets=[listener]), "serve")
    ticking = tasks.spawn(_tick(system, server), "tick")
    try:
        await system.tool_lock.read()
        await system.config.start()
        following = [
            tasks.spawn(system.config.follow(), "follow the fleet file"),
            tasks.spawn(system.tool_lock.follow(), "follow the lock file"),
            tasks.spawn(_follow_tokens(system), "follow the tokens"),
        ]
        yield system
        for task in following:
            task.cancel()
        server.should_exit = True
        await served  # calls in flight finish, bounded by edge.shutdown_timeout
    finally:
        ticking.cancel()
        await system.gateway.close()
        await system.fleet.close()
        await asyncio.gather(system.drivers.process.close(), system.drivers.remote.close())
        if system.tracer is not None:
            await asyncio.to_thread(system.tracer.close)
        await tasks.close()
        LOG.info("stopped")


def _server(system: System) -> _Server:
    edge = system.settings.edge
    return _Server(
        uvicorn.Config(
            system.app,
            http=make_lane(system.gateway),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=edge.max_connections,
            timeout_graceful_shutdown=math.ceil(edge.shutdown_timeout),
        )
    )


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)


async def _tick(system: System, server: uvicorn.Server) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK)
        now = loop.time()
        await system.fleet.tick()
        system.config.tick()
        system.gateway.tick(now)
        for connection in list(server.server_state.connections):
            tick = getattr(connection, "tick", None)  # WebSocket connections have none
            if tick is not None:
                tick(now)


async def _follow_tokens(system: System) -> None:
    async for _ in system.tokens.watch():
        try:
            system.gateway.set_policy(system.policy())
        except ProblemError as damaged:
            LOG.error("tokens unreadable, the known ones stay", detail=damaged.problem.detail)


async def _watch_stdin(stop: asyncio.Event) -> None:
    """Stop when whoever started us has gone, and its end of our stdin with it."""

    class Gone(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Gone, sys.stdin)
