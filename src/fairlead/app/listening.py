"""Where the service listens: at one address, or at one for MCP and one for the rest; TLS or none."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from fairlead.app.settings import Settings, base_url
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.orchestrator.gateway.doors import Door
from fairlead.orchestrator.gateway.lane import make_lane
from fairlead.web.live_socket import UVICORN, LiveSocket

if TYPE_CHECKING:
    from fairlead.app.compose import System

BACKLOG: Final = 2048


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, what it leads to, and the URL by which clients on this machine reach it."""

    socket: socket.socket
    port: int
    door: Door
    address: str


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[tuple[Listener, ...]]:
    """The listening sockets, MCP's first. Raises ProblemError when a port is taken or TLS cannot be."""
    tls_context(settings)  # what is wrong with it is told before anything starts
    with contextlib.ExitStack() as stack:

        def opened(host: str, port: int, door: Door, setting: str) -> Listener:
            listener = stack.enter_context(_listen(host, port, setting))
            taken = int(listener.getsockname()[1])
            return Listener(listener, taken, door, base_url(host, taken, settings.scheme))

        admin = settings.admin
        if admin.port is None:
            yield (opened(settings.host, settings.port, Door.BOTH, "port"),)
        else:
            yield (
                opened(settings.host, settings.port, Door.MCP, "port"),
                opened(admin.host or settings.host, admin.port, Door.APP, "admin-port"),
            )


@contextlib.contextmanager
def listening_for_gitops(settings: Settings) -> Iterator[Listener]:
    """The GitOps controller's socket. Raises ProblemError when the port is taken or TLS cannot be."""
    tls_context(settings)
    with _listen(settings.host, settings.gitops_port, "gitops-port") as listener:
        taken = int(listener.getsockname()[1])
        yield Listener(listener, taken, Door.APP, base_url(settings.host, taken, settings.scheme))


def addresses(listeners: tuple[Listener, ...]) -> dict[str, str]:
    """Base URLs by what is served there: `orchestrator` (REST and pages) and `mcp`."""
    return {"orchestrator": listeners[-1].address, "mcp": listeners[0].address}


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """None where TLS is not asked for. Raises ProblemError when the certificate or key cannot be used."""
    tls = settings.tls
    if tls.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")  # never ask on the terminal
    except (OSError, ssl.SSLError) as error:
        detail = (
            f"{tls.certificate} and {tls.key}: {error.strerror or error}. Both must be PEM, readable, belong "
            "together, and the key must have no passphrase"
        )
        problem = Problem("bad-tls", "Cannot use the certificate", detail, 500, Fault.CLIENT)
        raise ProblemError(problem) from None
    return context


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        variable = f"FAIRLEAD_{setting.replace('-', '_').upper()}"
        option = f"--{setting} N, " if setting != "admin-port" else ""
        detail = (
            f"{host}:{port}: {error.strerror}. End what holds the port, or take another one with "
            f"{option}{variable}=N, or 0 for any free one"
        )
        if setting == "gitops-port" and sys.platform == "darwin":
            detail += ". On macOS AirPlay Receiver holds port 5000: it can be switched off in System Settings"
        raise ProblemError(Problem("port-taken", "Cannot listen", detail, 500, Fault.CLIENT)) from None
    return listener


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: `run` has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Front:
    """The HTTP servers of the service, one for each listener."""

    def __init__(self, system: System, listeners: tuple[Listener, ...]) -> None:
        context = tls_context(system.settings)
        self._servers = [(_server(system, each.door, context), each.socket) for each in listeners]

    def __repr__(self) -> str:
        return f"Front({len(self._servers)} servers)"

    async def serve(self) -> None:
        """Until `stop`, and until requests in flight have ended, bounded by edge.shutdown_timeout."""
        await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in self._servers))

    def stop(self) -> None:
        for server, _ in self._servers:
            server.should_exit = True

    def tick(self, now: float) -> None:
        """About once a second: connections look at their time-outs. `now` is loop time, s."""
        for server, _ in self._servers:
            for connection in list(server.server_state.connections):
                tick = getattr(connection, "tick", None)  # WebSocket connections have none
                if tick is not None:
                    tick(now)


def _server(system: System, door: Door, context: ssl.SSLContext | None) -> QuietServer:
    edge = system.settings.edge
    tls: dict[str, Any] = {} if context is None else {"ssl_context_factory": lambda *_: context}
    return QuietServer(
        uvicorn.Config(
            system.app,
            http=make_lane(system.gateway, door),
            ws=LiveSocket,
            **UVICORN,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=edge.max_connections,
            timeout_graceful_shutdown=math.ceil(edge.shutdown_timeout),
            **tls,
        )
    )
