"""The two eras of the protocol: which one a message belongs to, how `_meta` crosses between them.

Legacy (up to 2025-11-25) negotiates once, in `initialize`. Modern (2026-07-28) says everything in each
request's `_meta`, repeated in HTTP headers. Facts from the specification and the official SDK 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from fairlead.mcp.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    UNSUPPORTED_PROTOCOL_VERSION,
    McpError,
)
from fairlead.mcp.log_levels import require_level
from fairlead.mcp.messages import decode_any, decode_members, encode_json, one_line
from fairlead.mcp.profiles import MAX_KNOWN, NOBODY, Profile, read_profile

LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS: Final = ("2026-07-28",)
LATEST_LEGACY: Final = LEGACY_VERSIONS[-1]
LATEST_MODERN: Final = MODERN_VERSIONS[-1]
ASSUMED_LEGACY: Final = "2025-03-26"  # what a missing MCP-Protocol-Version header stands for

RESERVED: Final = "io.modelcontextprotocol/"
META_VERSION: Final = RESERVED + "protocolVersion"
META_CAPABILITIES: Final = RESERVED + "clientCapabilities"
META_CLIENT: Final = RESERVED + "clientInfo"
META_LOG_LEVEL: Final = RESERVED + "logLevel"
META_SUBSCRIPTION: Final = RESERVED + "subscriptionId"
TASKS: Final = RESERVED + "tasks"  # an extension
_OF_THE_HOP: Final = frozenset(
    {"progressToken", META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL}
)
"""Members of a request's `_meta` that the gateway says anew to the server."""

NAME_MEMBER: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Which member of `params` the header `Mcp-Name` mirrors, for the methods that have one."""


class Era(Enum):
    LEGACY = "legacy"
    MODERN = "modern"


def era_of_header(version: str | None) -> Era:
    """The era a client speaks, from `MCP-Protocol-Version` alone; what nobody knows counts as modern."""
    return Era.LEGACY if version is None or version in LEGACY_VERSIONS else Era.MODERN


def negotiate_legacy(requested: object) -> str:
    """The version that answers a client's `initialize`."""
    return requested if isinstance(requested, str) and requested in LEGACY_VERSIONS else LATEST_LEGACY


@dataclass(frozen=True, slots=True)
class Meta:
    """What a request's `_meta` says; `others` are the members that every era passes on, without braces."""

    version: str | None = None
    capabilities: bytes | None = None
    client: bytes | None = None
    log_level: str | None = None
    progress_token: bytes | None = None
    others: bytes = b""
    profile: Profile = NOBODY  # what its capabilities say that it can be asked
    tasks: bool = False  # it takes a task in place of a result


NO_META: Final = Meta()


def read_meta(raw: bytes) -> Meta:
    """Parse `_meta`; equal bytes are parsed once, since a client repeats them with every request.

    Raises McpError (-32602) when it is not an object or a member has the wrong type.
    """
    raw = one_line(raw)
    return _read_cached(raw) if len(raw) <= MAX_KNOWN else _read(raw)


def _read(raw: bytes) -> Meta:
    try:
        members = decode_members(raw)
    except McpError:
        raise McpError(INVALID_PARAMS, "params._meta must be an object") from None
    others = {name: value for name, value in members.items() if name not in _OF_THE_HOP}
    token = _bytes(members.get("progressToken"))
    if token is not None and token[:1] not in b'"-0123456789':
        raise McpError(INVALID_PARAMS, "params._meta.progressToken must be a string or a number")
    version = None
    if META_VERSION in members:
        value = decode_any(members[META_VERSION])
        if not isinstance(value, str):
            raise McpError(INVALID_PARAMS, f"params._meta[{META_VERSION!r}] must be a string")
        version = value
    capabilities = _bytes(members.get(META_CAPABILITIES))
    return Meta(
        version=version,
        capabilities=capabilities,
        client=_bytes(members.get(META_CLIENT)),
        log_level=_level(members.get(META_LOG_LEVEL)),
        progress_token=token,
        others=b",".join(encode_json(name) + b":" + bytes(value) for name, value in others.items()),
        profile=NOBODY if capabilities is None else read_profile(capabilities),
        tasks=capabilities is not None and _takes_tasks(capabilities),
    )


_read_cached = lru_cache(maxsize=1024)(_read)


def _takes_tasks(capabilities: bytes) -> bool:
    extensions = decode_any(capabilities).get("extensions")  # an object, as `read_profile` has found
    return isinstance(extensions, dict) and isinstance(extensions.get(TASKS), dict)


def _level(raw: Raw | None) -> str | None:
    return None if raw is None else require_level(decode_any(raw))


def _bytes(raw: Raw | None) -> bytes | None:
    return None if raw is None else bytes(raw)


@dataclass(frozen=True, slots=True)
class RoutingHeaders:
    """The modern headers of a request, decoded; None where absent."""

    version: str | None
    method: str | None
    name: str | None


def check_modern(method: str, meta: Meta, headers: RoutingHeaders, name: str | None) -> None:
    """Hold a modern request's headers against its body, which is the truth.

    `name` is the value of the member that `Mcp-Name` mirrors, None where the method or the body has none.
    The order of the checks is the official SDK's. Raises McpError.
    """
    missing = [
        key
        for key, value in ((META_VERSION, meta.version), (META_CAPABILITIES, meta.capabilities))
        if value is None
    ]
    if missing:
        raise McpError(INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    for header, got, expected in (
        ("MCP-Protocol-Version", headers.version, meta.version),
        ("Mcp-Method", headers.method, method),
        ("Mcp-Name", headers.name, name if name is not None else headers.name),
    ):
        if got != expected:
            raise McpError(
                HEADER_MISMATCH,
                f"The header {header} says {got!r}, the body {expected!r}; they must be equal",
            )
    require_served(meta.version)


def require_served(version: str | None) -> None:
    """Raise McpError (-32022) for a modern version that is not served."""
    if version not in MODERN_VERSIONS:
        raise McpError(
            UNSUPPORTED_PROTOCOL_VERSION,
            "Unsupported protocol version",
            {"supported": [*MODERN_VERSIONS, *LEGACY_VERSIONS], "requested": version or ""},
        )


def meta_for(era: Era, meta: Meta, gateway_client: bytes, progress_token: int | None) -> bytes:
    """The `_meta` that a server of `era` gets in place of the client's, or nothing where it needs none.

    `progress_token` is ours, None where the client asked for no progress.
    """
    parts = []
    if progress_token is not None:
        parts.append(b'"progressToken":%d' % progress_token)
    if era is Era.MODERN:
        capabilities, client = meta.capabilities or b"{}", meta.client or gateway_client
        small = len(capabilities) + len(client) <= MAX_KNOWN
        parts.append((_known_members if small else _modern_members)(capabilities, client, meta.log_level))
    if meta.others:
        parts.append(meta.others)
    return b"{" + b",".join(parts) + b"}" if parts else b""


def _modern_members(capabilities: bytes, client: bytes, log_level: str | None) -> bytes:
    members = {META_VERSION: encode_json(LATEST_MODERN), META_CAPABILITIES: capabilities, META_CLIENT: client}
    if log_level is not None:
        members[META_LOG_LEVEL] = encode_json(log_level)
    return b",".join(encode_json(name) + b":" + value for name, value in members.items())


_known_members = lru_cache(maxsize=256)(_modern_members)


CACHE_MEMBERS: Final = {"ttlMs": b"0", "cacheScope": b'"private"'}
"""What a modern client must find in a `resources/read`; a legacy server says nothing of it: do not keep."""


def complete_result(method: str, raw: bytes) -> bytes:
    """A legacy server's result as a modern client wants it: with a `resultType`, and what `method` needs."""
    if method != "resources/read" and b'"resultType"' not in raw:
        rest = raw[1:].lstrip() if raw[:1] == b"{" else b""
        if rest:
            return b'{"resultType":"complete"' + (rest if rest == b"}" else b"," + rest)
    members = _members(raw)
    if members is None or "resultType" in members:
        return raw
    members = {"resultType": b'"complete"', **members}
    return _object(members if method != "resources/read" else {**CACHE_MEMBERS, **members})


def as_private(raw: bytes) -> bytes:
    """A result of a server that holds state for each session: whatever it says, nobody else may have it."""
    members = _members(raw) if b'"public"' in raw else None
    if members is None or "cacheScope" not in members:
        return raw
    return _object({**members, "cacheScope": b'"private"'})


def strip_result_type(raw: bytes) -> bytes:
    """A modern server's result as a legacy client knows it: without `resultType`, `ttlMs`, `cacheScope`."""
    members = _members(raw) if b'"resultType"' in raw else None
    if members is None or "resultType" not in members:
        return raw
    return _object({k: v for k, v in members.items() if k not in ("resultType", *CACHE_MEMBERS)})


def _members(raw: bytes) -> dict[str, Raw | bytes] | None:
    """The top level of a result; None for what is not an object."""
    try:
        return dict(msgspec.json.decode(raw, type=dict[str, Raw]))
    except (msgspec.DecodeError, RecursionError):
        return None


def _object(members: dict[str, Raw | bytes]) -> bytes:
    return b"{" + b",".join(encode_json(k) + b":" + bytes(v) for k, v in members.items()) + b"}"
