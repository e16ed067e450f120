"""Facts of a database: what is decided once and then holds for all who use it."""

from __future__ import annotations

from sqlalchemy import select

from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import FACTS


async def agreed(database: Database, name: str, proposal: str, *, anew: bool = False) -> str:
    """The value of a fact: `proposal`, unless there was one before (and `anew` is not so).

    Raises StoreAwayError.
    """
    first = database.insert(FACTS).values(name=name, value=proposal)
    change = first.on_conflict_do_nothing(index_elements=["name"])
    if anew:
        change = first.on_conflict_do_update(index_elements=["name"], set_={"value": first.excluded.value})
    async with database.write() as connection:
        await connection.execute(change)
        found = await connection.execute(select(FACTS.c.value).where(FACTS.c.name == name))
        return str(found.scalar_one())


async def follow_clock(database: Database, name: str, *, most: float) -> tuple[float, float | None]:
    """What time it is (Unix, s), for the database, and for a follower that each call moves on by `most` s.

    The follower is kept as a fact, and never ahead. None: there was none, it has just begun. Raises
    StoreAwayError.
    """
    kept = select(FACTS.c.value).where(FACTS.c.name == name)
    first = database.insert(FACTS)
    change = first.on_conflict_do_update(index_elements=["name"], set_={"value": first.excluded.value})
    async with database.write() as connection:
        now = float((await connection.execute(select(database.clock))).scalar_one())
        last = (await connection.execute(kept)).scalar_one_or_none()
        followed = now if last is None else min(now, float(last) + most)
        await connection.execute(change, {"name": name, "value": repr(followed)})
    return now, None if last is None else followed
