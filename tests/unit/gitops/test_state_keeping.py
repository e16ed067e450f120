"""What a look has found is kept, whoever suspends the application meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead.gitops.passes import Look
from fairlead.gitops.state_keeping import keep
from fairlead.model.reconciling import ApplicationState
from fairlead.ports.gitops import ChangedMeanwhileError
from support.gitops_rig import fleet

SUSPENDED = {"suspended_by": "ada", "suspended_at": 5.0}


async def begun():
    rig = fleet({})
    store = rig.store
    state = await store.save_state(ApplicationState("app", applied="c1"))
    look = Look(None, state, 10.0)
    return store, look, state


async def test_it_is_kept_with_the_next_revision():
    store, look, state = await begun()
    await keep(look, store, replace(state, applied="c2"))
    assert look.state == (await store.states())["app"] == ApplicationState("app", applied="c2", revision=2)


@pytest.mark.parametrize(("before", "after"), [({}, SUSPENDED), (SUSPENDED, {})])
async def test_a_person_that_suspends_or_resumes_it_meanwhile_has_the_last_word(before, after):
    store, look, state = await begun()
    look.state = state = await store.save_state(replace(state, **before))
    none = {"suspended_by": None, "suspended_at": None}
    for _ in range(3):
        kept = (await store.states())["app"]
        await store.save_state(replace(kept, **(none | after)))
    await keep(look, store, replace(state, applied="c2"))
    kept = (await store.states())["app"]
    assert look.state == kept
    assert (kept.applied, kept.suspended_by, kept.suspended_at) == (
        "c2", after.get("suspended_by"), after.get("suspended_at"),
    )  # fmt: skip


async def test_what_another_controller_has_kept_is_not_overwritten():
    store, look, state = await begun()
    await store.save_state(replace(state, applied="c9"))
    with pytest.raises(ChangedMeanwhileError, match="app was changed meanwhile"):
        await keep(look, store, replace(state, applied="c2"))
    assert (await store.states())["app"].applied == "c9"
