"""The composition root: the one place that knows every implementation and puts them together."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI

from fairlead import __version__
from fairlead.app.fleet_config import FleetConfig
from fairlead.app.listening import Listener, addresses
from fairlead.app.logs import register_secret
from fairlead.app.settings import Settings
from fairlead.app.tool_lock import ToolLock
from fairlead.app.tracing import open_tracer
from fairlead.core.admission import AdmissionPolicy, Limits
from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.remote import RemoteDriver
from fairlead.mcp.sealing import Sealer
from fairlead.model.fleet import FleetSpec
from fairlead.orchestrator.gateway.gateway import EdgeTimeouts, Gateway
from fairlead.orchestrator.gateway.sessions import SessionTable
from fairlead.orchestrator.launcher import Drivers, Folders, SpecLauncher
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.orchestrator import MCPOrchestrator
from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles
from fairlead.secrets.environment import EnvironmentSecrets
from fairlead.secrets.files import FileSecrets
from fairlead.secrets.sources import Secrets
from fairlead.secrets.vault import VaultSecrets
from fairlead.stores.overrides import OverrideStore
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore
from fairlead.web.app import create_app
from fairlead.web.services import Services, SystemInfo

if TYPE_CHECKING:
    from fairlead.app.otlp import OtlpTracer


@dataclass(frozen=True, slots=True)
class System:
    """The orchestrator service, put together and not yet started."""

    settings: Settings
    state: StateFolder
    tokens: TokenStore
    gateway: Gateway
    fleet: MCPOrchestrator
    config: FleetConfig
    tool_lock: ToolLock
    drivers: Drivers
    app: FastAPI
    ports: tuple[int, ...]  # MCP's first
    tracer: OtlpTracer | None

    def policy(self) -> AdmissionPolicy:
        """Who may come in now: read from the tokens on disk and the fleet spec in force."""
        return make_policy(self.settings, self.tokens.digests(), self.fleet.spec, self.ports)


def compose(settings: Settings, state: StateFolder, listeners: tuple[Listener, ...]) -> System:
    """Everything for a service that listens there. The state folder is prepared and locked by the caller."""
    ports = tuple(listener.port for listener in listeners)
    tokens = TokenStore(
        state, environment_token=settings.token.get_secret_value() if settings.token else None
    )
    sealer = Sealer(state.key())
    sessions = SessionTable(
        sealer, state.id(), limit=settings.sessions.max_sessions, idle=settings.sessions.idle_expiry
    )
    # `fleet` comes later
    metrics = MetricsCollector(lambda: fleet.servers(), lambda: fleet.breakers())  # noqa: PLW0108
    edge = settings.edge
    gateway = Gateway(
        sealer,
        sessions,
        metrics,
        make_policy(settings, tokens.digests(), FleetSpec(), ports),
        EdgeTimeouts(edge.header_timeout, edge.body_timeout, edge.keep_alive_timeout),
    )
    drivers = Drivers(process=ProcessDriver(state.id(), state.instances_file), remote=RemoteDriver())
    lock_files = LockFiles(committed=settings.lock_file, local=state.packages_lock)
    installer = Installer(
        state.packages,
        lock_files,
        on_progress=lambda package, text: fleet.installing(package, text),  # noqa: PLW0108 - as above
    )
    launcher = SpecLauncher(
        installer,
        secrets_of(settings),
        drivers,
        Folders(state.root / "homes", state.server_logs),
    )
    fleet = MCPOrchestrator(launcher, gateway, metrics)
    config = FleetConfig(
        settings.config,
        fleet,
        OverrideStore(state),
        check=lambda spec: make_policy(settings, {}, spec, ports),
    )
    fleet.on_state = config.states_changed
    services = Services(
        fleet=fleet,
        config=config,
        metrics=metrics,
        policy=lambda: gateway.policy,
        info=SystemInfo(__version__, time.time(), os.getpid(), state.id(), addresses(listeners)),
        limiter=gateway.limiter,
    )
    tracer = gateway.tracer = open_tracer(os.environ, "fairlead-orchestrator")
    app = create_app(services)
    tool_lock = ToolLock(lock_files, fleet)
    return System(settings, state, tokens, gateway, fleet, config, tool_lock, drivers, app, ports, tracer)


def secrets_of(settings: Settings) -> Secrets:
    """Where the fleet's placeholders are filled in from."""
    return Secrets(
        EnvironmentSecrets({"FAIRLEAD_WORKSPACE": str(settings.workspace)}, on_read=register_secret),
        files=FileSecrets(on_read=register_secret),
        vault=VaultSecrets(settings.secrets_file, settings.identities, on_read=register_secret),
    )


def make_policy(
    settings: Settings, tokens: Mapping[bytes, str], spec: FleetSpec, ports: int | tuple[int, ...]
) -> AdmissionPolicy:
    """Raises ValueError that names what of the spec or the settings cannot be."""
    network = spec.security.network_policies
    return AdmissionPolicy.compile(
        tokens,
        ports,
        hosts=(*settings.allowed_hosts, settings.host, settings.admin.host or settings.host),
        origins=[each for each in network.allowed_origins if "*" not in each],  # the loader warns of it
        denied=network.denied_ips,
        limits=Limits(
            body_bytes=spec.security.resource_limits.max_request_size,
            body_seconds=settings.edge.body_timeout,
        ),
    )
