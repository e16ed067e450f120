"""What can be asked of the orchestrator over its live connection: as by REST, with the same permissions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from fairlead.core.access import may_use
from fairlead.model.access import Caller
from fairlead.model.reports import BreakerScope, BreakerStatus, Change
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.web.health import CheckList
from fairlead.web.live_messages import CommandMessage, GetMessage
from fairlead.web.live_table import Action, Table
from fairlead.web.metrics import Traffic
from fairlead.web.servers import ServerList
from fairlead.web.services import ConfigService, Fleet
from fairlead.web.strict import Id


class Start(CommandMessage):
    """Start what was stopped, or try a failed server again at once."""

    name: Literal["start"]
    server: Id


class Stop(CommandMessage):
    """Stop a server's instances; it stays stopped until it is started."""

    name: Literal["stop"]
    server: Id


class Restart(CommandMessage):
    """Replace a server's instances by new ones."""

    name: Literal["restart"]
    server: Id


class Drain(CommandMessage):
    """Take a server, or one instance of it, out of service; its calls end first."""

    name: Literal["drain"]
    server: Id
    instance: Id | None = None


class Check(CommandMessage):
    """Check the instances of a server, or of all, now."""

    name: Literal["check"]
    server: Id | None = None


class Reload(CommandMessage):
    """Read the fleet file again and put it in force."""

    name: Literal["reload"]


class ResetBreaker(CommandMessage):
    """Close a circuit breaker. `scope` says whose it is, where a server and an instance have one id."""

    name: Literal["reset-breaker"]
    breaker: Id
    scope: Literal["server", "instance"] | None = None


class GetServers(GetMessage):
    """All servers, as `GET /api/servers`."""

    what: Literal["servers"]


class GetServer(GetMessage):
    """One server, as `GET /api/servers/{id}`."""

    what: Literal["server"]
    server: Id


class GetMetrics(GetMessage):
    """The calls since the start, as `GET /api/metrics/summary`."""

    what: Literal["metrics"]


class GetConfig(GetMessage):
    """The fleet spec in force, as `GET /api/config`."""

    what: Literal["config"]


_SERVER: Final = "/api/servers/{id}"


def fleet_table(fleet: Fleet, config: ConfigService, metrics: MetricsCollector) -> Table:
    """The commands and snapshots of the orchestrator."""

    async def drain(message: Drain, _: Caller) -> ServerStatus:
        return await fleet.drain(message.server, message.instance)

    async def check(message: Check, _: Caller) -> CheckList:
        return CheckList(results=await fleet.check_health(message.server))

    async def reload(_: Reload, __: Caller) -> Change:
        return await config.reload()

    async def reset(message: ResetBreaker, _: Caller) -> BreakerStatus:
        return fleet.reset_breaker(message.breaker, BreakerScope(message.scope) if message.scope else None)

    def of_breaker(message: ResetBreaker) -> str | None:
        return next((each.server for each in fleet.breakers() if each.id == message.breaker), None)

    async def servers(_: GetServers, caller: Caller) -> ServerList:
        shown = [server for server in fleet.servers() if may_use(caller.grants, server.id)]
        return ServerList(generation=fleet.generation, servers=shown)

    async def server(message: GetServer, _: Caller) -> ServerStatus:
        return fleet.server(message.server)

    async def traffic(_: GetMetrics, __: Caller) -> Traffic:
        return Traffic.model_validate(metrics.summary())

    async def spec(_: GetConfig, __: Caller) -> dict[str, Any]:
        return config.current()

    return Table(
        "orchestrator",
        (
            Action(Start, ("POST", f"{_SERVER}/start"), _on_server(fleet.start), ServerStatus),
            Action(Stop, ("POST", f"{_SERVER}/stop"), _on_server(fleet.stop), ServerStatus),
            Action(Restart, ("POST", f"{_SERVER}/restart"), _on_server(fleet.restart), ServerStatus),
            Action(Drain, ("POST", f"{_SERVER}/drain"), drain, ServerStatus),
            Action(Check, ("POST", "/api/health/check"), check, CheckList),
            Action(Reload, ("POST", "/api/config/reload"), reload, Change),
            Action(
                ResetBreaker, ("POST", "/api/circuit-breakers/{id}/reset"), reset, BreakerStatus, of_breaker
            ),
            Action(GetServers, ("GET", "/api/servers"), servers, ServerList),
            Action(GetServer, ("GET", _SERVER), server, ServerStatus),
            Action(GetMetrics, ("GET", "/api/metrics/summary"), traffic, Traffic),
            Action(GetConfig, ("GET", "/api/config"), spec, dict[str, Any]),
        ),
    )


def _on_server(
    act: Callable[[str], Awaitable[ServerStatus]],
) -> Callable[[Any, Caller], Awaitable[ServerStatus]]:
    async def run(message: Start | Stop | Restart, _: Caller) -> ServerStatus:
        return await act(message.server)

    return run
