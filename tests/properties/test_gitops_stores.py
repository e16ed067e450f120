"""Leases and drift of the controller's stores, against plain models, on a database and in memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.model.gitops import DriftKind, Severity
from fairlead.model.reconciling import DriftRow, DriftState
from fairlead.stores.sql.database import Database
from support.gitops_stores import Stores, in_database, in_memory

SECONDS = 60.0
HOLDERS = ("one", "two", "three")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.sampled_from(HOLDERS)),
        st.tuples(st.sampled_from(["renew", "release"]), st.sampled_from(HOLDERS), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.sampled_from([10.0, 70.0])),
    ),
    max_size=20,
)
ROWS = st.lists(
    st.builds(
        DriftRow,
        st.just("app"),
        st.sampled_from(["a", "b\0"]),
        st.sampled_from(["", "k", "é"]),
        st.just(DriftKind.CONFIGURATION),
        st.sampled_from(Severity),
        st.just(DriftState.OPEN),
        st.none(),
        st.sampled_from([None, "1"]),
        st.none(),
        st.floats(0, 1e9),
    ),
    unique_by=lambda row: (row.object, row.key),
    max_size=6,
)


def on(kind: str, what: Callable[[Stores], Awaitable[None]]) -> None:
    async def run() -> None:
        if kind == "memory":
            await what(in_memory())
            return
        with tempfile.TemporaryDirectory() as folder:
            database = await Database.open(f"sqlite:///{Path(folder) / 'gitops.db'}", service="gitops")
            try:
                await what(in_database(database, kept=True))
            finally:
                await database.close()

    asyncio.run(run())


async def leased(stores: Stores, steps: list[tuple]) -> None:
    store = stores.applications
    now, tokens = 0.0, [0]  # all that were ever given out
    holder, until = "", 0.0  # who has it
    given_out: dict[str, list[int]] = {each: [0] for each in HOLDERS}
    for kind, *rest in steps:
        if kind == "pass":
            now += rest[0]
            await stores.pass_by(rest[0])
            continue
        name = rest[0]
        if kind == "acquire":
            token = await store.acquire("fleet", name, SECONDS)
            free = holder in ("", name) or until <= now
            assert (token is not None) == free, "never two holders"
            if token is not None:
                assert token > tokens[-1], "tokens only grow"
                tokens.append(token)
                given_out[name].append(token)
                holder, until = name, now + SECONDS
            continue
        token = given_out[name][-1 - rest[1] % len(given_out[name])]
        current = holder == name and token == tokens[-1]
        if kind == "renew":
            assert await store.renew("fleet", name, token, SECONDS) == current
            until = now + SECONDS if current else until
        else:
            await store.release("fleet", name, token)
            holder = "" if current else holder


async def drifted(stores: Stores, passes: list[list[DriftRow]]) -> None:
    store = stores.applications
    known: dict[tuple[str, str], DriftRow] = {}
    for rows in passes:
        now = {
            (row.object, row.key): replace(row, since=known.get((row.object, row.key), row).since)
            for row in rows
        }
        new, gone = await store.set_drift("app", rows)
        assert {(row.object, row.key): row for row in new} == {
            place: row for place, row in now.items() if known.get(place) != row
        }
        assert {(row.object, row.key): row for row in gone} == {
            place: row for place, row in known.items() if place not in now
        }
        known = now
        assert await store.drift("app") == [known[place] for place in sorted(known)]
        assert await store.set_drift("app", list(reversed(rows))) == ([], [])


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(deadline=None, max_examples=25)
@given(steps=STEPS)
def test_a_lease_has_one_holder_and_its_tokens_grow(kind: str, steps: list[tuple]) -> None:
    on(kind, lambda stores: leased(stores, steps))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(deadline=None, max_examples=25)
@given(passes=st.lists(ROWS, max_size=5))
def test_drift_is_what_was_said_last_and_is_as_old_as_it_was_first_seen(
    kind: str, passes: list[list[DriftRow]]
) -> None:
    on(kind, lambda stores: drifted(stores, passes))
