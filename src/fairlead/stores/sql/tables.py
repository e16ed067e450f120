"""The tables, as they are now. `migrations/` says how older databases come to be so.

All times are Unix time in seconds. In PostgreSQL they stand in a schema of the service's own.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA: Final = MetaData()
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")  # SQLite's rowid is an INTEGER

# One row for each name: counters that are raised in the transaction they number, and facts of the database.
COUNTERS: Final = Table(
    "counters",
    METADATA,
    Column("name", String(64), primary_key=True),  # events, identities, specs, gitops
    Column("value", BigInteger, nullable=False),
)
FACTS: Final = Table(
    "facts",
    METADATA,
    Column("name", String(64), primary_key=True),  # key_check, created, ...
    Column("value", Text, nullable=False),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, unique=True),
    Column("time", Float(53), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("source", String(256), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("data", Text, nullable=False),  # JSON
)

# Calls come in tens of thousands a second: a row holds a batch of them, compressed.
AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("batch", String(32), nullable=False, unique=True),  # `AuditBatch.id`
    Column("first_at", Float(53), nullable=False, index=True),
    Column("last_at", Float(53), nullable=False, index=True),
    Column("records", Integer, nullable=False),
    Column("kinds", Text, nullable=False),  # what is in the batch, so that a search can pass over it:
    Column("principals", Text, nullable=False),  # JSON arrays, "" where there are too many
    Column("servers", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# A service's runs: one that did not end tells that the audit of its last second may be missing.
RUNS: Final = Table(
    "runs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("node", String(64), nullable=False),
    Column("started", Float(53), nullable=False),
    Column("seen", Float(53), nullable=False),  # a sign of life
    Column("ended", Float(53)),
)

SPECS: Final = Table(
    "specs",
    METADATA,
    Column("generation", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("at", Float(53), nullable=False),
    Column("by", String(256), nullable=False),
    Column("owner", String(16), nullable=False),
    Column("source", Text, nullable=False),  # the fleet file that it was read from, if it was one
    Column("accepted", Text),  # JSON, in its owner's own words
    Column("overrides", Text, nullable=False),  # JSON
)

PRINCIPALS: Final = Table(
    "principals",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("grants", Text, nullable=False),  # JSON
    Column("disabled", Integer, nullable=False),
    Column("created", Float(53), nullable=False),
)
KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("principal", String(128), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("label", String(200), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("expires", Float(53)),
    Column("revoked", Float(53)),
)
WEB_SESSIONS: Final = Table(  # browsers, and login codes that are not used yet
    "web_sessions",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),  # code, session
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("principal", String(128), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("expires", Float(53), nullable=False),
)
CREDENTIALS: Final = Table(  # of principals, for upstream servers
    "credentials",
    METADATA,
    Column("principal", String(128), primary_key=True),
    Column("server", String(128), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("updated", Float(53), nullable=False),
)

TRENDS: Final = Table(  # metric roll-ups
    "trends",
    METADATA,
    Column("at", Float(53), primary_key=True),  # the start of the interval
    Column("seconds", Integer, primary_key=True),  # its length
    Column("node", String(64), primary_key=True),
    Column("server", String(128), primary_key=True),  # "" for the service itself
    Column("content", Text, nullable=False),  # JSON: name -> number
    Index("trends_by_server", "server", "seconds", "at"),
)

# What the GitOps controller keeps. What is looked for has a column; `content` is the rest, as JSON.
# Objects, keys, patterns, targets may be of any length and have any character: `place` is a digest of them.
_APPLICATION: Final = String(128)
_PLACE: Final = String(64)
APPLICATIONS: Final = Table(
    "applications",
    METADATA,
    Column("name", _APPLICATION, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
)
BASES: Final = Table(
    "bases",
    METADATA,
    Column("application", _APPLICATION, primary_key=True),
    Column("place", _PLACE, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
    Column("content", Text, nullable=False),
)
INTENTS: Final = Table(  # the write-ahead journal of deployments that have not ended
    "intents",
    METADATA,
    Column("deployment", String(64), primary_key=True),
    Column("wave", Integer, primary_key=True, autoincrement=False),
    Column("place", _PLACE, primary_key=True),
    Column("object", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
)
DRIFT: Final = Table(
    "drift",
    METADATA,
    Column("application", _APPLICATION, primary_key=True),
    Column("place", _PLACE, primary_key=True),
    Column("content", Text, nullable=False),
)
LIVE_VERSIONS: Final = Table(  # what was there before it was overwritten
    "live_versions",
    METADATA,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("application", _APPLICATION, nullable=False),
    Column("deployment", String(64), nullable=False, index=True),
    Column("at", Float(53), nullable=False, index=True),
    Column("bytes", LargeBinary, nullable=False),
    Column("content", Text, nullable=False),
)
HOLDS: Final = Table(
    "holds",
    METADATA,
    Column("application", _APPLICATION, primary_key=True),
    Column("place", _PLACE, primary_key=True),
    Column("content", Text, nullable=False),
)
LEASES: Final = Table(  # of targets; a row stays, so that its token only grows
    "leases",
    METADATA,
    Column("place", _PLACE, primary_key=True),
    Column("target", Text, nullable=False),  # JSON, for people
    Column("token", BigInteger, nullable=False),
    Column("holder", Text),  # None: it was released
    Column("expires", Float(53), nullable=False),
)
DEPLOYMENTS: Final = Table(
    "deployments",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("application", _APPLICATION, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("ended", Float(53)),
    Column("revision", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index("deployments_by_time", "created", "id"),
    Index("deployments_by_application", "application", "created", "id"),
    Index("deployments_by_state", "application", "state", "created"),
)
BLOCKED: Final = Table(  # commits that are not applied again
    "blocked",
    METADATA,
    Column("application", _APPLICATION, primary_key=True),
    Column("place", _PLACE, primary_key=True),
    Column("content", Text, nullable=False),
)
