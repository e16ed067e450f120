"""`Deployments`: carries plans out, records each step, and takes back what does not become healthy.

How it works. A deployment is a row with its state and steps, and a journal of what it writes. Both are kept
before the target is touched, so that whatever interrupts a deployment, the next look at its application finds
it, plans what is still missing, and goes on: health is asked of everything that it wrote, before the
interruption too. What a newer commit overtakes hands its journal over: if the newer one fails, what was there
before both comes back.

One lease for each target keeps two controllers from writing at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from fairlead.core import rollout
from fairlead.gitops import journal
from fairlead.gitops.deployment_record import Record, new_id
from fairlead.gitops.execution import (
    Concerns,
    Execution,
    Leases,
    Overtaken,
    Unhealthy,
    every_commit,
    settle,
)
from fairlead.gitops.passes import Look, Subject
from fairlead.gitops.state_keeping import keep, left_to_do
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Mode
from fairlead.model.reconciling import (
    Blocked,
    Deployment,
    DeploymentReason,
    DeploymentState,
    StepName,
)
from fairlead.ports import Recorder
from fairlead.ports.gitops import (
    ApplicationStore,
    ChangedMeanwhileError,
    DeploymentStore,
    RevisionConflictError,
)

_R, _S = DeploymentReason, DeploymentState
AUTOMATIC: Final = frozenset({_R.COMMIT, _R.HEAL})
APPROVED: Final = frozenset({_R.COMMIT, _R.MANUAL, _R.PROMOTION})
"""What waits for approval. Healing and rolling back only restore what was approved."""

Check = Callable[[int], None]
"""Given a row's revision; raises ProblemError where what is decided about was looked at as another one."""

LOG_LIMIT: Final = 200  # commits that a roll-back may leave behind
FAULT_POINTS: Final = (
    "row-kept",
    "planned",
    "before-write",
    "written",
    "write-noted",
    "before-health",
    "healthy",
    "finished",
    "taking-back",
    "taken-back",
)
"""Where a crash is tried in tests, in order; `at` is told of each."""


@dataclass(frozen=True, slots=True)
class Stores:
    applications: ApplicationStore
    deployments: DeploymentStore


class Deployments:
    """Implements `gitops.synchronizer.Deployer`."""

    def __init__(
        self,
        stores: Stores,
        recorder: Recorder,
        *,
        holder: str,
        conceal: Callable[[str], str] = str,
        now: Callable[[], float] = time.time,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`holder` names this controller in leases, and is the same after a restart."""
        self._stores = stores
        self._recorder = recorder
        self._leases = Leases(stores.applications, holder)
        self._conceal = conceal
        self._now = now
        self._at = at
        self._cancelled: dict[str, str] = {}  # running ones -> by whom
        self.concerns: Concerns = every_commit
        self.is_current: Callable[[Subject], bool] = lambda _: True  # or another one is wanted by now
        self.on_changed: Callable[[str], None] = lambda application: None

    def __repr__(self) -> str:
        return f"Deployments(cancelling={sorted(self._cancelled)})"

    # -- what a look calls -------------------------------------------------------------------------------

    async def settle(self, look: Look) -> None:
        """Before anything is compared: end what was interrupted and is not to go on.

        What was being taken back is taken back. What another commit overtakes is superseded, and what it
        wrote counts as applied by Git, so that it is nobody's live edit. Where Git is only observed by now,
        nothing is written any more: that would make the target Git's again.
        """
        for row in look.unfinished:
            record = self._record(row)
            if look.application.sync.mode is Mode.OBSERVE:
                await self._let_go(look, record)
            elif record.last is StepName.ROLL_BACK:
                await self._take_back_again(look, record)
            elif look.commit is not None and not self._goes_on(row, look):
                await self._supersede(look, record)
            if record.row.state in rollout.ENDED:
                look.unfinished = tuple(each for each in look.unfinished if each.id != row.id)

    async def deploy(self, look: Look, *, reason: DeploymentReason, actor: str) -> Deployment:
        """To its end, or to where it waits for a person. Raises TargetAwayError, ChangedMeanwhileError:
        then the next look goes on with it.
        """
        record = await self._taken(look, reason, actor)
        if record.row.state in rollout.ENDED:
            return record.row
        execution = Execution(look, record, self._stores.applications, self._leases, self._at)
        execution.conceal, execution.cancelled = self._conceal, lambda: record.row.id in self._cancelled
        execution.concerns, execution.is_current = self.concerns, self.is_current
        try:
            await self._carry_out(look, record, execution)
        except Overtaken:
            pass
        finally:
            if record.row.state in rollout.ENDED:
                self._cancelled.pop(record.row.id, None)
        return record.row

    # -- what people call --------------------------------------------------------------------------------

    async def approve(self, deployment_id: str, actor: str, check: Check | None = None) -> Deployment:
        """One person agrees. Raises ProblemError (403, 404, 409), and what `check` raises."""

        async def agreed(row: Deployment) -> Deployment:
            if check is not None:
                check(row.revision)
            if row.state is not _S.WAITING:
                raise _refused("not-waiting", f"deployment {row.id} is {row.state}: it waits for nobody", 409)
            if refusal := rollout.approval_refusal(actor, row.author, row.approved_by):
                raise _refused("approval-refused", refusal, 403)
            return replace(row, approved_by=(*row.approved_by, actor))

        return await self._changed(deployment_id, agreed)

    async def cancel(self, deployment_id: str, actor: str, check: Check | None = None) -> Deployment:
        """End it; what it has written is taken back. Its commit is not tried again by itself.

        Raises ProblemError (404, 409), and what `check` raises.
        """

        async def ended(row: Deployment) -> Deployment:
            if check is not None:
                check(row.revision)
            if row.state in rollout.ENDED:
                raise _refused("deployment-over", f"deployment {row.id} is over: {row.state}", 409)
            if row.state is _S.RUNNING:
                if row.reason is not _R.HEAL:  # so that a restart knows, too
                    await self._block(row, f"cancelled by {actor}")
                self._cancelled[row.id] = actor
                return row
            text = f"cancelled by {actor}"
            if row.reason in (_R.COMMIT, _R.MANUAL):  # it would come again by itself
                await self._block(row, text)
            record = self._record(row)
            await record.end(_S.CANCELLED, text)
            return record.row

        return await self._changed(deployment_id, ended)

    # -- how it goes -------------------------------------------------------------------------------------

    async def _taken(self, look: Look, reason: DeploymentReason, actor: str) -> Record:
        """The row: the one that goes on, or a new one."""
        assert look.rendered is not None
        if look.unfinished:
            row = look.unfinished[0]
            if not row.author:
                row = replace(row, author=look.rendered.author)
            return self._record(row)
        if look.order is not None and look.order.deployment is not None:
            kept = await self._stores.deployments.get(look.order.deployment)
            if kept is not None:  # it was cancelled meanwhile
                return self._record(kept)
        row = self._new(look, reason, actor)
        return Record(row, self._stores.deployments, self._recorder, self._now, new=True)

    def _new(self, look: Look, reason: DeploymentReason, actor: str) -> Deployment:
        assert look.commit is not None
        now = self._now()
        return Deployment(
            id=new_id(now),
            application=look.name,
            environment=look.application.environment,
            commit=look.commit,
            previous=look.state.applied,
            reason=reason,
            actor=actor,
            state=_S.PENDING,
            created=now,
            author="" if look.rendered is None else look.rendered.author,
        )

    async def _carry_out(self, look: Look, record: Record, execution: Execution) -> None:
        assert look.plan is not None
        plan = look.plan
        as_before = record.row.difference == self._conceal(plan.difference)
        lacking = self._lacking(look, record.row)
        if record.row.state is _S.WAITING and as_before and lacking:
            if record.row.message != (message := _awaits(record.row, lacking)):
                await record.save(replace(record.row, message=message))
            return
        interrupted = record.row.state is _S.RUNNING
        record.start()
        try:
            goes_on = bool(await execution.entries())
            await execution.look_up()
            await self._prepare(look, record, execution, goes_on=goes_on and interrupted)
            if (plan.waves or goes_on) and not await self._pass_gate(look, record):
                return
            if record.row.reason is _R.ROLLBACK:
                await self._block_newer(look, record.row)
            await execution.run()
            if execution.cancelled():
                raise Unhealthy("cancelled")
        except ProblemError as error:
            problem = error.problem
            if problem.retry_after is not None:
                raise
            await self._fail(look, record, execution, f"{problem.title}: {problem.detail}")
            return
        except Unhealthy as error:
            await self._fail(look, record, execution, str(error))
            return
        self._at("healthy")
        await self._finish(look, record)

    async def _prepare(self, look: Look, record: Record, execution: Execution, *, goes_on: bool) -> None:
        """Up to the plan. Raises ProblemError for what the target refuses.

        What `goes_on` was approved as a whole; the difference that is left is not shown. What has overtaken
        another one is not approved yet, whatever that had written.
        """
        assert look.plan is not None
        if record.last is StepName.HEALTH:
            return  # it was interrupted in there
        if record.last is None:
            record.enter(StepName.FETCH, f"{record.row.commit[:12]} of {look.subject.source.name}")
        if record.last is StepName.FETCH:
            await record.step(StepName.VERIFY)  # the target may take its time: it can be cancelled meanwhile
        writes = [each for wave in look.plan.waves for each in wave.writes]
        told = await execution.attended(look.subject.target.check(writes))
        if record.last is StepName.VERIFY:
            record.enter(StepName.VERIFY, self._conceal(told))
        record.enter(
            StepName.PLAN, f"{_count(look.plan.changes, 'object')} in {_count(len(look.plan.waves), 'wave')}"
        )
        difference = (goes_on and record.row.difference) or self._conceal(look.plan.difference)
        approved = record.row.approved_by if record.row.difference in ("", difference) else ()
        await record.save(replace(record.row, difference=difference, approved_by=approved))
        self._at("row-kept")

    async def _pass_gate(self, look: Look, record: Record) -> bool:
        if record.last is StepName.HEALTH:
            return True
        record.enter(StepName.GATE)
        if lacking := self._lacking(look, record.row):
            await record.wait(_awaits(record.row, lacking))
            return False
        return True

    def _lacking(self, look: Look, row: Deployment) -> int:
        if row.reason not in APPROVED or not look.application.sync.approval:
            return 0
        return rollout.approvals_lacking(look.application.sync.approvals, row.author, row.approved_by)

    async def _finish(self, look: Look, record: Record) -> None:
        assert look.plan is not None
        assert look.rendered is not None
        record.enter(StepName.FINISH)
        state = replace(
            look.state,
            seen=record.row.commit,
            applied=record.row.commit,
            applied_digest=look.rendered.digest,
            resolutions=left_to_do(look),
            target_generation=getattr(look.subject.target, "generation", None),
        )
        bases = list(look.plan.bases.values())
        await keep(look, self._stores.applications, state, bases, list(look.plan.dropped))
        self._at("finished")
        message = "" if look.plan.waves or record.written else "nothing was to be changed"
        await record.end(_S.SUCCEEDED, message)
        await self._stores.applications.forget_intents(record.row.id)

    async def _fail(self, look: Look, record: Record, execution: Execution, why: str) -> None:
        """Take back what was written, and do not try the commit again by itself."""
        why = self._conceal(why)
        by = self._cancelled.get(record.row.id)
        state = _S.ROLLED_BACK if by is None else _S.CANCELLED
        if by is not None:
            why = f"cancelled by {by}"
        if record.row.reason is not _R.HEAL and record.row.commit != look.state.applied:
            await self._block(record.row, why)
        if record.last in (StepName.APPLY, StepName.HEALTH) or await execution.entries():
            await record.step(StepName.ROLL_BACK, f"back to {(record.row.previous or 'what was there')[:12]}")
            await self._take_back(record, execution, why, state)
        else:
            ended = _S.FAILED if by is None else state
            await record.end(ended, f"{why} (nothing was changed)", error=why)

    async def _take_back(
        self, record: Record, execution: Execution, why: str, state: DeploymentState
    ) -> None:
        self._at("taking-back")
        try:
            told = await execution.take_back()
        except ProblemError as error:
            problem = error.problem
            text = f"{why}; it could not be taken back: {problem.title}: {problem.detail}"
            await record.end(_S.FAILED, self._conceal(text), error=why)
        else:
            self._at("taken-back")
            await record.end(state, self._conceal(f"{why}; {told}"), error="")
        await self._stores.applications.forget_intents(record.row.id)

    async def _take_back_again(self, look: Look, record: Record) -> None:
        """A roll-back that was interrupted. The reason for it is with the blocked commit."""
        execution = Execution(look, record, self._stores.applications, self._leases, self._at)
        blocked = await self._stores.deployments.blocked(look.name)
        found = (each.reason for each in blocked if each.commit == record.row.commit)
        await self._take_back(record, execution, next(found, "it was interrupted"), _S.ROLLED_BACK)

    # -- what goes on, and what is overtaken -------------------------------------------------------------

    def _goes_on(self, row: Deployment, look: Look) -> bool:
        if look.order is not None and look.order.deployment is not None:
            return row.id == look.order.deployment
        if row.state in rollout.ENDED or self._record(row).last is StepName.ROLL_BACK:
            return False
        return row.commit == look.commit

    async def _let_go(self, look: Look, record: Record) -> None:
        done = await self._written(look, record.row)
        changed, gone = journal.applied(done, look.bases, record.row.commit)
        await keep(look, self._stores.applications, look.state, changed, gone)
        look.bases = await self._stores.applications.bases(look.name)
        await record.end(_S.CANCELLED, "Git is only observed: what is there stays")
        await self._stores.applications.forget_intents(record.row.id)

    async def _written(self, look: Look, row: Deployment) -> list[journal.Entry]:
        """What a deployment has written, also where that was not noted."""
        kept = [journal.entry(each) for each in await self._stores.applications.intents(row.id)]
        await settle(look.subject.target, kept)
        unsure = [each.object for each in kept if not each.done]
        lives = await look.subject.target.read(unsure) if unsure else {}
        return [
            replace(each, done=True)
            for each in kept
            if each.done or journal.is_written(each, lives.get(each.object))
        ]

    async def _supersede(self, look: Look, record: Record) -> None:
        row, store = record.row, self._stores.applications
        done = await self._written(look, row)
        if done and look.commit is not None:
            heir = next((each for each in look.unfinished if self._goes_on(each, look)), None)
            if heir is None:
                reason = look.order.reason if look.order else _R.COMMIT
                heir = self._new(look, reason, look.order.actor if look.order else row.actor)
                await self._stores.deployments.add(heir)
                look.unfinished = (heir, *look.unfinished)
            await store.plan([journal.intent(heir.id, each) for each in done])
            changed, gone = journal.applied(done, look.bases, row.commit)
            await keep(look, store, look.state, changed, gone)
            look.bases = await store.bases(look.name)
        by = self._cancelled.pop(row.id, None)
        if by is None:
            await record.end(_S.SUPERSEDED, f"overtaken by {(look.commit or '')[:12]}")
        else:
            await record.end(_S.CANCELLED, f"cancelled by {by}")
        await store.forget_intents(row.id)

    async def _block(self, row: Deployment, why: str) -> None:
        await self._stores.deployments.block(Blocked(row.application, row.commit, self._now(), why))

    async def _block_newer(self, look: Look, row: Deployment) -> None:
        """What Git has beyond a commit that a person went back to is not taken again by itself."""
        log = [each.id for each in await look.subject.source.log(LOG_LIMIT)]
        if row.commit not in log:
            return
        why = f"rolled back to {row.commit[:12]} by {row.actor}"
        for commit in log[: log.index(row.commit)]:
            if all(each.commit != commit for each in look.blocked):
                await self._stores.deployments.block(Blocked(row.application, commit, self._now(), why))

    async def _changed(
        self, deployment_id: str, change: Callable[[Deployment], Awaitable[Deployment]]
    ) -> Deployment:
        store = self._stores.deployments
        for _ in range(10):
            row = await store.get(deployment_id)
            if row is None:
                detail = (
                    f"there is no deployment {deployment_id[:80]!r}: `fairlead gitops history` shows them"
                )
                raise _refused("unknown-deployment", detail, 404)
            try:
                wanted = await change(row)
                kept = (
                    await store.update(wanted)
                    if wanted.revision == row.revision and wanted != row
                    else wanted
                )
            except (RevisionConflictError, ChangedMeanwhileError):
                continue
            self.on_changed(row.application)
            return kept
        raise _refused("changed-meanwhile", "the deployment changes all the time: try again", 409)

    def _record(self, row: Deployment) -> Record:
        return Record(row, self._stores.deployments, self._recorder, self._now)


def _awaits(row: Deployment, lacking: int) -> str:
    of = f" of {_count(lacking, 'more person')}" if lacking > 1 else ""
    return f"waits for approval{of}: `fairlead gitops approve {row.id}`"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _refused(code: str, detail: str, status: int) -> ProblemError:
    title = {403: "Not allowed", 404: "No such deployment", 409: "Not now"}[status]
    return ProblemError(Problem(code, title, detail, status, Fault.CLIENT))
