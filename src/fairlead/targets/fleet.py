"""A fleet as a target: one object, `fleet`, whose document is the spec in force at an orchestrator.

A write puts a whole spec in force: what is there afterwards is what was written. Live edits that stay by
policy stay live edits; all others are taken back, or become Git's. `If-Match` keeps an edit that somebody
made meanwhile from being lost.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pydantic import ValidationError
from websockets.exceptions import WebSocketException

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.reconciling import Live, Symptom
from fairlead.model.reports import Change, FleetStatus, Owner
from fairlead.model.status import ServerStatus
from fairlead.ports.gitops import ChangedMeanwhileError, Health, TargetAwayError, Write
from fairlead.targets.fleet_health import FLEET, health_of, symptoms_of
from fairlead.targets.orchestrator import Locate, ask, hearing

FIRST_PAUSE: Final = 0.2  # s until an orchestrator that has gone is looked for again
LONGEST_PAUSE: Final = 5.0  # s
_WHOLE: Final = "/api/fleet?origin=gitops-whole"
_LONGEST: Final = 8 * 1024  # characters of a query; live edits that are not named there become Git's
_NOT_REMOVABLE: Final = Problem(
    "fleet-not-removable",
    "A fleet cannot be removed",
    "Git has no fleet file any more at the place that the application names: bring it back, or remove the "
    "application, which leaves the fleet as it is.",
    422,
    Fault.CLIENT,
)

Normal = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A fleet document in the spelling in which an orchestrator shows it."""


class FleetTarget:
    """Implements `ports.gitops.RunningTarget`. It holds nothing open but what `changes` hears."""

    def __init__(self, locate: Locate, normal: Normal, *, rng: Callable[[], float] = random.random) -> None:
        self._locate = locate
        self._normal = normal
        self._rng = rng
        self.is_owned = True
        """Whether Git's spec is the accepted one, as last read; else the fleet file's is, and is watched."""
        self._generation: int | None = None
        self._touched: frozenset[str] | None = None  # servers of the last write; None: there was none

    def __repr__(self) -> str:
        return f"FleetTarget(generation={self._generation})"

    @property
    def generation(self) -> int | None:
        return self._generation

    async def read(self, objects: Sequence[str]) -> dict[str, Live]:
        if FLEET not in objects:
            return {}
        body, headers = await ask(self._locate(), "GET", "/api/fleet")
        status = _fleet(body)
        self.is_owned = status.owner is Owner.GITOPS
        content = json.dumps(status.spec, indent=2, ensure_ascii=False).encode() + b"\n"
        by = {override.key: override.by for override in status.overrides}
        return {FLEET: Live(FLEET, headers.get("etag", ""), content, status.spec, by=by)}

    def normal(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._normal(document)

    async def check(self, writes: Sequence[Write]) -> str:
        told = []
        for write in writes:
            path, body = f"{_whole(write)}&dryRun=true", _document(write)
            answer, _ = await ask(self._locate(), "PUT", path, body=body, if_match="*")
            told.append(_told(_change(answer)))
        return "\n".join(told)

    async def write(self, write: Write) -> str | None:
        body = _document(write)
        if write.tag is None:
            raise ChangedMeanwhileError("a fleet is always there: read it first")
        answer, headers = await ask(self._locate(), "PUT", _whole(write), body=body, if_match=write.tag)
        change = _change(answer)
        self._generation = change.generation
        self._touched = frozenset((*change.started, *change.replaced, *change.adjusted))
        return headers.get("etag", "")

    async def settle(self) -> None:
        """Changes have one turn after the other, dry runs too: when this one has had its own, all before are
        over. What was given up is not begun, or ended, as soon as the orchestrator sees that.
        """
        place = self._locate()
        body, _ = await ask(place, "GET", "/api/fleet")
        await ask(place, "PUT", f"{_WHOLE}&dryRun=true", body=_fleet(body).spec, if_match="*")

    async def health(self) -> Health:
        fleet, servers = await self._state()
        return health_of(fleet, servers, generation=self._generation, touched=self._touched)

    def recall(self, servers: frozenset[str] | None) -> None:
        """What was written before this target was made counts for its health, too; None: all servers do."""
        if servers is None or self._touched is None:
            self._touched = servers
        else:
            self._touched |= servers

    async def symptoms(self) -> list[Symptom]:
        return symptoms_of(*await self._state())

    async def _state(self) -> tuple[FleetStatus, list[ServerStatus]]:
        place = self._locate()
        (fleet, _), (servers, _) = await asyncio.gather(
            ask(place, "GET", "/api/fleet"), ask(place, "GET", "/api/servers")
        )
        try:
            return _fleet(fleet), [ServerStatus.model_validate(each) for each in servers["servers"]]
        except (KeyError, TypeError, ValidationError):
            raise _foreign() from None

    async def changes(self) -> AsyncIterator[str]:
        failures = 0
        yield ""
        while True:
            try:
                async with hearing(self._locate()) as events:
                    failures = 0
                    yield ""  # whatever happened while nobody listened
                    async for _ in events:
                        yield FLEET
            except (TargetAwayError, ProblemError, WebSocketException, OSError, ValueError, LookupError):
                pass
            if not failures:
                yield ""  # it has gone: look at once
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
            failures += 1
            await asyncio.sleep(pause * (0.5 + self._rng() / 2))

    async def close(self) -> None:
        """Nothing to do: whoever iterates over `changes` ends that."""


def _whole(write: Write) -> str:
    path = _WHOLE
    for key in write.keeps:
        named = f"&keep={quote(key, safe='')}"
        path += named if len(path) + len(named) <= _LONGEST else ""
    return path


def _document(write: Write) -> Mapping[str, Any]:
    if write.document is None:
        raise ProblemError(_NOT_REMOVABLE)
    return write.document


def _fleet(body: Any) -> FleetStatus:
    try:
        return FleetStatus.model_validate(body)
    except ValidationError:
        raise _foreign() from None


def _change(body: Any) -> Change:
    try:
        return Change.model_validate(body)
    except ValidationError:
        raise _foreign() from None


def _foreign() -> ProblemError:
    detail = "the target's answer is not as this version's: bring both services to the same version"
    return ProblemError(Problem("foreign-orchestrator", "Another version", detail, 502, Fault.UPSTREAM))


def _told(change: Change) -> str:
    """One line for a person."""
    did = {
        "starts": change.started,
        "replaces": change.replaced,
        "adjusts": change.adjusted,
        "stops": change.stopped,
        "moves sessions of": tuple(each.server for each in change.sessions_moved),
        "takes back live edits of": change.dropped_overrides,
    }
    return (
        "; ".join(f"{what} {', '.join(names)}" for what, names in did.items() if names) or "changes nothing"
    )
