"""Who may do what over REST, and over the live connection, in one table.

Each route has the least role that may use it, and how far it reaches into the fleet: a caller whose grants
choose servers (or tools) is held to them on every route. `guard` stands before all handlers; a route that
the table does not have is refused, so that a new one cannot be forgotten. Public are the paths that
`core.admission` says are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from starlette.requests import HTTPConnection

from fairlead.core import refusals
from fairlead.core.access import may_use
from fairlead.core.admission import is_public
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Fault, Problem, ProblemError


class Reach(Enum):
    """Which servers a route is about, and so what grants say of it."""

    NONE = auto()  # none
    SERVER = auto()  # the one whose id is in the path
    NAMED = auto()  # the one that the request names elsewhere; its handler calls `require` with it
    GRANTED = auto()  # those that the caller was granted: its handler sees to that
    FLEET = auto()  # all: not for callers whose grants choose


class Permission(NamedTuple):
    role: Role
    reach: Reach


_READ: Final = Permission(Role.VIEWER, Reach.NONE)
_READ_GRANTED: Final = Permission(Role.VIEWER, Reach.GRANTED)
_READ_FLEET: Final = Permission(Role.VIEWER, Reach.FLEET)
_OPERATE: Final = Permission(Role.OPERATOR, Reach.SERVER)
_OPERATE_FLEET: Final = Permission(Role.OPERATOR, Reach.FLEET)
_ADMINISTER: Final = Permission(Role.ADMIN, Reach.FLEET)

_COMMON: Final[Mapping[tuple[str, str], Permission]] = {
    ("GET", "/api/me"): _READ,
    ("GET", "/api/session"): _READ,
    ("POST", "/logout"): _READ,
    ("POST", "/api/login-links"): _READ,
    ("GET", "/openapi.json"): _READ,
    ("GET", "/asyncapi.json"): _READ,
    ("GET", "/ws"): _READ_GRANTED,
    ("GET", "/api/events"): _READ_GRANTED,
    ("GET", "/metrics"): _READ_FLEET,
    ("GET", "/api/system/info"): _READ_GRANTED,
    ("GET", "/api/config"): _OPERATE_FLEET,
    ("GET", "/api/audit"): _ADMINISTER,
    ("GET", "/api/principals"): _ADMINISTER,
    ("PUT", "/api/principals/{name}"): _ADMINISTER,
    ("DELETE", "/api/principals/{name}"): _ADMINISTER,
    # A caller's own keys; those of others take the role ADMIN, which the handlers see to.
    ("GET", "/api/keys"): _READ,
    ("POST", "/api/keys"): Permission(Role.DEVELOPER, Reach.NONE),
    ("DELETE", "/api/keys/{id}"): Permission(Role.DEVELOPER, Reach.NONE),
}
"""What every service has."""

PERMISSIONS: Final[Mapping[tuple[str, str], Permission]] = {
    **_COMMON,
    ("GET", "/api/servers"): _READ_GRANTED,
    ("GET", "/api/servers/{id}"): Permission(Role.VIEWER, Reach.SERVER),
    ("POST", "/api/servers/{id}/start"): _OPERATE,
    ("POST", "/api/servers/{id}/stop"): _OPERATE,
    ("POST", "/api/servers/{id}/restart"): _OPERATE,
    ("POST", "/api/servers/{id}/scale"): _OPERATE,
    ("POST", "/api/servers/{id}/drain"): _OPERATE,
    ("GET", "/api/toolsets"): _READ_GRANTED,
    ("GET", "/api/health/servers"): _READ_GRANTED,
    ("POST", "/api/health/check"): Permission(Role.OPERATOR, Reach.NAMED),
    ("GET", "/api/circuit-breakers"): _READ_GRANTED,
    ("POST", "/api/circuit-breakers/{id}/reset"): Permission(Role.OPERATOR, Reach.NAMED),
    ("GET", "/api/load-balancer/status"): _READ_FLEET,
    ("POST", "/api/load-balancer/strategy"): _OPERATE_FLEET,
    ("POST", "/api/request"): Permission(Role.DEVELOPER, Reach.GRANTED),
    ("GET", "/api/metrics/summary"): _READ_FLEET,
    ("GET", "/api/metrics/trends"): Permission(Role.VIEWER, Reach.NAMED),
    ("GET", "/api/metrics/servers/{id}"): Permission(Role.VIEWER, Reach.SERVER),
    ("POST", "/api/config/reload"): _ADMINISTER,
    ("GET", "/api/fleet"): _OPERATE_FLEET,
    ("PUT", "/api/fleet"): _ADMINISTER,
    ("DELETE", "/api/fleet/overrides"): _ADMINISTER,
    ("POST", "/api/fleet/release"): _ADMINISTER,
    # Upstream credentials of the caller's own.
    ("GET", "/api/credentials"): Permission(Role.DEVELOPER, Reach.GRANTED),
    ("GET", "/api/credentials/{server}"): Permission(Role.DEVELOPER, Reach.SERVER),
    ("PUT", "/api/credentials/{server}"): Permission(Role.DEVELOPER, Reach.SERVER),
    ("DELETE", "/api/credentials/{server}"): Permission(Role.DEVELOPER, Reach.SERVER),
}
"""Of the orchestrator, by method and route template."""

_DEVELOP_FLEET: Final = Permission(Role.DEVELOPER, Reach.FLEET)

GITOPS_PERMISSIONS: Final[Mapping[tuple[str, str], Permission]] = {
    **_COMMON,
    ("GET", "/api/applications"): _READ_FLEET,
    ("GET", "/api/applications/{name}"): _READ_FLEET,
    ("GET", "/api/applications/{name}/diff"): _READ_FLEET,
    ("POST", "/api/applications/{name}/promote"): _OPERATE_FLEET,
    ("POST", "/api/applications/{name}/suspend"): _OPERATE_FLEET,
    ("POST", "/api/applications/{name}/resume"): _OPERATE_FLEET,
    ("POST", "/api/applications/{name}/resolve"): _OPERATE_FLEET,
    ("PUT", "/api/applications/{name}/holds"): _OPERATE_FLEET,
    ("DELETE", "/api/applications/{name}/holds"): _OPERATE_FLEET,
    ("DELETE", "/api/applications/{name}/blocked/{commit}"): _OPERATE_FLEET,
    ("GET", "/api/deployments"): _READ_FLEET,
    ("POST", "/api/deployments"): _OPERATE_FLEET,
    ("GET", "/api/deployments/{id}"): _READ_FLEET,
    ("POST", "/api/deployments/{id}/rollback"): _OPERATE_FLEET,
    ("POST", "/api/deployments/{id}/approve"): _OPERATE_FLEET,  # and a person: see `gitops_approval`
    ("POST", "/api/deployments/{id}/cancel"): _OPERATE_FLEET,
    ("GET", "/api/sync/status"): _READ_FLEET,
    ("POST", "/api/sync/trigger"): _OPERATE_FLEET,
    ("GET", "/api/drift/status"): _READ_FLEET,
    ("POST", "/api/drift/check"): _DEVELOP_FLEET,
    ("GET", "/api/git/status"): _READ_FLEET,
    ("GET", "/api/git/commits"): _READ_FLEET,
    ("POST", "/api/config/validate"): _DEVELOP_FLEET,
    ("GET", "/api/health/environment"): _READ_FLEET,
    ("GET", "/api/gitops"): _READ_FLEET,
    ("POST", "/api/gitops/enable"): _ADMINISTER,  # who owns the fleet spec
    ("POST", "/api/gitops/disable"): _ADMINISTER,
    ("POST", "/webhooks/{source}"): _READ,  # of names that no source can have: all others are public
}
"""Of the GitOps controller. An application may be about any server, so grants that choose give none of it."""

_EVERY: Final = {**GITOPS_PERMISSIONS, **PERMISSIONS}  # what both have is the same in both


def require(caller: Caller | None, method: str, route: str, server: str | None = None) -> None:
    """Refuse (ProblemError, 403) what `caller` may not do. `server`: which one it is about, if any."""
    permission = require_role(caller, method, route)
    assert caller is not None  # it has a role
    if not caller.grants or permission.reach is Reach.NONE:
        return
    if server is not None and not may_use(caller.grants, server):
        raise ProblemError(refusals.not_granted(server))
    if server is None and permission.reach is not Reach.GRANTED:
        raise ProblemError(NOT_ALL)


def require_role(caller: Caller | None, method: str, route: str) -> Permission:
    """The same of the role alone, whatever server it is about."""
    permission = _EVERY.get((method, route))
    if permission is None:
        raise ProblemError(NOT_IN_TABLE)
    if caller is None or caller.role < permission.role:
        raise ProblemError(too_weak(permission.role, caller))
    return permission


async def guard(connection: HTTPConnection) -> None:
    """A dependency of the whole app: no handler runs for a caller that may not use its route."""
    scope = connection.scope
    method = "GET" if scope["type"] == "websocket" else scope["method"]
    route = scope["route"].path
    if is_public(method.encode(), scope["raw_path"], webhooks=True):  # where there is no such route: 404
        return
    caller: Caller | None = scope["state"].get("caller")
    reach = require_role(caller, method, route).reach
    if reach is not Reach.NAMED:
        path = scope["path_params"]
        server = path.get("server", path.get("id")) if reach is Reach.SERVER else None
        require(caller, method, route, server)


def too_weak(least: Role, caller: Caller | None) -> Problem:
    has = f"{caller.name!r} has {caller.role.word}" if caller else "nobody asks"
    return _forbidden(f"This takes the role {least.word} or more; {has}. An administrator can give it.")


def _forbidden(detail: str) -> Problem:
    return Problem("forbidden", "Not allowed", detail, 403, Fault.CLIENT)


NOT_ALL: Final = _forbidden(
    "This is about all servers, and your grants choose among them. Ask about one that you were granted."
)
NOT_IN_TABLE: Final = _forbidden("Nobody has said yet who may use this.")
