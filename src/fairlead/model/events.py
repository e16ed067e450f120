"""Events: what happened, as CloudEvents 1.0 has it. Frozen data.

An event is made once, kept in its service's log under the next number of a gapless sequence, and only then
told to anyone. `data` is JSON and never holds a secret.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final


class EventType(StrEnum):
    """What an event is about; the first seven are the names that clients have always known."""

    DRIFT_DETECTED = "drift-detected"
    SYNC_STARTED = "sync-started"
    SYNC_COMPLETED = "sync-completed"
    DEPLOYMENT_STARTED = "deployment-started"
    DEPLOYMENT_COMPLETED = "deployment-completed"
    SERVER_HEALTH_CHANGED = "server-health-changed"
    CONFIG_CHANGED = "config-changed"
    SERVICE_STARTED = "service-started"
    SERVICE_STOPPED = "service-stopped"
    SERVICE_DEGRADED = "service-degraded"  # a store or the bus is away
    SERVICE_RECOVERED = "service-recovered"
    INSTANCE_STARTED = "instance-started"
    INSTANCE_READY = "instance-ready"
    INSTANCE_STOPPED = "instance-stopped"  # because we wanted it
    INSTANCE_LOST = "instance-lost"  # though we did not
    BREAKER_CHANGED = "breaker-changed"
    SERVER_SCALED = "server-scaled"
    CONTRACT_CHANGED = "contract-changed"
    AUTHENTICATION_FAILED = "authentication-failed"
    ACCESS_CHANGED = "access-changed"  # a principal, key or grant
    EVENTS_LOST = "events-lost"  # the spool overflowed while the store was away

    @classmethod
    def kept(cls, word: str) -> EventType:
        """As it stands in a log: perhaps one that only a newer version knows, and then no member."""
        try:
            return cls(word)
        except ValueError:
            foreign = str.__new__(cls, word)
            foreign._name_ = foreign._value_ = word
            return foreign


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `time` is Unix time, s; `source` is a URI of the service and node that it comes from."""

    type: EventType
    source: str
    subject: str  # what it is about: a server, an instance, a key; may be empty
    data: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place in its service's log: 1, 2, 3 and so on, without a gap."""

    sequence: int
    event: Event

    def document(self) -> dict[str, Any]:
        """As structured JSON (CloudEvents 1.0, with its `sequence` extension)."""
        event = self.event
        document: dict[str, Any] = {
            "specversion": "1.0",
            "type": event.type.value,
            "source": event.source,
            "id": event.id,
            "time": datetime.fromtimestamp(event.time, UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "sequence": str(self.sequence),
            "sequencetype": "Integer",
            "data": dict(event.data),
        }
        if event.subject:
            document["subject"] = event.subject
        return document


CONTENT_TYPE: Final = "application/cloudevents+json"
