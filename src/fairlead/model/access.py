"""Who may do what: principals, their keys and their grants. Frozen data, without any secret value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Role(IntEnum):
    """What a principal may do at most; each may do what those before it may."""

    VIEWER = 1  # read: states, events, lists of tools
    DEVELOPER = 2  # call tools
    OPERATOR = 3  # start, stop, restart, scale, drain, reset
    ADMIN = 4  # the fleet spec, principals and keys, the audit log

    @property
    def word(self) -> str:
        return self.name.lower()


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Grant:
    """Servers, toolsets and tools that a principal may (not) use: patterns, in which `*` stands for any
    characters and `?` for one.

    A principal without any allowing grant may use all that its role allows; a denial always wins.
    """

    effect: Effect = Effect.ALLOW
    servers: tuple[str, ...] = ("*",)
    toolsets: tuple[str, ...] = ("*",)
    tools: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or program. `created` is Unix time, s; a disabled one is refused whatever it shows."""

    name: str
    role: Role
    grants: tuple[Grant, ...] = ()
    disabled: bool = False
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a principal, as the store has it: `digest` is keyed (see `access.keys`), never the value.

    Times are Unix time, s. `id` is public: it stands in lists, logs and the audit.
    """

    id: str
    principal: str
    digest: bytes
    label: str = ""
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and by what. What both lanes know of whoever was let in.

    `credential` names what was shown (`key:ID`, `jwt:DIGEST`, `web:ID`, `local:DIGEST`, `env:DIGEST`): when
    it is revoked, what was opened by it ends. `expires` is Unix time, s, None for never.
    """

    name: str
    role: Role
    grants: tuple[Grant, ...] = ()
    credential: str = ""
    expires: float | None = None
