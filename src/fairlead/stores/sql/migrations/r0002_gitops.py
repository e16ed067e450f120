"""What the GitOps controller keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(*, op: Operations) -> None:
    counters = sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(counters, [{"name": "gitops", "value": 0}])
    _create_applications(op)
    _create_work(op)
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("application", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("ended", sa.Float(53)),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Index("deployments_by_time", "created", "id"),
        sa.Index("deployments_by_application", "application", "created", "id"),
        sa.Index("deployments_by_state", "application", "state", "created"),
    )
    op.create_table(
        "blocked",
        sa.Column("application", sa.String(128), primary_key=True),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )


def _create_applications(op: Operations) -> None:
    op.create_table(
        "applications",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "bases",
        sa.Column("application", sa.String(128), primary_key=True),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "drift",
        sa.Column("application", sa.String(128), primary_key=True),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("application", sa.String(128), primary_key=True),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )


def _create_work(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "intents",
        sa.Column("deployment", sa.String(64), primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "live_versions",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("application", sa.String(128), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False, index=True),
        sa.Column("at", sa.Float(53), nullable=False, index=True),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
