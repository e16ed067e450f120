"""The GitOps controller's history, and the commits that are not applied again, in a service's database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import delete, func, select, update

from fairlead.model.reconciling import Blocked, Deployment, DeploymentState
from fairlead.ports.gitops import RevisionConflictError
from fairlead.stores.retained import KEPT
from fairlead.stores.sql.applications import put
from fairlead.stores.sql.changes import Changes
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.places import place, possible, text
from fairlead.stores.sql.tables import BLOCKED, DEPLOYMENTS

_deployment: Final = msgspec.json.Decoder(Deployment)
_blocked: Final = msgspec.json.Decoder(Blocked)


class SqlDeploymentStore:
    """`ports.gitops.DeploymentStore`."""

    def __init__(self, database: Database, changes: Changes | None = None) -> None:
        self._database = database
        self._changes = changes or Changes(database)

    def __repr__(self) -> str:
        return f"SqlDeploymentStore({self._database!r})"

    async def add(self, deployment: Deployment) -> None:
        """Again, if the first answer was lost. Raises RevisionConflictError for another with the same id."""
        first = self._database.insert(DEPLOYMENTS).values(_row(deployment))
        kept = select(DEPLOYMENTS.c.content).where(DEPLOYMENTS.c.id == deployment.id)
        async with self._changes.change() as connection:
            if (await connection.execute(first.on_conflict_do_nothing(index_elements=["id"]))).rowcount:
                return
            if _deployment.decode((await connection.execute(kept)).scalar_one()) != deployment:
                raise RevisionConflictError(deployment.id)

    async def update(self, deployment: Deployment) -> Deployment:
        saved = replace(deployment, revision=deployment.revision + 1)
        following = (
            update(DEPLOYMENTS)
            .where(DEPLOYMENTS.c.id == deployment.id, DEPLOYMENTS.c.revision == deployment.revision)
            .values(_row(saved))
        )
        async with self._changes.change() as connection:
            if not (await connection.execute(following)).rowcount:
                raise RevisionConflictError(deployment.id)
        return saved

    async def get(self, deployment_id: str) -> Deployment | None:
        if not possible(deployment_id):
            return None
        wanted = select(DEPLOYMENTS.c.content).where(DEPLOYMENTS.c.id == deployment_id)
        async with self._database.read() as connection:
            found = (await connection.execute(wanted)).scalar_one_or_none()
        return None if found is None else _deployment.decode(found)

    async def search(
        self,
        *,
        application: str | None = None,
        states: Sequence[DeploymentState] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[Deployment]:
        """Newest first: by `created`, then by id. `before` is for `created`."""
        wanted = select(DEPLOYMENTS.c.content)
        if application is not None:
            if not possible(application):
                return []
            wanted = wanted.where(DEPLOYMENTS.c.application == application)
        if states:
            wanted = wanted.where(DEPLOYMENTS.c.state.in_([state.value for state in states]))
        if before is not None:
            wanted = wanted.where(DEPLOYMENTS.c.created < before)
        wanted = wanted.order_by(DEPLOYMENTS.c.created.desc(), DEPLOYMENTS.c.id.desc()).limit(limit)
        async with self._database.read() as connection:
            return [_deployment.decode(row.content) for row in await connection.execute(wanted)]

    async def block(self, blocked: Blocked) -> None:
        row = {"application": blocked.application, "place": place(blocked.commit), "content": text(blocked)}
        async with self._changes.change() as connection:
            await connection.execute(put(self._database, BLOCKED), row)

    async def unblock(self, application: str, commit: str) -> bool:
        if not possible(application):
            return False
        which = (BLOCKED.c.application == application, BLOCKED.c.place == place(commit))
        async with self._changes.change() as connection:
            return (await connection.execute(delete(BLOCKED).where(*which))).rowcount > 0

    async def blocked(self, application: str) -> list[Blocked]:
        if not possible(application):
            return []
        wanted = select(BLOCKED.c.content).where(BLOCKED.c.application == application)
        async with self._database.read() as connection:
            found = [_blocked.decode(row.content) for row in await connection.execute(wanted)]
        return sorted(found, key=lambda each: (each.at, each.commit))

    async def every_blocked(self) -> list[Blocked]:
        async with self._database.read() as connection:
            found = [
                _blocked.decode(row.content) for row in await connection.execute(select(BLOCKED.c.content))
            ]
        return sorted(found, key=lambda each: (each.at, each.commit))

    async def prune(self, before: float) -> int:
        newest = func.row_number().over(
            partition_by=DEPLOYMENTS.c.application,
            order_by=(DEPLOYMENTS.c.created.desc(), DEPLOYMENTS.c.id.desc()),
        )
        counted = select(DEPLOYMENTS.c.id, DEPLOYMENTS.c.ended, newest.label("number")).subquery()
        old = select(counted.c.id).where(counted.c.number > KEPT, counted.c.ended < before)
        async with self._changes.change() as connection:
            return (await connection.execute(delete(DEPLOYMENTS).where(DEPLOYMENTS.c.id.in_(old)))).rowcount


def _row(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": deployment.id,
        "application": deployment.application,
        "state": deployment.state.value,
        "created": deployment.created,
        "ended": deployment.ended,
        "revision": deployment.revision,
        "content": text(deployment),
    }
