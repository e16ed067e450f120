"""`ConfigSynchronizer`: from what differs to what is done: decides, gates, applies, proposes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from fairlead.core import pruning, resolve, windows
from fairlead.core.overrides import Edit, key_text
from fairlead.core.rules import Rules
from fairlead.core.summary import Finding
from fairlead.gitops.passes import Look, Subject
from fairlead.gitops.pieces import Gathered
from fairlead.gitops.planning import Plan, Versions, plan
from fairlead.gitops.write_back import written_back
from fairlead.model.gitops import Application, Mode
from fairlead.model.reconciling import (
    Deployment,
    DeploymentReason,
    Difference,
    Hold,
    Reason,
)
from fairlead.ports.gitops import Proposal

PREFIX: Final = "fairlead/drift"


class Deployer(Protocol):
    """Carries a plan out as a deployment."""

    async def deploy(
        self, subject: Subject, versions: Versions, wanted: Plan, *, reason: DeploymentReason, actor: str
    ) -> Deployment:
        """To its end, or to where it waits for a person or a window."""
        ...


class ConfigSynchronizer:
    """Knows what a sync would do (`plan`) and does it (`apply`, `propose`)."""

    def __init__(
        self, deployer: Deployer, *, valid: Callable[[Mapping[str, Any]], bool] = lambda _: True
    ) -> None:
        """`valid` says whether a fleet document may be in force for the time of a wave."""
        self._deployer = deployer
        self._valid = valid

    def plan(
        self, look: Look, versions: Versions, differences: Sequence[Difference], *, confirmed: bool
    ) -> Plan:
        """What is to be done now. `confirmed`: a person agreed to the removals that are wanted."""
        application = look.subject.application
        rules = Rules.of(application)
        held = resolve.held_paths(look.holds, application.name, fleet=application.target.fleet is not None)
        decisions = resolve.decide(
            differences, rules.policy, held, look.now, propose=application.sync.propose
        )
        since = {(row.object, row.key): row.since for row in look.known}
        setting = pruning.Setting(
            application.sync.prune,
            application.environment,
            total=sum(pruning.things(versions.live(name)) for name in versions.lives),
            nothing_desired=not versions.rendered.objects,
            confirmed=confirmed,
        )
        verdict = pruning.judge(
            decisions.removals,
            setting,
            lambda each: since.get((each.object, key_text(each.key)), look.now),
            look.now,
        )
        if verdict.waiting:
            decisions = resolve.deferred(decisions, verdict.waiting)
        made = plan(versions, decisions, rules, valid=self._valid)
        return Plan(made.waves, made.bases, made.dropped, decisions, verdict, made.difference)

    async def apply(
        self, subject: Subject, versions: Versions, wanted: Plan, *, reason: DeploymentReason, actor: str
    ) -> Deployment:
        return await self._deployer.deploy(subject, versions, wanted, reason=reason, actor=actor)

    async def propose(self, subject: Subject, wanted: Plan, gathered: Gathered, *, onto: str) -> str | None:
        """Ask Git to take what stays as it is live. The proposal's URL or branch; None if there is nothing.

        `gathered` are the files at the commit `onto`. Raises ProblemError.
        """
        edits = wanted.decisions.proposals
        if not edits or not subject.application.sync.propose:
            return None
        return await subject.source.propose(proposal(subject.application, gathered, edits, onto=onto))


def proposal(
    application: Application, gathered: Gathered, edits: Mapping[str, Sequence[Edit]], *, onto: str
) -> Proposal:
    """The same contents make the same branch. Raises ProblemError for what cannot be written so."""
    changes = written_back(application, gathered, edits)
    digest = hashlib.sha256()
    for path, content in sorted(changes.files.items()):
        digest.update(json.dumps([path, None if content is None else content.hex()]).encode())
    return Proposal(
        branch=f"{PREFIX}/{application.name}/{digest.hexdigest()[:12]}",
        onto=onto,
        title=f"{application.name}: take {_count(sum(map(len, edits.values())), 'live change')}",
        body="These changes were made at the target, and its policy lets them stay.",
        files=changes.files,
        trailers={"Fairlead-Application": application.name, "Fairlead-Origin": "live"},
        merge=changes.merge,
    )


def gate(application: Application, now: float, *, suspended: bool) -> Finding | None:
    """Why nothing may be applied now; None if it may. Raises SpecError for a malformed window."""
    if application.sync.mode is Mode.OBSERVE:
        return Finding(Reason.OBSERVED, "it is only observed: `fairlead gitops enable` puts Git in charge")
    if suspended:
        return Finding(Reason.SUSPENDED, f"`fairlead gitops resume {application.name}` goes on")
    opened, again = windows.is_open(application.sync.windows, now)
    if not opened:
        return Finding(Reason.WINDOW_CLOSED, f"the next window opens in {_lasting(again, now)}")
    return None


def held(holds: Sequence[Hold], now: float) -> list[Finding]:
    return [
        Finding(Reason.HELD, f"{hold.path}: {hold.by} holds it ({hold.reason})")
        for hold in holds
        if hold.until > now
    ]


def _lasting(until: float | None, now: float) -> str:
    if until is None:
        return "no time that is known"
    minutes = max(1, round((until - now) / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
