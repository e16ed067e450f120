"""Keys of a fleet file that are understood but change nothing yet: THE table.

When an issue puts one in force, its line goes. A key is written as the loader walks: `*` for a name under
`servers`, `[]` for an item of a list; what stands for a server stands for `defaults` too. A whole section is
named once, at its top.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotInForce:
    """`why` says what holds instead; `value` restricts it to texts that match wholly."""

    why: str
    value: str = ""

    def concerns(self, text: str | None) -> bool:
        """`text` is the value's, None where it is a list or a mapping."""
        return not self.value or (text is not None and re.fullmatch(self.value, text) is not None)


_NO_DOCKER = "there is no Docker driver yet"

NOT_IN_FORCE: dict[str, NotInForce] = {
    "servers.*.deploymentType": NotInForce(
        "a package or command runs as a process, a url is called over HTTP", value="docker|websocket"
    ),
    "servers.*.id": NotInForce("a server is known by its name under `servers`"),
    "servers.*.type": NotInForce("a server is known by its name under `servers`"),
    "servers.*.image": NotInForce(_NO_DOCKER),
    "servers.*.volumes": NotInForce(_NO_DOCKER),
    "servers.*.port": NotInForce(
        "a process speaks over stdio; the port of a remote server stands in its `url`"
    ),
    "servers.*.url": NotInForce("there is no WebSocket driver yet", value="wss?://.*"),
    "servers.*.priority": NotInForce("all servers are equal"),
    "servers.*.healthCheck.path": NotInForce("instances are asked over MCP: `ping`, `server/discover`"),
    "servers.*.scaling.targetMemoryUtilization": NotInForce(
        "more instances do not make one smaller; one over `resources.memory` is replaced"
    ),
    "monitoring": NotInForce("/metrics is served on the service's own port; nothing is alerted or retained"),
    "security.authentication": NotInForce("every request needs a bearer token, whatever this says"),
    "security.networkPolicies.enabled": NotInForce("origins are always checked", value="false"),
    "security.networkPolicies.allowedOrigins[]": NotInForce(
        "an origin is compared as a whole, so write each one out", value=r".*\*.*"
    ),
    "security.resourceLimits.enforced": NotInForce(
        "the limits always hold; raise them instead", value="false"
    ),
    "development": NotInForce("there are no profiles yet"),
    "production": NotInForce("there are no profiles yet"),
    "environments": NotInForce("there is one environment, the one that runs"),
}
