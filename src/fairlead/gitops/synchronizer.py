"""`ConfigSynchronizer`: from what differs to what is done: decides, gates, applies, proposes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from fairlead.core import discretion, pruning, resolve, windows
from fairlead.core.overrides import REMOVED, Edit, Key, key_text
from fairlead.core.rules import Rules
from fairlead.core.summary import Finding
from fairlead.gitops.passes import Look, Subject
from fairlead.gitops.pieces import Gathered
from fairlead.gitops.planning import Plan, Versions, plan
from fairlead.gitops.write_back import written_back
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application, Mode, Policy
from fairlead.model.reconciling import (
    Case,
    Deployment,
    DeploymentReason,
    Difference,
    Hold,
    Reason,
)
from fairlead.ports.gitops import Proposal

PREFIX: Final = "fairlead/drift"
REVERT_PREFIX: Final = "fairlead/revert"


class Deployer(Protocol):
    """Carries a plan out as a deployment."""

    async def settle(self, look: Look) -> None:
        """Before anything is compared: what was interrupted and is not to go on is brought to its end."""
        ...

    async def deploy(self, look: Look, *, reason: DeploymentReason, actor: str) -> Deployment:
        """Carry out the look's plan: to its end, or to where it waits for a person.

        Raises TargetAwayError, ChangedMeanwhileError: the next look goes on with it.
        """
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
        differences = [_rotated(each) for each in differences]
        held = resolve.held_paths(look.holds, application.name, fleet=application.target.fleet is not None)
        decisions = resolve.decide(
            differences, _policies(look, rules), held, look.now, propose=application.sync.propose
        )
        since = {(row.object, row.key): row.since for row in look.known}
        setting = pruning.Setting(
            application.sync.prune,
            application.environment,
            total=sum(pruning.things(versions.live(name)) for name in versions.lives),
            nothing_desired=not versions.rendered.objects,
            confirmed=confirmed and _agreed(decisions.removals, look),
        )
        verdict = pruning.judge(
            decisions.removals,
            setting,
            lambda each: since.get((each.object, key_text(each.key)), look.now),
            look.now,
        )
        if verdict.waiting:
            decisions = resolve.deferred(decisions, verdict.waiting)
        decisions = replace(decisions, left=_without_local(decisions.left, look))
        claim = application.sync.mode is Mode.ENFORCE and not getattr(look.subject.target, "is_owned", True)
        made = plan(versions, decisions, rules, valid=self._valid, claim=claim)
        return Plan(made.waves, made.bases, made.dropped, decisions, verdict, made.difference)

    async def settle(self, look: Look) -> None:
        await self._deployer.settle(look)

    async def apply(self, look: Look, *, reason: DeploymentReason, actor: str) -> Deployment:
        return await self._deployer.deploy(look, reason=reason, actor=actor)

    async def propose(self, subject: Subject, wanted: Plan, gathered: Gathered, *, onto: str) -> str | None:
        """Ask Git to take what stays as it is live; the branch, None if there is nothing. The branch before
        is withdrawn where it is another.

        `gathered` are the files at the commit `onto`. Raises ProblemError.
        """
        edits = wanted.decisions.proposals
        if not edits or not subject.application.sync.propose:
            return None
        made = proposal(subject.application, gathered, edits, onto=onto)
        await subject.source.propose(made)
        return made.branch

    async def revert(
        self, subject: Subject, bad: Gathered, good: Gathered, *, commit: str, why: str
    ) -> str | None:
        """Ask Git to take a commit's changes of this application back. None if there are none."""
        made = reverting(subject.application, bad, good, commit=commit, why=why)
        return await subject.source.propose(made) if made.files else None


def _rotated(difference: Difference) -> Difference:
    """A secret that has another value now is Git's own change, whatever is at the target."""
    rotated = discretion.is_concealed(difference.live) and discretion.is_filled_in(difference.desired)
    return replace(difference, case=Case.DEPLOY) if rotated else difference


def _policies(look: Look, rules: Rules) -> Callable[[str, Key], Policy]:
    """What a person has decided goes before the rules."""
    decided = {(each.object, each.key): each.take for each in look.state.resolutions}
    return lambda name, key: decided.get((name, key)) or rules.policy(name, key)


def _agreed(removals: Sequence[Difference], look: Look) -> bool:
    """Whether the person who confirms has seen all of them."""
    agreed = look.order.agreed if look.order is not None else None
    counted = {(each.object, each.key) for each in removals if pruning.taken(each)}
    return agreed is None or counted <= agreed


def _without_local(left: Sequence[Difference], look: Look) -> tuple[Difference, ...]:
    """Where a person lets the live version stay, Git's counts as seen: what is left is drift, no conflict."""
    local = {(each.object, each.key) for each in look.state.resolutions if each.take is Policy.LOCAL}
    return tuple(each for each in left if (each.object, each.key) not in local)


def proposal(
    application: Application, gathered: Gathered, edits: Mapping[str, Sequence[Edit]], *, onto: str
) -> Proposal:
    """The same contents make the same branch. Raises ProblemError for what cannot be written so, and for
    what looks like a secret.
    """
    _refuse_secrets(edits)
    changes = written_back(application, gathered, edits)
    digest = hashlib.sha256()
    for path, content in sorted(changes.files.items()):
        digest.update(json.dumps([path, None if content is None else content.hex()]).encode())
    for path, executable in sorted(changes.modes.items()):
        digest.update(json.dumps([path, executable]).encode())
    return Proposal(
        branch=f"{PREFIX}/{application.name}/{digest.hexdigest()[:12]}",
        onto=onto,
        title=f"{application.name}: take {_count(sum(map(len, edits.values())), 'live change')}",
        body="These changes were made at the target, and its policy lets them stay.",
        files=changes.files,
        trailers={"Fairlead-Application": application.name, "Fairlead-Origin": "live"},
        merge=changes.merge,
        modes=changes.modes,
    )


def _refuse_secrets(edits: Mapping[str, Sequence[Edit]]) -> None:
    for name, changes in edits.items():
        for edit in changes:
            if edit.value is not REMOVED and discretion.has_secret(edit.value, edit.key):
                detail = (
                    f"{name} {key_text(edit.key)}: the value looks like a secret, which does not belong in "
                    "Git; put it into the environment or the encrypted file, and its placeholder here"
                )
                raise ProblemError(
                    Problem("proposal-refused", "Looks like a secret", detail, 422, Fault.CLIENT)
                )


def reverting(application: Application, bad: Gathered, good: Gathered, *, commit: str, why: str) -> Proposal:
    """The files of the application as they were before `commit`."""
    before = {piece.path: piece.content for pieces in good.pieces.values() for piece in pieces}
    after = {piece.path: piece.content for pieces in bad.pieces.values() for piece in pieces}
    files = {
        path: before.get(path) for path in sorted({*before, *after}) if before.get(path) != after.get(path)
    }
    return Proposal(
        branch=f"{REVERT_PREFIX}/{application.name}/{commit[:12]}",
        onto=commit,
        title=f"{application.name}: take {commit[:12]} back",
        body=f"The commit was applied and taken back: {why}",
        files=files,
        trailers={"Fairlead-Application": application.name, "Fairlead-Origin": "roll-back"},
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
