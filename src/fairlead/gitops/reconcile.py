"""A reconciliation: an ordered list of steps, each of which finds something, acts, or ends the look.

It is level-based: a look sees what is, whatever it was that woke it, and does the next thing that brings the
target nearer to Git. What cannot be done now, but may be later by itself (a host that is away), asks for
another look; what only a change can mend does not. The findings become the application's conditions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from fairlead.core import rollout, windows
from fairlead.core.rules import Rules
from fairlead.core.summary import Finding
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.passes import Look, Order, Stop, Subject
from fairlead.gitops.pieces import Gathered
from fairlead.gitops.planning import Versions
from fairlead.gitops.state_keeping import keep, left_to_do
from fairlead.gitops.synchronizer import ConfigSynchronizer, gate, held
from fairlead.model.errors import ProblemError, SpecError
from fairlead.model.gitops import Application, DriftKind
from fairlead.model.reconciling import (
    ApplicationState,
    Deployment,
    DeploymentReason,
    DeploymentState,
    DriftRow,
    DriftState,
    Reason,
    Rendered,
    Resolution,
    StepName,
    Symptom,
)
from fairlead.ports import StoreAwayError
from fairlead.ports.gitops import (
    ApplicationStore,
    ChangedMeanwhileError,
    DeploymentStore,
    Snapshot,
    TargetAwayError,
)

SOON: Final = 0.2  # s: somebody else changed something meanwhile
AWAY: Final = 5.0  # s until what is away is looked for again
HEAL_AGAIN: Final = 60.0  # s until healing that failed is tried again
_LASTING: Final = frozenset({DeploymentReason.MANUAL, DeploymentReason.PROMOTION, DeploymentReason.ROLLBACK})
"""What a person has ordered goes on after a restart; a commit goes on only while it is the newest."""

_PUT_OFF: Final = frozenset({Reason.STORE_AWAY, Reason.TARGET_AWAY, Reason.SUSPENDED, Reason.WINDOW_CLOSED})
_PASSING: Final = frozenset({  # what an order waits for
    Reason.SUSPENDED, Reason.WINDOW_CLOSED, Reason.AWAITING_PRUNE, Reason.AWAITING_APPROVAL, Reason.HELD,
    Reason.SOURCE_AWAY, Reason.PROGRESSING,
})  # fmt: skip
_UNRENDERED: Final = {  # problems of a source that are not about what is written in it
    "source-refused": Reason.SOURCE_REFUSED,
    "source-unreadable": Reason.SOURCE_AWAY,
}
UNFINISHED: Final = tuple(state for state in DeploymentState if state not in rollout.ENDED)
LOG_LIMIT: Final = 200  # commits that are looked at for one that is not blocked


class Renderer(Protocol):
    async def render(self, application: Application, snapshot: Snapshot) -> Rendered:
        """What Git says of an application at a commit. Raises ProblemError with all that is wrong."""
        ...

    async def gather(self, application: Application, snapshot: Snapshot) -> Gathered:
        """The files that it is made of."""
        ...


MoreDrift = Callable[[Look], Awaitable[Sequence[DriftRow]]]
"""Drift beside the comparison: installed tools, uncommitted edits. It must not raise."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps work with."""

    renderer: Renderer
    detector: DriftDetector
    synchronizer: ConfigSynchronizer
    applications: ApplicationStore
    deployments: DeploymentStore
    more_drift: Sequence[MoreDrift] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`again`: seconds until the next look by itself, None for when something changes."""

    look: Look
    findings: tuple[Finding, ...]
    again: float | None

    @property
    def is_put_off(self) -> bool:
        """Whether the look could not do what was asked of it, but may by and by."""
        return any(each.reason in _PUT_OFF for each in self.findings)


Step = Callable[[Look, Tools], Awaitable[Stop | None]]


async def reconcile(subject: Subject, order: Order | None, tools: Tools, now: float) -> Outcome:
    """Look at one application, and do what is to be done. `now` is Unix time, s. Raises only for bugs."""
    look = Look(subject, ApplicationState(subject.name), now, order)
    again: float | None = None
    try:
        for step in STEPS:
            if (stop := await step(look, tools)) is not None:
                look.findings.append(stop.finding)
                again = stop.retry
                await _answer(look, tools, stop.finding)
                break
    except StoreAwayError as away:
        look.findings.append(Finding(Reason.STORE_AWAY, str(away)))
        again = AWAY
    except TargetAwayError as away:
        look.findings.append(Finding(Reason.TARGET_AWAY, str(away)))
        again = AWAY
    except ChangedMeanwhileError:
        look.findings.append(Finding(Reason.PROGRESSING, "the target was changed meanwhile: looking again"))
        again = SOON
    except ProblemError as error:
        problem = error.problem
        look.findings.append(Finding(Reason.TARGET_REFUSED, f"{problem.title}: {problem.detail}"))
        again = problem.retry_after
    return Outcome(look, tuple(look.findings), _soonest(again, look))


# -- the steps, in their order --------------------------------------------------------------------------


async def remember(look: Look, tools: Tools) -> Stop | None:
    """What is kept of it."""
    store = tools.applications
    look.state = (await store.states()).get(look.name, look.state)
    look.bases = await store.bases(look.name)
    look.known = await store.drift(look.name)
    look.holds = tuple(each for each in await store.holds() if each.application == look.name)
    look.blocked = tuple(await tools.deployments.blocked(look.name))
    look.unfinished = tuple(await tools.deployments.search(application=look.name, states=UNFINISHED))
    _take_up(look)
    if look.order is not None and look.order.resolutions:
        await _keep_resolutions(look, look.order.resolutions, tools)
    try:
        look.rules = Rules.of(look.application)
        gate(look.application, look.now, suspended=False)
    except SpecError as error:
        return Stop(Finding(Reason.INVALID_CONFIG, f"{error}: {error.hint}"))
    return None


async def choose(look: Look, tools: Tools) -> Stop | None:
    """Which commit: what is ordered, else the newest that is not blocked, else what is applied."""
    source = look.subject.source
    look.head = None if source.head is None else source.head.commit.id
    if source.problem is not None:
        reason, message = source.problem
        look.findings.append(Finding(Reason(reason), message))
    if look.order is not None and look.order.commit is not None:
        look.commit = look.order.commit
        return None
    if source.head is None:
        waiting = Finding(Reason.PROGRESSING, f"the source {source.name} was not fetched yet")
        return Stop(look.findings.pop() if look.findings else waiting)
    if look.application.promoted_from is not None:
        look.commit = look.state.applied
        if look.commit is None:
            says = f"waits for a promotion from {look.application.promoted_from}"
            return Stop(Finding(Reason.PROGRESSING, says))
        return None
    blocked = {each.commit: each for each in look.blocked}
    head = source.head.commit.id
    if head not in blocked:
        look.commit = head
        return None
    look.findings.append(
        Finding(Reason.BLOCKED_COMMIT, f"{head[:12]} is not applied: {blocked[head].reason}")
    )
    if look.state.applied is None:  # nobody asked for what Git said before it was asked at all
        return Stop(look.findings.pop())
    commits = [each.id for each in await source.log(LOG_LIMIT)]
    look.commit = rollout.next_commit(commits, look.state.applied, blocked.__contains__) or look.state.applied
    return None


async def settle(look: Look, tools: Tools) -> Stop | None:
    """What was interrupted, and is not to go on, is ended: at first what was being taken back, and once it
    is known which commit is due, what that overtakes.
    """
    if look.unfinished:
        await tools.synchronizer.settle(look)
    return None


async def render(look: Look, tools: Tools) -> Stop | None:
    """What Git says. While its newest commit cannot be taken, the applied one stays enforced."""
    assert look.commit is not None
    refused = await _render_at(look.commit, look, tools)
    applied = look.state.applied
    ordered = look.order is not None and look.order.commit is not None
    if refused is None or refused.retry is not None or ordered or applied in (None, look.commit):
        return refused
    look.findings.append(refused.finding)
    look.commit = applied
    return await _render_at(applied, look, tools)


async def _render_at(commit: str | None, look: Look, tools: Tools) -> Stop | None:
    assert commit is not None
    source = look.subject.source
    try:
        head = source.head
        at_head = head is not None and head.commit.id == commit
        look.snapshot = head if head is not None and at_head else await source.snapshot(commit)
        look.rendered = await tools.renderer.render(look.application, look.snapshot)
    except ProblemError as error:
        problem = error.problem
        reason = _UNRENDERED.get(problem.code, Reason.INVALID_CONFIG)
        return Stop(Finding(reason, f"{problem.title}: {problem.detail}"), problem.retry_after)
    return None


async def read(look: Look, tools: Tools) -> Stop | None:
    """What is there. An object that cannot be read is left out, and hinders no other."""
    assert look.rendered is not None
    target = look.subject.target
    objects, bases = dict(look.rendered.objects), dict(look.bases)
    if (expect := getattr(target, "expect", None)) is not None:
        expect(objects, bases)
    lives = await target.read(sorted({*objects, *bases}))
    for name, live in list(lives.items()):
        if live.problem:
            look.findings.append(Finding(Reason.OBJECT_REFUSED, f"{name}: {live.problem}"))
            for each in (lives, objects, bases):
                each.pop(name, None)
    look.lives = lives
    rendered = Rendered(look.rendered.commit, look.rendered.digest, objects, look.rendered.author)
    look.versions = Versions(rendered, lives, bases, target.normal, look.subject.is_fleet)
    return None


async def compare(look: Look, tools: Tools) -> Stop | None:
    """What differs, what is to be done about it; and drift is kept and told."""
    assert look.versions is not None
    assert look.rules is not None
    differences = tools.detector.differences(look.versions, look.rules)
    confirmed = look.order is not None and look.order.confirmed
    look.plan = tools.synchronizer.plan(look, look.versions, differences, confirmed=confirmed)
    symptoms = await _symptoms(look)
    rows = tools.detector.rows(look.application, look.plan.decisions, look.lives, look.now, symptoms=symptoms)
    for more in tools.more_drift:
        rows += await more(look)
    look.drift = tuple(rows)
    await tools.detector.keep(look.application, rows)
    _tell(look)
    return None


async def pass_gate(look: Look, tools: Tools) -> Stop | None:
    """Whether anything may be done now. A person may roll back whenever it is."""
    assert look.plan is not None
    shut = gate(look.application, look.now, suspended=look.state.suspended_by is not None)
    if shut is None or (look.order is not None and look.order.reason is DeploymentReason.ROLLBACK):
        return None if shut is None or shut.reason is not Reason.OBSERVED else Stop(shut)
    if look.plan.waves or look.drift or shut.reason is Reason.SUSPENDED:
        return Stop(shut, retry=_until_window(look) if shut.reason is Reason.WINDOW_CLOSED else None)
    return None


async def propose(look: Look, tools: Tools) -> Stop | None:
    """Ask Git to take what stays as it is live, and to forget it when live is as Git says again."""
    assert look.snapshot is not None
    assert look.plan is not None
    asked, branch = look.state.proposal, None
    try:
        if look.plan.decisions.proposals:
            gathered = await tools.renderer.gather(look.application, look.snapshot)
            branch = await tools.synchronizer.propose(
                look.subject, look.plan, gathered, onto=look.snapshot.commit.id
            )
        if asked is not None and asked != branch:
            await look.subject.source.withdraw(asked)
    except ProblemError as error:
        problem = error.problem
        look.findings.append(Finding(Reason.DRIFTED, f"not proposed: {problem.title}: {problem.detail}"))
        return None
    if asked != branch:
        await keep(look, tools.applications, replace(look.state, proposal=branch))
    return None


async def apply(look: Look, tools: Tools) -> Stop | None:
    """Bring the target to what Git says, as a deployment; or only note that it is there."""
    assert look.versions is not None
    assert look.plan is not None
    reason, actor = _why(look)
    ordered = look.order is not None and look.order.deployment is not None
    if not look.plan.waves and not look.unfinished and not ordered:
        await _note_applied(look, tools)
        return None
    if reason is DeploymentReason.HEAL and not look.application.sync.self_heal and not look.unfinished:
        return Stop(Finding(Reason.DRIFTED, "`sync.selfHeal` is false: a person starts a sync"))
    look.deployment = await tools.synchronizer.apply(look, reason=reason, actor=actor)
    look.blocked = tuple(await tools.deployments.blocked(look.name))
    await _ask_to_revert(look, look.deployment, tools)
    return _after(look.deployment)


STEPS: Final[Sequence[Step]] = (
    remember, settle, choose, render, settle, read, compare, pass_gate, propose, apply,
)  # fmt: skip


# -- what they share -----------------------------------------------------------------------------------


def _take_up(look: Look) -> None:
    """The commit that a person has ordered last is the order now: one from before a restart, or one that
    waits, goes on whatever else is asked for; of two, the later one counts.
    """
    order = look.order
    if order is not None and order.commit is not None and order.deployment is None:
        return
    cancelled = {each.commit for each in look.blocked}  # an order unblocks its commit
    for row in look.unfinished:
        if row.reason not in _LASTING or row.commit in cancelled:
            continue
        if not row.steps or row.steps[-1].name is not StepName.ROLL_BACK:
            asked = Order(row.actor) if order is None else order
            look.order = replace(
                asked, actor=row.actor, reason=row.reason, commit=row.commit, deployment=row.id
            )
            return


async def _keep_resolutions(look: Look, decided: Sequence[Resolution], tools: Tools) -> None:
    """What a person has decided holds until it is carried out, whatever that waits for."""
    places = {(each.object, each.key) for each in decided}
    others = [each for each in look.state.resolutions if (each.object, each.key) not in places]
    await keep(look, tools.applications, replace(look.state, resolutions=(*others, *decided)))


async def _answer(look: Look, tools: Tools, finding: Finding) -> None:
    """A deployment that was ordered ends where its look ends, unless that passes by itself."""
    if look.order is None or look.order.deployment is None or finding.reason in _PASSING:
        return
    row = await tools.deployments.get(look.order.deployment)
    if row is not None and row.state is DeploymentState.PENDING:
        state = rollout.move(row.state, DeploymentState.FAILED)
        await tools.deployments.update(replace(row, state=state, ended=look.now, message=finding.message))


async def _ask_to_revert(look: Look, deployment: Deployment, tools: Tools) -> None:
    """Of a commit that was taken back. What hinders it is a finding."""
    bad: str | None
    good: str | None
    if deployment.state is DeploymentState.ROLLED_BACK and deployment.reason is DeploymentReason.COMMIT:
        bad, good, why = deployment.commit, deployment.previous, deployment.message
    elif deployment.state is DeploymentState.SUCCEEDED and deployment.reason is DeploymentReason.ROLLBACK:
        bad, good = look.head, deployment.commit
        why = f"{deployment.actor} went back to {deployment.commit[:12]}"
    else:
        return
    if bad is None or good is None or bad == good or not look.application.sync.propose:
        return
    source = look.subject.source
    try:
        before, after = [
            await tools.renderer.gather(look.application, await source.snapshot(each)) for each in (good, bad)
        ]
        await tools.synchronizer.revert(look.subject, after, before, commit=bad, why=why)
    except ProblemError as error:
        text = f"no revert proposed: {error.problem.title}: {error.problem.detail}"
        look.findings.append(Finding(Reason.DRIFTED, text))


def _soonest(again: float | None, look: Look) -> float | None:
    """A hold that ends, and a removal whose time comes, are reasons to look, too."""
    ends = [max(SOON, hold.until - look.now) for hold in look.holds if hold.until > look.now]
    if look.plan is not None and look.plan.removals.again is not None:
        ends.append(max(SOON, look.plan.removals.again - look.now))
    return min([*ends, *([] if again is None else [again])], default=None)


async def _symptoms(look: Look) -> list[Symptom]:
    """How the target runs otherwise than it should, where it runs anything."""
    ask = getattr(look.subject.target, "symptoms", None)
    return [] if ask is None else list(await ask())


def _tell(look: Look) -> None:
    """Findings of the comparison."""
    assert look.plan is not None
    conflicts = sum(row.state is DriftState.CONFLICT for row in look.drift)
    if conflicts:
        says = f"{conflicts} waiting for a person: `fairlead gitops diff {look.name}` shows the versions"
        look.findings.append(Finding(Reason.CONFLICT, says))
    removals = look.plan.removals
    if removals.confirm:
        look.findings.append(Finding(Reason.AWAITING_PRUNE, removals.message))
    elif removals.again is not None:
        look.findings.append(Finding(Reason.PROGRESSING, removals.message))
    look.findings += held(look.holds, look.now)
    unhealthy = [row.message for row in look.drift if row.kind is DriftKind.SERVICE]
    if unhealthy:
        look.findings.append(Finding(Reason.UNHEALTHY, unhealthy[0]))


def _why(look: Look) -> tuple[DeploymentReason, str]:
    """Why there is something to do, and who wants it."""
    if look.order is not None:
        return look.order.reason, look.order.actor
    if look.state.applied_digest == (look.rendered.digest if look.rendered else None):
        return DeploymentReason.HEAL, "fairlead"
    return DeploymentReason.COMMIT, look.rendered.author if look.rendered else ""


async def _note_applied(look: Look, tools: Tools) -> None:
    """Nothing is to be written: the commit counts as applied, and the bases are brought up to it."""
    assert look.plan is not None
    assert look.rendered is not None
    state, rendered, resolutions = look.state, look.rendered, left_to_do(look)
    as_before = resolutions == state.resolutions
    if (state.applied, state.applied_digest) == (rendered.commit, rendered.digest) and as_before:
        return
    wanted = replace(
        state,
        seen=rendered.commit,
        applied=rendered.commit,
        applied_digest=rendered.digest,
        resolutions=resolutions,
    )
    await keep(look, tools.applications, wanted, list(look.plan.bases.values()), list(look.plan.dropped))


def _until_window(look: Look) -> float | None:
    _, again = windows.is_open(look.application.sync.windows, look.now)
    return None if again is None else max(1.0, again - look.now)


def _after(deployment: Deployment) -> Stop | None:
    message = deployment.message
    match deployment.state:
        case DeploymentState.SUCCEEDED:
            return None
        case DeploymentState.WAITING:
            return Stop(Finding(Reason.AWAITING_APPROVAL, message))
        case DeploymentState.ROLLED_BACK | DeploymentState.FAILED | DeploymentState.CANCELLED:
            if deployment.reason is DeploymentReason.HEAL:
                return Stop(Finding(Reason.UNHEALTHY, message), retry=HEAL_AGAIN)
            return Stop(Finding(Reason.BLOCKED_COMMIT, message), retry=SOON)
        case _:
            return Stop(Finding(Reason.PROGRESSING, message), retry=SOON)
