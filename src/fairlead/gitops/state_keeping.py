"""Keeping what a look has found of an application, while people suspend and resume it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairlead.core.resolve import Action
from fairlead.gitops.passes import Look
from fairlead.model.reconciling import ApplicationState, Base, Resolution
from fairlead.ports.gitops import ApplicationStore, ChangedMeanwhileError, RevisionConflictError


async def keep(
    look: Look,
    store: ApplicationStore,
    wanted: ApplicationState,
    changed: Sequence[Base] = (),
    removed: Sequence[str] = (),
) -> None:
    """`wanted`, with the bases, in the place of the look's state. Whether it is suspended stays as it is now.

    Raises ChangedMeanwhileError when another controller has changed the state, and StoreAwayError.
    """
    before = look.state
    while True:
        try:
            look.state = await store.finish(wanted, changed, removed)
        except RevisionConflictError:
            kept = (await store.states()).get(wanted.name)
            if kept is None or _suspended_as(kept, before) != before:
                text = f"the state of {wanted.name} was changed meanwhile"
                raise ChangedMeanwhileError(text) from None
            wanted = replace(
                wanted,
                suspended_by=kept.suspended_by,
                suspended_at=kept.suspended_at,
                revision=kept.revision,
            )
        else:
            return


def left_to_do(look: Look) -> tuple[Resolution, ...]:
    """What a person has decided of places that the plan cannot touch yet."""
    assert look.plan is not None
    waits = {
        (each.difference.object, each.difference.key)
        for each in look.plan.decisions.decided
        if each.action in (Action.HOLD, Action.DEFER)
    }
    return tuple(each for each in look.state.resolutions if (each.object, each.key) in waits)


def _suspended_as(kept: ApplicationState, other: ApplicationState) -> ApplicationState:
    return replace(
        kept,
        suspended_by=other.suspended_by,
        suspended_at=other.suspended_at,
        revision=other.revision,
    )
