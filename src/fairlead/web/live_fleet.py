"""What can be asked of the orchestrator over its live connection: as by REST, with the same permissions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from fairlead.core.access import may_use
from fairlead.model.access import Caller
from fairlead.model.reports import BreakerScope, BreakerStatus, Change
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.web.breakers import require_breaker
from fairlead.web.health import CheckList
from fairlead.web.live_messages import CommandMessage, GetMessage
from fairlead.web.live_table import Action, Run, Table
from fairlead.web.metrics import Traffic
from fairlead.web.permissions import require
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
_CHECK: Final = ("POST", "/api/health/check")

START: Final = Action(Start, ("POST", f"{_SERVER}/start"), ServerStatus)
STOP: Final = Action(Stop, ("POST", f"{_SERVER}/stop"), ServerStatus)
RESTART: Final = Action(Restart, ("POST", f"{_SERVER}/restart"), ServerStatus)
DRAIN: Final = Action(Drain, ("POST", f"{_SERVER}/drain"), ServerStatus)
CHECK: Final = Action(Check, _CHECK, CheckList)
RELOAD: Final = Action(Reload, ("POST", "/api/config/reload"), Change)
RESET_BREAKER: Final = Action(ResetBreaker, ("POST", "/api/circuit-breakers/{id}/reset"), BreakerStatus)
GET_SERVERS: Final = Action(GetServers, ("GET", "/api/servers"), ServerList)
GET_SERVER: Final = Action(GetServer, ("GET", _SERVER), ServerStatus)
GET_METRICS: Final = Action(GetMetrics, ("GET", "/api/metrics/summary"), Traffic)
GET_CONFIG: Final = Action(GetConfig, ("GET", "/api/config"), dict[str, Any])

SERVICE: Final = "orchestrator"
ACTIONS: Final = (
    *(START, STOP, RESTART, DRAIN, CHECK, RELOAD, RESET_BREAKER),
    *(GET_SERVERS, GET_SERVER, GET_METRICS, GET_CONFIG),
)


def fleet_table(fleet: Fleet, config: ConfigService, metrics: MetricsCollector) -> Table:
    """The commands and snapshots of the orchestrator."""

    async def drain(message: Drain, _: Caller) -> ServerStatus:
        return await fleet.drain(message.server, message.instance)

    async def check(message: Check, caller: Caller) -> CheckList:
        require(caller, *_CHECK, message.server)
        return CheckList(results=await fleet.check_health(message.server))

    async def reload(_: Reload, __: Caller) -> Change:
        return await config.reload()

    async def reset(message: ResetBreaker, caller: Caller) -> BreakerStatus:
        scope = BreakerScope(message.scope) if message.scope else None
        require_breaker(caller, fleet, message.breaker, scope)
        return fleet.reset_breaker(message.breaker, scope)

    async def servers(_: GetServers, caller: Caller) -> ServerList:
        shown = [server for server in fleet.servers() if may_use(caller.grants, server.id)]
        return ServerList(generation=fleet.generation, servers=shown)

    async def server(message: GetServer, _: Caller) -> ServerStatus:
        return fleet.server(message.server)

    async def traffic(_: GetMetrics, __: Caller) -> Traffic:
        return Traffic.model_validate(metrics.summary())

    async def spec(_: GetConfig, __: Caller) -> dict[str, Any]:
        return config.current()

    runs: dict[Action, Run] = {
        START: _on_server(fleet.start),
        STOP: _on_server(fleet.stop),
        RESTART: _on_server(fleet.restart),
        DRAIN: drain,
        CHECK: check,
        RELOAD: reload,
        RESET_BREAKER: reset,
        GET_SERVERS: servers,
        GET_SERVER: server,
        GET_METRICS: traffic,
        GET_CONFIG: spec,
    }
    return Table(SERVICE, {action: runs[action] for action in ACTIONS})


def _on_server(act: Callable[[str], Awaitable[ServerStatus]]) -> Run:
    async def run(message: Start | Stop | Restart, _: Caller) -> ServerStatus:
        return await act(message.server)

    return run
