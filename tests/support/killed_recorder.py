"""Records events without end and prints each as soon as it is acknowledged, to be killed with SIGKILL.

Usage: python killed_recorder.py FOLDER NAME. Beside them it notes others, which nobody waits for.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from fairlead.buses.memory import MemoryBus
from fairlead.events.feed import Feed
from fairlead.events.journal import Journal
from fairlead.model.events import EventType
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.events import SqlEventLog


async def main(folder: Path, name: str) -> None:
    database = await Database.open(sqlite_url(folder / "test.db"), service="test")
    log, bus = SqlEventLog(database), MemoryBus()
    journal = Journal(log, Feed(log, bus), bus, "/test")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run())
        for number in itertools.count():
            journal.note(EventType.SERVER_SCALED, f"noted-{name}-{number}", {})
            journal.note(EventType.SERVER_SCALED, f"{name}-{number}", {"number": number})
            await journal.settled()
            print(f"{name}-{number}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
