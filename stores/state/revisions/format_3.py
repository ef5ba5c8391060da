"""Format 3: see CHANGELOG.md for what it holds more than format 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from stores.state.column_types import Binary, Count, Text

revision = "3"
down_revision = "2"


def upgrade(op: Operations) -> None:
    """A state of format 2 has every table and column of stores/state/tables.py."""
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("owner", Text))
    op.create_table(
        "claims",
        sa.Column("plan", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("work", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("claim", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("busy_until", sa.Float),
    )
    op.create_table(
        "plans",
        sa.Column("plan", Text, primary_key=True),
        sa.Column("digest", Text, primary_key=True),
        sa.Column("contents", Text, nullable=False),
        sa.Column("used", Count, nullable=False),
    )
    op.create_table(
        "plan_contents",
        sa.Column("plan", Text, primary_key=True),
        sa.Column("digest", Text, primary_key=True),
        sa.Column("content", Binary, nullable=False),
    )
