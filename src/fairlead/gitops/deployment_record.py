"""A deployment's row while it is carried out: steps and states, kept with each change, and what is told."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from fairlead.core import rollout
from fairlead.model.event_data import DeploymentCompleted, DeploymentStarted, SyncCompleted, SyncStarted
from fairlead.model.events import EventType
from fairlead.model.reconciling import Deployment, DeploymentState, Step, StepName
from fairlead.ports import Recorder
from fairlead.ports.gitops import ChangedMeanwhileError, DeploymentStore, RevisionConflictError


def new_id(now: float) -> str:
    """Of a deployment: later ones sort after earlier ones. `now` is Unix time, s."""
    return f"{int(now * 1000):012x}-{secrets.token_hex(4)}"


class Record:
    """Changes of the row. All raise ChangedMeanwhileError when somebody else has changed it."""

    def __init__(
        self,
        row: Deployment,
        store: DeploymentStore,
        recorder: Recorder,
        now: Callable[[], float],
        *,
        new: bool = False,
    ) -> None:
        """A `new` row is kept from its first `save` on."""
        self.row = row
        self.is_new = new
        self._starts = False  # which is told when it is kept
        self.written = 0  # objects, by this run
        self._store = store
        self._recorder = recorder
        self._now = now

    def __repr__(self) -> str:
        return f"Record({self.row.id}, {self.row.state}, {self.last})"

    @property
    def last(self) -> StepName | None:
        """The step that it is in, or was in last."""
        return self.row.steps[-1].name if self.row.steps else None

    def start(self) -> None:
        """It runs: for the first time, or on."""
        if self.row.state is not DeploymentState.RUNNING:
            self._starts = not self.row.steps
            self.row = replace(self.row, state=rollout.move(self.row.state, DeploymentState.RUNNING))

    def enter(self, name: StepName, message: str = "") -> None:
        """Go on to a step; it is kept with the next `save`. The one that it is in already goes on."""
        steps = self.row.steps
        if steps and steps[-1].name is name and steps[-1].ended is None:
            self.row = replace(self.row, steps=(*steps[:-1], replace(steps[-1], message=message)))
            return
        now = self._now()
        following = Step(rollout.step(self.last, name), now, message=message)
        self.row = replace(self.row, steps=(*_closed(steps, now, ""), following))

    async def step(self, name: StepName, message: str = "") -> None:
        """`enter`, kept."""
        self.enter(name, message)
        await self.save(self.row)

    async def wait(self, message: str) -> None:
        """For a person."""
        state = rollout.move(self.row.state, DeploymentState.WAITING)
        await self.save(replace(self.row, state=state, message=message))

    async def end(self, state: DeploymentState, message: str = "", *, error: str = "") -> None:
        now = self._now()
        steps = _closed(self.row.steps, now, error)
        ended = replace(
            self.row, state=rollout.move(self.row.state, state), ended=now, message=message, steps=steps
        )
        ran = bool(self.row.steps)
        await self.save(ended)
        self._tell(ran=ran)

    async def save(self, row: Deployment) -> None:
        if self.is_new:
            await self._store.add(row)
            self.row, self.is_new = row, False
        else:
            try:
                self.row = await self._store.update(row)
            except RevisionConflictError:
                text = f"the deployment {row.id} was changed meanwhile"
                raise ChangedMeanwhileError(text) from None
        if self._starts:
            self._starts = False
            self._tell_started()

    def _tell_started(self) -> None:
        row = self.row
        self._recorder.note(
            EventType.DEPLOYMENT_STARTED,
            row.application,
            DeploymentStarted(
                deployment=row.id,
                application=row.application,
                environment=row.environment.value,
                commit=row.commit,
                reason=row.reason.value,
                actor=row.actor,
            ),
        )
        self._recorder.note(
            EventType.SYNC_STARTED,
            row.application,
            SyncStarted(
                application=row.application, commit=row.commit, reason=row.reason.value, actor=row.actor
            ),
        )

    def _tell(self, *, ran: bool) -> None:
        row = self.row
        seconds = (row.ended or row.created) - row.created
        self._recorder.note(
            EventType.DEPLOYMENT_COMPLETED,
            row.application,
            DeploymentCompleted(
                deployment=row.id,
                application=row.application,
                environment=row.environment.value,
                commit=row.commit,
                state=row.state.value,
                message=row.message,
                seconds=seconds,
            ),
        )
        if ran:
            self._recorder.note(
                EventType.SYNC_COMPLETED,
                row.application,
                SyncCompleted(
                    application=row.application,
                    commit=row.commit,
                    outcome=row.state.value,
                    changed=self.written,
                    seconds=seconds,
                ),
            )


def _closed(steps: tuple[Step, ...], now: float, error: str) -> tuple[Step, ...]:
    if not steps or steps[-1].ended is not None:
        return steps
    return (*steps[:-1], replace(steps[-1], ended=now, error=error))
