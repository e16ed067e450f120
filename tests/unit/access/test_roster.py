"""Principals and keys: made, changed, removed, told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairlead.access import roster as module
from fairlead.access.keys import KeyDigests
from fairlead.access.roster import Roster, is_over
from fairlead.model.access import Caller, Grant, Principal, Role
from fairlead.model.errors import ProblemError
from fairlead.model.events import EventType
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.identities import SqlIdentityStore

DIGESTS = KeyDigests(b"m" * 32)
ADA = Principal("ada", Role.DEVELOPER, (Grant(tools=("read_*",)),))


@dataclass
class Told:
    """What others were told of."""

    events: list[Any] = field(default_factory=list)
    changes: int = 0

    def note(self, event_type: EventType, subject: str, data: Any) -> None:
        assert event_type is EventType.ACCESS_CHANGED
        self.events.append(
            (subject, data["change"].partition(" ")[0], data["change"].rpartition(" ")[2], data["by"])
        )

    async def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def roster(tmp_path: Path, told: Told) -> AsyncIterator[Roster]:
    database = await Database.open(sqlite_url(tmp_path / "o.db"), service="orchestrator")
    yield Roster(SqlIdentityStore(database), DIGESTS, told, told.changed, now=lambda: 1000.0)
    await database.close()


async def refused(work: Any) -> tuple[int, str]:
    with pytest.raises(ProblemError) as caught:
        await work
    return caught.value.problem.status, caught.value.problem.code


async def test_a_principal_and_its_key(roster: Roster, told: Told):
    made = await roster.put_principal(ADA, by="root")
    assert made == Principal("ada", Role.DEVELOPER, ADA.grants, created=1000.0)
    new = await roster.add_key("ada", by="root", label="laptop", expires=2000.0)
    assert new.key.digest == DIGESTS.of(new.value.encode())
    assert new.value not in repr(new)
    assert (new.key.principal, new.key.label, new.key.created, new.key.expires) == (
        "ada",
        "laptop",
        1000.0,
        2000.0,
    )
    assert await roster.keys("ada") == [new.key]
    assert await roster.keys("bob") == []
    await roster.revoke_key(new.key.id, by="root")
    (key,) = await roster.keys()
    assert key.revoked == 1000.0
    await roster.remove_principal("ada", by="root")
    assert await roster.keys() == []
    assert [event[:3] for event in told.events] == [
        ("ada", "principal", "added"),
        ("ada", "key", "added"),
        ("ada", "key", "revoked"),
        ("ada", "principal", "removed"),
    ]
    assert told.changes == 4
    assert new.value not in str(told.events)


async def test_what_changes_nothing_is_not_told(roster: Roster, told: Told):
    await roster.put_principal(ADA, by="root")
    await roster.put_principal(ADA, by="root")
    assert told.changes == 1
    await roster.put_principal(Principal("ada", Role.VIEWER), by="root")
    assert told.events[-1] == ("ada", "principal", "changed", "root")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        ".a",
        "a b",
        "a/b",
        "ä",
        "a\n",
        "a" * 64,
        "local",
        "env",
        "oauth:ada",
        "key:1",
        "a:b",
        "a\0",
    ],
)
async def test_names_that_could_be_mistaken_are_refused(roster: Roster, name: str):
    assert await refused(roster.put_principal(Principal(name, Role.ADMIN), by="root")) == (422, "bad-name")
    assert await roster.principals() == []


@pytest.mark.parametrize("name", ["nonesuch", "local", "env", "oauth:ada"])
async def test_only_who_is_kept_has_keys(roster: Roster, told: Told, name: str):
    assert await refused(roster.add_key(name, by="root")) == (404, "unknown-principal")
    assert await refused(roster.remove_principal(name, by="root")) == (404, "unknown-principal")
    assert told.changes == 0


async def test_a_key_is_revoked_by_its_owner_and_nobody_elses_is(roster: Roster):
    for name in ("ada", "bob"):
        await roster.put_principal(Principal(name, Role.DEVELOPER), by="root")
    new = await roster.add_key("ada", by="root")
    assert await refused(roster.revoke_key(new.key.id, by="bob", owner="bob")) == (404, "unknown-key")
    assert await refused(roster.revoke_key("nonesuch", by="root")) == (404, "unknown-key")
    assert (await roster.revoke_key(new.key.id, by="ada", owner="ada")).id == new.key.id


async def test_keys_that_are_good_are_bounded(roster: Roster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    await roster.put_principal(ADA, by="root")
    first = await roster.add_key("ada", by="root")
    await roster.add_key("ada", by="root", expires=1000.0)  # over already
    await roster.add_key("ada", by="root")
    assert await refused(roster.add_key("ada", by="root")) == (409, "too-many-keys")
    await roster.revoke_key(first.key.id, by="root")
    await roster.add_key("ada", by="root")


async def test_when_a_key_is_over(roster: Roster):
    await roster.put_principal(ADA, by="root")
    key = (await roster.add_key("ada", by="root", expires=2000.0)).key
    assert [is_over(key, now) for now in (1999.9, 2000.0)] == [False, True]


async def test_who_comes_by_what_ends_knows_when(roster: Roster):
    await roster.put_principal(ADA, by="root")
    ending = (await roster.add_key("ada", by="root", expires=2000.0)).key
    endless = (await roster.add_key("ada", by="root")).key
    ends = {
        Caller("ada", Role.DEVELOPER, (), f"key:{ending.id}", 2000.0): 2000.0,
        Caller("ada", Role.DEVELOPER, (), f"web:{ending.id}.s1", 1500.0): 2000.0,
        Caller("ada", Role.DEVELOPER, (), f"key:{endless.id}"): None,
        Caller("ada", Role.DEVELOPER, (), f"web:{endless.id}.s1", 1500.0): None,
        Caller("local", Role.ADMIN, (), "web:local:0123abcd.s1", 1500.0): None,
    }
    for caller, end in ends.items():
        assert await roster.end_of(caller) == end
