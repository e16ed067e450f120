"""What of a server's spec its processes depend on: two specs with the same key can share instances."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from fairlead.mcp.profiles import NOBODY
from fairlead.model.fleet import ServerSpec
from fairlead.orchestrator.instance import PoolKey

ADJUSTABLE: Final = {
    "capabilities",
    "circuit_breaker",
    "health_check",
    "limits",
    "lists",
    "priority",
    "scaling",
    "strategy",
    "timeouts",
    "tool_contracts",
    "weight",
}
"""Parts of a server's spec that its processes do not depend on."""


def pool_key(spec: ServerSpec) -> PoolKey:
    """The key of the instances that this spec asks for; in rotation are those that may ask for nothing."""
    text = json.dumps(spec.model_dump(mode="json", exclude=ADJUSTABLE), sort_keys=True)
    return PoolKey(spec.id, hashlib.sha256(text.encode()).hexdigest()[:12], str(NOBODY))
