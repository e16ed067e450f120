"""`ConfigSynchronizer`: from what differs to what is done: decides, gates, applies, proposes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from fairlead.core import pruning, resolve, windows
from fairlead.core.object_edits import merged
from fairlead.core.overrides import ABSENT, Edit
from fairlead.core.rules import Rules
from fairlead.core.summary import Finding
from fairlead.formats import documents
from fairlead.gitops.passes import Look, Subject
from fairlead.gitops.planning import Plan, Versions, plan
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
            decisions.removals, setting, lambda each: since.get((each.object, ""), look.now), look.now
        )
        if verdict.waiting:
            decisions = resolve.deferred(decisions, verdict.waiting)
        made = plan(versions, decisions, rules, valid=self._valid)
        return Plan(made.waves, made.bases, made.dropped, decisions, verdict, made.difference)

    async def apply(
        self, subject: Subject, versions: Versions, wanted: Plan, *, reason: DeploymentReason, actor: str
    ) -> Deployment:
        return await self._deployer.deploy(subject, versions, wanted, reason=reason, actor=actor)

    async def propose(self, subject: Subject, versions: Versions, wanted: Plan) -> str | None:
        """Ask Git to take what stays as it is live. The proposal's URL or branch; None if there is nothing.

        Raises ProblemError.
        """
        edits = wanted.decisions.proposals
        if not edits or not subject.application.sync.propose:
            return None
        return await subject.source.propose(proposal(subject.application, versions, edits))


def proposal(application: Application, versions: Versions, edits: Mapping[str, Sequence[Edit]]) -> Proposal:
    """The same edits make the same branch."""
    files: dict[str, bytes | None] = {}
    for name, changes in edits.items():
        desired = versions.rendered.objects.get(name)
        document = merged(ABSENT if desired is None else desired.document, changes)
        if not isinstance(document, Mapping):
            files[name] = None
        elif desired is None:
            files[name] = documents.write(documents.format_of(name), document)
        else:
            files[name] = documents.edit(desired.format, desired.content, changes)
    stated = json.dumps(
        {
            name: None if content is None else content.decode("utf-8", "replace")
            for name, content in files.items()
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(stated.encode()).hexdigest()[:12]
    title = f"{application.name}: take {_count(sum(map(len, edits.values())), 'live change')}"
    return Proposal(
        branch=f"{PREFIX}/{application.name}/{digest}",
        onto=versions.rendered.commit,
        title=title,
        body="These changes were made at the target, and its policy lets them stay.",
        files=files,
        trailers={"Fairlead-Application": application.name, "Fairlead-Origin": "live"},
        merge={name: [(each.key, each.value) for each in changes] for name, changes in edits.items()},
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
