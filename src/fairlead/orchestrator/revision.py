"""What of a server's spec its processes depend on: two specs with the same key can share instances."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from fairlead.model.fleet import ServerSpec
from fairlead.orchestrator.instance import PoolKey

NO_REQUESTS: Final = "no-requests"
"""The capability profile of all instances so far: a server may not ask its client for anything."""

ADJUSTABLE: Final = {
    "capabilities",
    "circuit_breaker",
    "health_check",
    "limits",
    "priority",
    "scaling",
    "strategy",
    "timeouts",
    "weight",
}
"""Parts of a server's spec that its processes do not depend on."""


def pool_key(spec: ServerSpec) -> PoolKey:
    """The key of the instances that this spec asks for."""
    text = json.dumps(spec.model_dump(mode="json", exclude=ADJUSTABLE), sort_keys=True)
    return PoolKey(spec.id, hashlib.sha256(text.encode()).hexdigest()[:12], NO_REQUESTS)
