"""Runs the GitOps controller's service: the order of starting and of stopping.

What is being deployed when it stops is gone on with at the next start, see `gitops.deployments`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
import uvicorn
import uvloop

from fairlead import __version__
from fairlead.app.gitops_compose import GitOpsSystem, compose_gitops
from fairlead.app.listening import Listener, QuietServer, listening_for_gitops, tls_context
from fairlead.app.persistence import database_url, keeping
from fairlead.app.run import watch_stdin
from fairlead.app.settings import Settings
from fairlead.model.errors import ProblemError
from fairlead.stores.sql.database import Database
from fairlead.stores.state import GITOPS, ORCHESTRATOR, StateFolder
from fairlead.web.live_socket import UVICORN, LiveSocket

LOG = structlog.get_logger("fairlead.run")
TICK: Final = 1.0  # s


def run_gitops(settings: Settings, *, stop_when_stdin_closes: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ProblemError when it cannot start."""
    state = StateFolder(settings.state_dir, GITOPS)
    for line in state.prepare():
        LOG.warning("state folder", note=line)
    with state.lock(), listening_for_gitops(settings) as listener:
        return uvloop.run(_until_told(settings, state, listener, stop_when_stdin_closes))


async def _until_told(
    settings: Settings, state: StateFolder, listener: Listener, stop_when_stdin_closes: bool
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_when_stdin_closes:
        await watch_stdin(stop)
    async with serving_gitops(settings, state, listener):
        state.write_run({GITOPS: listener.address}, __version__)
        LOG.info("ready", gitops=listener.address, version=__version__)
        await stop.wait()
        state.clear_run()
        LOG.info("stopping")
    return 0


@contextlib.asynccontextmanager
async def serving_gitops(
    settings: Settings, state: StateFolder, listener: Listener
) -> AsyncIterator[GitOpsSystem]:
    """The whole service on `listener`, until the block ends. Raises ProblemError when it cannot start."""
    async with keeping(settings, state, GITOPS) as kept:
        identities = await Database.open(database_url(settings, state, ORCHESTRATOR), service=ORCHESTRATOR)
        try:
            system = compose_gitops(settings, state, listener, kept, identities)
            async with _started(system, listener):
                yield system
        finally:
            await identities.close()
    LOG.info("stopped")


@contextlib.asynccontextmanager
async def _started(system: GitOpsSystem, listener: Listener) -> AsyncIterator[None]:
    tasks = system.tasks
    await system.access.start()
    system.policies.refresh()
    system.access.following.on_changed = system.policies.refresh
    server = _server(system)
    served = tasks.spawn(server.serve(sockets=[listener.socket]), "serve")
    system.controller.start([])
    following = [
        tasks.spawn(_tick(system), "tick"),
        tasks.spawn(_follow_tokens(system), "follow the tokens"),
        tasks.spawn(system.access.following.run(tasks), "follow who may come in"),
        tasks.spawn(system.sources.run(), "follow the sources"),
    ]
    try:
        yield
    finally:
        for task in following:
            task.cancel()
        system.live.close()
        server.should_exit = True
        await served
        await system.live.aclose()
        await system.controller.close()
        await system.manager.close()
        await system.checkout.close()
        await system.targets.close()
        await tasks.close()


def _server(system: GitOpsSystem) -> QuietServer:
    edge, context = system.settings.edge, tls_context(system.settings)
    tls: dict[str, Any] = {} if context is None else {"ssl_context_factory": lambda *_: context}
    return QuietServer(
        uvicorn.Config(
            system.app,
            ws=LiveSocket,
            **UVICORN,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=edge.max_connections,
            timeout_keep_alive=math.ceil(edge.keep_alive_timeout),
            timeout_graceful_shutdown=math.ceil(edge.shutdown_timeout),
            **tls,
        )
    )


async def _tick(system: GitOpsSystem) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK)
        system.live.sweep()
        system.kept.tick()
        system.accounts.forget_idle(loop.time())


async def _follow_tokens(system: GitOpsSystem) -> None:
    async for _ in system.access.tokens.watch():
        try:
            system.access.read_tokens()
            system.policies.refresh()
        except ProblemError as damaged:
            LOG.error("tokens unreadable, the known ones stay", detail=damaged.problem.detail)
