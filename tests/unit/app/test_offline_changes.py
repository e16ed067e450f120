"""What commands change without the service is in the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.app.identities import offline_roster, renew_key
from fairlead.app.settings import Settings
from fairlead.model.access import Principal, Role
from fairlead.model.audit import AuditFilter, AuditRecord
from fairlead.model.errors import ProblemError
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.state import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    return state


async def audited(state: StateFolder) -> list[AuditRecord]:
    database = await Database.open(sqlite_url(state.database("orchestrator")), service="orchestrator")
    try:
        return await SqlAuditLog(database).search(AuditFilter())
    finally:
        await database.close()


async def test_keys_that_a_command_makes_are_recorded_even_when_it_then_fails(state):
    settings = Settings(state_dir=state.root)
    keys = []

    async def change() -> None:
        async with offline_roster(settings, state) as roster:
            await roster.put_principal(Principal("ci", Role.ADMIN), by="fairlead token")
            keys.append(await roster.add_key("ci", by="fairlead token"))
            await roster.remove_principal("nobody", by="fairlead token")

    with pytest.raises(ProblemError):
        await change()
    (key,) = keys
    records = await audited(state)
    assert {(r.kind, r.principal, r.credential, r.action) for r in records} == {
        ("change", "local", "command", "command: access-changed")
    }
    changes = {r.detail["change"] for r in records}
    assert changes == {"principal added", f"key {key.key.id} added"}
    assert {r.detail["principal"] for r in records} == {"ci"}
    assert {r.node for r in records} == {state.id()}
    assert key.value not in repr(records)


async def test_a_new_key_of_the_service_is_recorded_and_looking_is_not(state):
    settings = Settings(state_dir=state.root)
    async with offline_roster(settings, state) as roster:
        await roster.principals()
    assert await audited(state) == []
    await renew_key(settings, state)
    assert [record.action for record in await audited(state)] == ["command: key renewed"]
