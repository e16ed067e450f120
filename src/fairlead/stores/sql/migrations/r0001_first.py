"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None


def upgrade(*, op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("events", "identities", "specs")])
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    _create_history(op, number)
    _create_access(op)


def _create_history(op: Operations, number: sa.types.TypeEngine[int]) -> None:
    op.create_table(
        "events",
        sa.Column("sequence", number, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("time", sa.Float(53), nullable=False, index=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("source", sa.String(256), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("batch", sa.String(32), nullable=False, unique=True),
        sa.Column("first_at", sa.Float(53), nullable=False, index=True),
        sa.Column("last_at", sa.Float(53), nullable=False, index=True),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("kinds", sa.Text, nullable=False),
        sa.Column("principals", sa.Text, nullable=False),
        sa.Column("servers", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("started", sa.Float(53), nullable=False),
        sa.Column("seen", sa.Float(53), nullable=False),
        sa.Column("ended", sa.Float(53)),
    )
    op.create_table(
        "specs",
        sa.Column("generation", number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("by", sa.String(256), nullable=False),
        sa.Column("owner", sa.String(16), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("accepted", sa.Text),
        sa.Column("overrides", sa.Text, nullable=False),
    )
    op.create_table(
        "trends",
        sa.Column("at", sa.Float(53), primary_key=True),
        sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("node", sa.String(64), primary_key=True),
        sa.Column("server", sa.String(128), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Index("trends_by_server", "server", "seconds", "at"),
    )


def _create_access(op: Operations) -> None:
    op.create_table(
        "principals",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("grants", sa.Text, nullable=False),
        sa.Column("disabled", sa.Integer, nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("principal", sa.String(128), nullable=False, index=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53)),
        sa.Column("revoked", sa.Float(53)),
    )
    op.create_table(
        "web_sessions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("principal", sa.String(128), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
    op.create_table(
        "credentials",
        sa.Column("principal", sa.String(128), primary_key=True),
        sa.Column("server", sa.String(128), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("updated", sa.Float(53), nullable=False),
    )
