"""What commands change in the database themselves, in the audit: no service has to run for that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from fairlead.model.audit import AuditBatch, AuditKind, AuditRecord
from fairlead.model.events import EventType
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import LOCAL

_COMMAND: Final = "command"


class OfflineChanges:
    """A `Recorder` that keeps what it is told until it is written into the audit.

    Whoever can write the database from the command line counts as `local`.
    """

    def __init__(self) -> None:
        self._records: list[AuditRecord] = []

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        self.add(f"command: {event_type.value}", data)

    def add(self, action: str, detail: Mapping[str, Any]) -> None:
        record = AuditRecord(
            time.time(),
            AuditKind.CHANGE,
            principal=LOCAL,
            credential=_COMMAND,
            action=action,
            outcome="ok",
            detail=dict(detail),
        )
        self._records.append(record)

    async def write(self, database: Database, state: StateFolder) -> None:
        """Raises StoreAwayError."""
        if self._records:
            await SqlAuditLog(database).append([AuditBatch.of(self._records, node=state.id())])
