"""How a client learns where it gets a token: `WWW-Authenticate`, and the place of the metadata (RFC 9728)."""

from __future__ import annotations

import re
from typing import Final

from fairlead.model.errors import Problem

METADATA: Final = "/.well-known/oauth-protected-resource"
SCOPE: Final = "fairlead:developer"
"""What a client of an MCP endpoint should ask for; more is for people."""

_RESOURCE: Final = re.compile(rb"(?:/(?:servers|toolsets)/[A-Za-z0-9][A-Za-z0-9_.-]{0,127})?/mcp")
_METADATA: Final = METADATA.encode()


def is_resource(path: bytes) -> bool:
    """Whether a path, raw, is that of an MCP endpoint that has metadata of its own."""
    return _RESOURCE.fullmatch(path) is not None


def is_metadata(path: bytes) -> bool:
    """Whether a path, raw, is that of the service's metadata or of an endpoint's."""
    rest = path.removeprefix(_METADATA)
    return rest != path and (not rest or is_resource(rest))


def challenge(problem: Problem, path: bytes, resource: str, scope: str) -> bytes | None:
    """The value of `WWW-Authenticate`; None where a token cannot help.

    `resource` is the service's own public URL where access tokens are taken, `scope` what a client should
    ask for; else both are empty.
    """
    members = ['realm="fairlead"']
    if problem.code == "insufficient-scope":
        members += ['error="insufficient_scope"']
    elif problem.status != 401:
        return None
    elif problem.code == "invalid-token":
        members += ['error="invalid_token"', 'error_description="The token is not valid here"']
    if resource:
        endpoint = path.decode("ascii") if is_resource(path) else ""
        members += [f'resource_metadata="{resource}{METADATA}{endpoint}"']
    if scope:
        members += [f'scope="{scope}"']
    return f"Bearer {', '.join(members)}".encode()
