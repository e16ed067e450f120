"""The composition root: the one place that knows every implementation and puts them together."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from fairlead import __version__
from fairlead.access.credentials import Credentials
from fairlead.app.fleet_config import FleetConfig
from fairlead.app.identities import Access, open_access, service_key
from fairlead.app.listening import Listener, addresses
from fairlead.app.logs import conceal, register_secret
from fairlead.app.persistence import Persistence, group
from fairlead.app.settings import Settings
from fairlead.app.sign_in import pages_address, sign_in
from fairlead.app.spec_keeper import SpecKeeper
from fairlead.app.tool_lock import ToolLock
from fairlead.app.tracing import open_tracer
from fairlead.core.access import Identities
from fairlead.core.accounts import Accounts
from fairlead.core.admission import AdmissionPolicy, Limits, SignIn
from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.remote import RemoteDriver
from fairlead.mcp.sealing import Sealer
from fairlead.model.fleet import FleetSpec
from fairlead.orchestrator.gateway.gateway import EdgeTimeouts, Gateway
from fairlead.orchestrator.gateway.sessions import SessionTable
from fairlead.orchestrator.launcher import Drivers, Folders, SpecLauncher
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.orchestrator import MCPOrchestrator
from fairlead.orchestrator.trends import Trends
from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles
from fairlead.secrets.environment import EnvironmentSecrets
from fairlead.secrets.files import FileSecrets
from fairlead.secrets.sources import Secrets
from fairlead.secrets.vault import VaultSecrets
from fairlead.stores.overrides import OverrideStore
from fairlead.stores.sql.identities import SqlIdentityStore
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.trends import SqlTrendStore
from fairlead.stores.state import StateFolder
from fairlead.web.app import create_app
from fairlead.web.live import Door, Live, LiveLimits
from fairlead.web.live_fleet import fleet_table
from fairlead.web.services import BrowserLogins, Services, SystemInfo

if TYPE_CHECKING:
    from fairlead.app.otlp import OtlpTracer
    from fairlead.limits.shared import SharedLimits


@dataclass(frozen=True, slots=True)
class System:
    """The orchestrator service, put together and not yet started."""

    settings: Settings
    state: StateFolder
    access: Access
    gateway: Gateway
    fleet: MCPOrchestrator
    config: FleetConfig
    tool_lock: ToolLock
    drivers: Drivers
    app: FastAPI
    live: Live
    kept: Persistence
    trends: Trends
    limits: SharedLimits | None  # where there may be other processes
    ports: tuple[int, ...]  # MCP's first
    tracer: OtlpTracer | None

    def policy(self) -> AdmissionPolicy:
        """Who may come in now, by the fleet spec in force."""
        sign_in = self.gateway.policy.sign_in
        return make_policy(self.settings, self.access.keyring, self.fleet.spec, self.ports, sign_in)


def compose(
    settings: Settings, state: StateFolder, listeners: tuple[Listener, ...], kept: Persistence
) -> System:
    """Everything for a service that listens there. The state folder is prepared and locked by the caller."""
    ports = tuple(listener.port for listener in listeners)
    urls = addresses(listeners)
    access = open_access(settings, state, kept, urls)
    sealer = Sealer(service_key(settings, state))
    sessions = SessionTable(
        sealer,
        state.id(),
        limit=settings.sessions.max_sessions,
        idle=settings.sessions.idle_expiry,
        per_principal=settings.sessions.max_per_principal,
    )
    # `fleet` comes later
    metrics = MetricsCollector(lambda: fleet.servers(), lambda: fleet.breakers())  # noqa: PLW0108
    edge = settings.edge
    gateway = Gateway(
        sealer,
        sessions,
        metrics,
        make_policy(settings, access.keyring, FleetSpec(), ports, sign_in(settings, urls)),
        EdgeTimeouts(edge.header_timeout, edge.body_timeout, edge.keep_alive_timeout),
    )
    drivers = Drivers(process=ProcessDriver(state.id(), state.instances_file), remote=RemoteDriver())
    lock_files = LockFiles(committed=settings.lock_file, local=state.packages_lock)
    installer = Installer(
        state.packages,
        lock_files,
        on_progress=lambda package, text: fleet.installing(package, text),  # noqa: PLW0108 - as above
    )
    launcher = SpecLauncher(installer, secrets_of(settings), drivers, folders_of(settings, state))
    fleet = MCPOrchestrator(launcher, gateway, metrics)
    config = FleetConfig(
        settings.config,
        fleet,
        SpecKeeper(SqlSpecStore(kept.database), OverrideStore(state)),
        check=lambda spec: make_policy(settings, {}, spec, ports),
    )
    fleet.on_state = config.states_changed
    fleet.credentials = credentials = open_credentials(settings, state, kept, access, fleet)
    fleet.recorder = config.recorder = kept.journal
    gateway.audit = kept.audit
    gateway.conceal = conceal
    trends = Trends(metrics, fleet.servers, SqlTrendStore(kept.database), state.id())
    live = Live(
        kept.feed,
        fleet_table(fleet, config, metrics),
        Door(lambda: gateway.policy, gateway.account, kept.audit, kept.standing.away, kept.journal.settled),
        node=state.id(),
        limits=LiveLimits(settings.live.max_connections, settings.live.queue),
    )
    metrics.live_readers = lambda: live.readers
    services = Services(
        fleet=fleet,
        config=config,
        metrics=metrics,
        policy=lambda: gateway.policy,
        info=SystemInfo(__version__, time.time(), os.getpid(), state.id(), urls),
        limiter=gateway.account,
        live=live,
        roster=access.roster,
        browsers=BrowserLogins(access.logins, pages_address(settings, urls)),
        credentials=credentials,
        audit=kept.audit,
        trends=trends,
        away=kept.standing.away,
        settled=kept.journal.settled,
    )
    limits = share_limits(settings, state, gateway.accounts)
    tracer = gateway.tracer = open_tracer(os.environ, "fairlead-orchestrator")
    app = create_app(services)
    tool_lock = ToolLock(lock_files, fleet)
    return System(
        settings, state, access, gateway, fleet, config, tool_lock, drivers, app, live, kept, trends, limits,
        ports, tracer,
    )  # fmt: skip


def folders_of(settings: Settings, state: StateFolder) -> Folders:
    """Where servers keep things, and what no server is to see."""
    return Folders(
        homes=state.root / "homes",
        logs=state.server_logs,
        packages=state.packages,
        hidden=hidden_files(settings),
        workspace=settings.workspace,
    )


def share_limits(settings: Settings, state: StateFolder, accounts: Accounts) -> SharedLimits | None:
    """None where this is the only process. Raises ProblemError for a `bus` that is no URL."""
    if settings.bus is None:
        return None
    from fairlead.limits.shared import SharedLimits  # noqa: PLC0415 - 8 MiB that one process alone does not need

    process = f"{state.id()}-{secrets.token_hex(4)}"  # this start of this node
    return SharedLimits(
        settings.bus.get_secret_value(),
        accounts,
        service=group(settings, state, "orchestrator"),
        process=process,
    )


def open_credentials(
    settings: Settings, state: StateFolder, kept: Persistence, access: Access, fleet: MCPOrchestrator
) -> Credentials:
    """What principals give us for upstream servers. A change is in force in this process when it returns."""

    async def changed() -> None:
        await access.following.changed()
        await fleet.credentials_changed()

    return Credentials(SqlIdentityStore(kept.database), service_key(settings, state), changed)


def hidden_files(settings: Settings) -> tuple[Path, ...]:
    """What no server is to see: the state folder, and whatever else opens something."""
    keys = (settings.identity_file, settings.secrets_file, settings.tls.key)
    return (settings.state_dir, *(path for path in keys if path is not None))


def secrets_of(settings: Settings) -> Secrets:
    """Where the fleet's placeholders are filled in from."""
    return Secrets(
        EnvironmentSecrets({"FAIRLEAD_WORKSPACE": str(settings.workspace)}, on_read=register_secret),
        files=FileSecrets(on_read=register_secret),
        vault=VaultSecrets(settings.secrets_file, settings.identities, on_read=register_secret),
    )


def make_policy(
    settings: Settings,
    identities: Identities | Mapping[bytes, str],
    spec: FleetSpec,
    ports: int | tuple[int, ...],
    sign_in: SignIn | None = None,
) -> AdmissionPolicy:
    """Raises ValueError that names what of the spec or the settings cannot be."""
    network = spec.security.network_policies
    return AdmissionPolicy.compile(
        identities,
        ports,
        hosts=(*settings.own_hosts, settings.admin.host or settings.host),
        origins=[each for each in network.allowed_origins if "*" not in each],  # the loader warns of it
        denied=network.denied_ips,
        limits=Limits(
            body_bytes=spec.security.resource_limits.max_request_size,
            body_seconds=settings.edge.body_timeout,
        ),
        sign_in=sign_in,
    )
