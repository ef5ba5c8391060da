"""Format 3: see CHANGELOG.md for what it holds more than format 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "3"
down_revision = "2"

# As in stores/state/column_types.py when this was released.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SECONDS: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.Float, "sqlite")
_COUNT = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """A state of format 2 has every table and column of stores/state/tables.py."""
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("owner", _TEXT))
    op.create_table(
        "claims",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("route", _TEXT, primary_key=True),
        sa.Column("work", _TEXT, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("claim", _COUNT, nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("busy_until", _SECONDS),
    )
    op.create_table(
        "moves",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("number", _COUNT, nullable=False),
        sa.Column("stage", _TEXT, nullable=False),
        sa.Column("place", _TEXT, nullable=False),
        sa.Column("at", _SECONDS, nullable=False),
    )
    op.create_table(
        "plans",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("contents", _TEXT, nullable=False),
        sa.Column("used", _COUNT, nullable=False),
    )
    op.create_table(
        "plan_contents",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
