"""Reads which tools the servers of a fleet file have now, for `fairlead lock --update`.

Each server is started for a moment, beside whatever runs already and without a gateway: its packages are
those that are installed, its home and its log are in a folder that goes. A legacy server may have more tools
for clients that it can ask things, so it is looked at twice: as such a client sees it, and as any other.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fairlead.app.compose import hidden_files, secrets_of
from fairlead.app.logs import configure
from fairlead.app.settings import Settings
from fairlead.core.contracts import Contract, Contracts
from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.remote import RemoteDriver
from fairlead.mcp.contracts import contract_of
from fairlead.mcp.eras import Era
from fairlead.mcp.profiles import NOBODY, Profile, read_profile
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import FleetSpec, ServerSpec
from fairlead.orchestrator.catalogue import Catalogue
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.launcher import Drivers, Folders, SpecLauncher
from fairlead.orchestrator.nursery import Nursery
from fairlead.orchestrator.revision import pool_key
from fairlead.orchestrator.server_requests import ServerRequest
from fairlead.packages.installer import Installer
from fairlead.ports import LinkLost
from fairlead.stores.state import StateFolder

AT_A_TIME: Final = 4  # servers that are looked at
ABLE: Final = read_profile(
    b'{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{"context":{},"tools":{}}}'
)
"""A client that can be asked everything."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Tools by server, and why nothing is known of the other servers."""

    contracts: dict[str, Contracts] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


async def read_tools(
    settings: Settings,
    spec: FleetSpec,
    installer: Installer,
    *,
    on_progress: Callable[[str, str], None],
) -> Reading:
    """What every enabled server offers; `on_progress` gets a server and what is done with it."""
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fairlead-lock-", ignore_cleanup_errors=True) as folder:
        state = StateFolder(Path(folder) / "state")
        state.prepare()
        configure("info", "json", file=state.log)
        drivers = Drivers(ProcessDriver(state.id(), state.instances_file), RemoteDriver())
        launcher = SpecLauncher(
            installer,
            secrets_of(settings),
            drivers,
            Folders(
                homes=state.root / "homes",
                logs=state.server_logs,
                packages=StateFolder(settings.state_dir).packages,
                hidden=(state.root, *hidden_files(settings)),
                workspace=settings.workspace,
            ),
        )
        try:
            return await _Reader(launcher, on_progress).read(spec)
        finally:
            await asyncio.gather(drivers.process.close(), drivers.remote.close())


class _Reader:
    def __init__(self, launcher: SpecLauncher, on_progress: Callable[[str, str], None]) -> None:
        self._launcher = launcher
        self._on_progress = on_progress
        self._gate = asyncio.Semaphore(AT_A_TIME)

    async def read(self, spec: FleetSpec) -> Reading:
        reading = Reading(unread={id_: "disabled" for id_, each in spec.servers.items() if not each.enabled})
        async with asyncio.TaskGroup() as group:
            for server in spec.servers.values():
                if server.enabled:
                    group.create_task(self._read(server, reading))
        contracts = {id_: reading.contracts[id_] for id_ in spec.servers if id_ in reading.contracts}
        return Reading(contracts, reading.unread)

    async def _read(self, spec: ServerSpec, reading: Reading) -> None:
        async with self._gate:
            self._on_progress(spec.id, "reading its tools")
            try:
                reading.contracts[spec.id] = await self._contracts(spec)
            except ProblemError as failed:
                reading.unread[spec.id] = failed.problem.detail

    async def _contracts(self, spec: ServerSpec) -> dict[str, Contract]:
        nursery = Nursery(self._launcher, _Deaf(), itertools.count(1))
        era, catalogue = await _look(nursery, spec, NOBODY)
        contracts = _readable(catalogue)
        asked = spec.client_requests
        able = ABLE if asked is None else ABLE.only([each.value for each in asked])
        if era is Era.LEGACY and able:
            _, more = await _look(nursery, spec, able)
            contracts = _readable(more) | contracts
        return contracts


async def _look(nursery: Nursery, spec: ServerSpec, profile: Profile) -> tuple[Era, Catalogue]:
    newcomer = await nursery.bring_up(spec, pool_key(spec)._replace(profile=str(profile)), profile=profile)
    try:
        return newcomer.instance.era, newcomer.catalogue
    finally:
        await asyncio.shield(newcomer.instance.stop())


def _readable(catalogue: Catalogue) -> dict[str, Contract]:
    """A tool that cannot be read has no contract, and goes on to be called new. Raises ProblemError."""
    if (why := catalogue.unread.get("tools")) is not None:
        detail = f"its tools cannot be listed: {why}"
        raise ProblemError(Problem("lists-unreadable", "Unreadable", detail, 503, Fault.UPSTREAM))
    found = {item.key: contract_of(item.raw) for item in catalogue.items("tools")}
    return {tool: contract for tool, contract in found.items() if contract is not None}


class _Deaf:
    """Whatever an instance tells of itself, it is about to be stopped."""

    def list_changed(self, instance: MCPServerInstance, kind: str) -> None: ...

    def instance_started(self, instance: MCPServerInstance) -> None: ...

    def instance_ended(self, instance: MCPServerInstance, lost: LinkLost) -> None: ...

    def answered(self, instance: MCPServerInstance, number: int) -> None: ...

    def call_failed(
        self, instance: MCPServerInstance, reason: str, *, number: int, transport: bool
    ) -> None: ...

    def calls_slow(self, instance: MCPServerInstance, numbers: Sequence[int]) -> None: ...

    def session_asked(self, instance: MCPServerInstance, request: ServerRequest) -> None:
        request.refuse_unheard("its tools are read, and nothing else")

    def session_told(self, instance: MCPServerInstance, method: str, params: bytes) -> None: ...

    def resource_updated(self, instance: MCPServerInstance, uri: str) -> None: ...
