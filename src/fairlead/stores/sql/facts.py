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
