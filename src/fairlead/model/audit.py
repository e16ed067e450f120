"""Audit records: who did what, when, with what outcome. Frozen data."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class AuditKind(StrEnum):
    CALL = "call"  # a tool call, or another request to a server
    CHANGE = "change"  # through REST, the WebSocket or the command line
    REFUSAL = "refusal"  # at the door, by a limit, or for lack of permission
    SYSTEM = "system"  # the service itself: starts, stops, what may be missing


class AuditRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the audit. Times are Unix time in seconds, sizes bytes; empty is what does not apply."""

    at: float
    kind: AuditKind
    principal: str = ""
    credential: str = ""
    action: str = ""  # tools/call, PUT /api/fleet, ...
    server: str = ""
    instance: str = ""
    tool: str = ""  # or prompt, or resource
    outcome: str = ""  # ok, tool-error, refused, timeout, ...; a problem's code
    seconds: float = 0.0
    request_bytes: int = 0
    answer_bytes: int = 0
    arguments: str = ""  # digest (sha256:...), or the redacted arguments, by policy
    request_id: str = ""
    peer: str = ""
    detail: dict[str, Any] = {}


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; None is anything. `since` and `until` are Unix time in seconds."""

    since: float | None = None
    until: float | None = None
    kind: AuditKind | None = None
    principal: str | None = None
    server: str | None = None
    tool: str | None = None
    outcome: str | None = None
    limit: int = 100
