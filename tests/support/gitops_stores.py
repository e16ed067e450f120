"""Every kind of the GitOps controller's stores: in memory, in a database, with its rows kept in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fairlead.ports.gitops import ApplicationStore, DeploymentStore
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.deployments import SqlDeploymentStore
from fairlead.stores.sql.kept import kept_stores
from fairlead.stores.sql.tables import LEASES, LIVE_VERSIONS
from support.gitops_memory import MemoryApplications, MemoryDeployments

KINDS = ("memory", "sqlite", "sqlite kept", "postgresql", "postgresql kept")


@dataclass
class Stores:
    """`pass_by` lets the stores' clock go on by some seconds."""

    applications: ApplicationStore
    deployments: DeploymentStore
    pass_by: Callable[[float], Awaitable[None]]
    database: Database | None = None


def in_memory() -> Stores:
    passed = [1000.0]

    async def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return Stores(MemoryApplications(lambda: passed[0]), MemoryDeployments(), pass_by)


def in_database(database: Database, *, kept: bool = False) -> Stores:
    async def pass_by(seconds: float) -> None:
        """Whatever the database's clock has noted is older now."""
        async with database.write() as connection:
            await connection.execute(LEASES.update().values(expires=LEASES.c.expires - seconds))
            await connection.execute(LIVE_VERSIONS.update().values(at=LIVE_VERSIONS.c.at - seconds))

    if kept:
        applications, deployments = kept_stores(database)
        return Stores(applications, deployments, pass_by, database)
    return Stores(SqlApplicationStore(database), SqlDeploymentStore(database), pass_by, database)
