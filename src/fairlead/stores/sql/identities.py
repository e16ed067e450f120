"""Principals, keys, browsers' sessions and upstream credentials in a service's database.

Each change raises the counter `identities` in its own transaction, as its first statement: the counter's row
is the lock behind which changes are made one after the other, and whoever reads a revision and then all rows
has at least what was known at it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.model.access import ApiKey, Grant, Principal, Role
from fairlead.ports import Identities, WebSession
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import COUNTERS, CREDENTIALS, KEYS, PRINCIPALS, WEB_SESSIONS

_REVISION: Final = select(COUNTERS.c.value).where(COUNTERS.c.name == "identities")
_grants: Final = msgspec.json.Decoder(tuple[Grant, ...])


class SqlIdentityStore:
    """`ports.IdentityStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        async with self._database.read() as connection:
            return int((await connection.execute(_REVISION)).scalar_one())

    async def read(self) -> Identities:
        sessions = select(WEB_SESSIONS).where(WEB_SESSIONS.c.kind == "session")
        async with self._database.read() as connection:
            return Identities(
                revision=(await connection.execute(_REVISION)).scalar_one(),
                principals=tuple(map(_principal, await connection.execute(_by(PRINCIPALS.c.name)))),
                keys=tuple(ApiKey(**row._asdict()) for row in await connection.execute(_by(KEYS.c.created))),
                web_sessions=tuple(map(_session, await connection.execute(sessions))),
            )

    async def put_principal(self, principal: Principal) -> None:
        row = {
            "name": principal.name,
            "role": principal.role.word,
            "grants": msgspec.json.encode(principal.grants).decode(),
            "disabled": int(principal.disabled),
            "created": principal.created,
        }
        fresh = self._database.insert(PRINCIPALS).values(row)
        changed = {name: fresh.excluded[name] for name in ("role", "grants", "disabled")}
        async with self._change() as connection:
            await connection.execute(fresh.on_conflict_do_update(index_elements=["name"], set_=changed))

    async def remove_principal(self, name: str) -> bool:
        async with self._change() as connection:
            for owned in (KEYS, WEB_SESSIONS, CREDENTIALS):
                await connection.execute(delete(owned).where(owned.c.principal == name))
            return await _did(connection, delete(PRINCIPALS).where(PRINCIPALS.c.name == name))

    async def add_key(self, key: ApiKey) -> bool:
        row = {field: getattr(key, field) for field in key.__dataclass_fields__}
        owner = select(PRINCIPALS.c.name).where(PRINCIPALS.c.name == key.principal)
        async with self._change() as connection:
            if (await connection.execute(owner)).one_or_none() is None:
                return False
            again = self._database.insert(KEYS).values(row).on_conflict_do_nothing(index_elements=["id"])
            await connection.execute(again)
        return True

    async def revoke_key(self, key_id: str, at: float) -> bool:
        known = select(KEYS.c.id).where(KEYS.c.id == key_id)
        revoked = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)).values(revoked=at)
        async with self._change() as connection:
            await connection.execute(revoked)
            return (await connection.execute(known)).one_or_none() is not None

    async def add_login_code(self, session: WebSession) -> None:
        over = delete(WEB_SESSIONS).where(WEB_SESSIONS.c.expires < session.created)
        async with self._change() as connection:
            await connection.execute(over)
            await connection.execute(insert(WEB_SESSIONS), _web_row("code", session, session.principal))

    async def use_login_code(self, digest: bytes, session: WebSession, now: float) -> str | None:
        code = (
            delete(WEB_SESSIONS)
            .where(WEB_SESSIONS.c.kind == "code", WEB_SESSIONS.c.digest == digest)
            .returning(WEB_SESSIONS.c.id, WEB_SESSIONS.c.principal, WEB_SESSIONS.c.expires)
        )
        async with self._change() as connection:
            used = (await connection.execute(code)).one_or_none()
            if used is None or used.expires <= now:
                return None
            maker, dot, _ = used.id.rpartition(".")
            row = _web_row("session", session, used.principal) | {"id": f"{maker}{dot}{session.id}"}
            await connection.execute(insert(WEB_SESSIONS), row)
            principal: str = used.principal
            return principal

    async def end_web_session(self, session_id: str) -> bool:
        ended = delete(WEB_SESSIONS).where(WEB_SESSIONS.c.id == session_id)
        async with self._change() as connection:
            return await _did(connection, ended)

    async def put_credential(self, principal: str, server: str, sealed: bytes, at: float) -> None:
        row = {"principal": principal, "server": server, "sealed": sealed, "updated": at}
        fresh = self._database.insert(CREDENTIALS).values(row)
        changed = {name: fresh.excluded[name] for name in ("sealed", "updated")}
        async with self._change() as connection:
            await connection.execute(
                fresh.on_conflict_do_update(index_elements=["principal", "server"], set_=changed)
            )

    async def credential(self, principal: str, server: str) -> bytes | None:
        wanted = select(CREDENTIALS.c.sealed).where(
            CREDENTIALS.c.principal == principal, CREDENTIALS.c.server == server
        )
        async with self._database.read() as connection:
            return (await connection.execute(wanted)).scalar_one_or_none()

    async def credentials(self, principal: str) -> list[tuple[str, float]]:
        wanted = (
            select(CREDENTIALS.c.server, CREDENTIALS.c.updated)
            .where(CREDENTIALS.c.principal == principal)
            .order_by(CREDENTIALS.c.server)
        )
        async with self._database.read() as connection:
            return [(row.server, row.updated) for row in await connection.execute(wanted)]

    async def remove_credential(self, principal: str, server: str) -> bool:
        gone = delete(CREDENTIALS).where(CREDENTIALS.c.principal == principal, CREDENTIALS.c.server == server)
        async with self._change() as connection:
            return await _did(connection, gone)

    async def forget_secrets(self) -> None:
        """All that the service's key is needed for; principals stay."""
        async with self._change() as connection:
            for table in (KEYS, WEB_SESSIONS, CREDENTIALS):
                await connection.execute(delete(table))

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        raised = update(COUNTERS).where(COUNTERS.c.name == "identities").values(value=COUNTERS.c.value + 1)
        async with self._database.write() as connection:
            await connection.execute(raised)
            yield connection


def _by(column: Any) -> Any:
    return select(column.table).order_by(column)


async def _did(connection: AsyncConnection, statement: Any) -> bool:
    return (await connection.execute(statement)).rowcount > 0


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        row.name, Role[row.role.upper()], _grants.decode(row.grants), bool(row.disabled), row.created
    )


def _session(row: Row[Any]) -> WebSession:
    return WebSession(row.id, row.principal, row.digest, row.created, row.expires)


def _web_row(kind: str, session: WebSession, principal: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "kind": kind,
        "digest": session.digest,
        "principal": principal,
        "created": session.created,
        "expires": session.expires,
    }
