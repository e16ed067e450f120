"""What is run: the cells of backend and client, what each must pass, and what it cannot express and why.

Each backend is reached by its own endpoint, `/servers/{id}/mcp`: where servers are merged their tools have
the server's name before their own, and the suite calls them by their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
ERA = {LEGACY: "legacy", MODERN: "modern"}
REVISION = {era: revision for revision, era in ERA.items()}

BEYOND = {
    LEGACY: ("server-session-lifecycle", "json-schema-2020-12", "server-sse-polling"),
    MODERN: ("json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"),
}
"""Server scenarios that the suite runs without asking for them, and that the gateway passes all the same. Of
the others, `tasks-*`, the fixture can do nothing: the SDK does not have that extension."""

NOT_EXPRESSIBLE: dict[tuple[str, str], dict[str, str]] = {
    (MODERN, "legacy"): {
        "input-required-result-basic-elicitation": (
            "wants its question under the key `user_name`: a legacy server's request has no key"
        ),
        "input-required-result-ignore-extra-params": (
            "wants a call's first round to take answers: a legacy server has no such rounds"
        ),
    },
}
"""Server scenarios, by revision and the backend's era, that such a backend cannot express."""

OAUTH = "signs in by OAuth; the gateway's credentials for a server stand in its fleet file"
NOT_OF_A_GATEWAY = {"auth/": OAUTH}
"""Client scenarios, by the beginnings of their names, that say nothing about a gateway."""

CLIENT_BEYOND = {
    LEGACY: ("json-schema-2020-12-preservation",),
    MODERN: ("json-schema-2020-12-preservation",),
}


MEASURING = ("sse-retry",)
"""Client scenarios that measure how long the client takes: each is run alone."""


@dataclass(frozen=True)
class Cell:
    """A run of the suite's server scenarios against a backend, through the gateway or `direct`."""

    revision: str
    era: str  # of the backend
    transport: str  # of the backend
    direct: bool = False

    @property
    def server(self) -> str:
        """The backend's id in the fleet."""
        return f"{self.era}-{self.transport}"

    def __str__(self) -> str:
        how = "direct" if self.direct else "gateway"
        return f"{ERA[self.revision]} client, {how}, {self.era} {self.transport} server"

    @property
    def excluded(self) -> dict[str, str]:
        return NOT_EXPRESSIBLE.get((self.revision, self.era), {})

    @property
    def beyond(self) -> tuple[str, ...]:
        """What it must pass beside the required ones."""
        return () if self.direct else BEYOND[self.revision]


@dataclass(frozen=True)
class Drive:
    """A client scenario: the gateway as the client, with a client of some era before it."""

    revision: str
    scenario: str
    era: str  # of the client before the gateway

    def __str__(self) -> str:
        return f"{self.era} client, gateway, the suite's {ERA[self.revision]} server"


TRANSPORTS = ("stdio", "http")
CELLS = (
    *(Cell(revision, era, "http", direct=True) for revision, era in ERA.items()),
    *(Cell(revision, era, transport) for revision in ERA for era in REVISION for transport in TRANSPORTS),
)


@cache
def required(suite: Path, revision: str, side: str) -> tuple[str, ...]:
    """The scenarios that a revision requires of a `server` or `client`, from the suite's own list."""
    listed = YAML(typ="safe").load(suite / "requirements" / f"{revision}.yaml")
    return tuple(listed[side])


def drives(suite: Path) -> list[Drive]:
    """The client scenarios that say something about a gateway, each with a client of either era before it."""
    return [
        Drive(revision, scenario, era)
        for revision in ERA
        for scenario in (*required(suite, revision, "client"), *CLIENT_BEYOND[revision])
        if not scenario.startswith(tuple(NOT_OF_A_GATEWAY))
        for era in REVISION
    ]
