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
    _sketch_addresses(op)


def _sketch_addresses(op: Operations) -> None:
    """Passes keep what they have seen in the state. One of format 2, which has no shape, begins anew."""
    with op.batch_alter_table("passes") as passes:
        passes.add_column(sa.Column("shape", _TEXT))
        passes.add_column(sa.Column("sums", _TEXT))
        passes.add_column(sa.Column("suspects", sa.LargeBinary))
    with op.batch_alter_table("pass_parts") as parts:
        parts.add_column(sa.Column("sums", _TEXT, nullable=False, server_default="{}"))
        parts.drop_column("size")
    op.create_table(
        "pass_vectors",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("route", _TEXT, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("cells", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "pass_findings",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("route", _TEXT, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("position", sa.LargeBinary),
    )
    op.create_table(
        "pass_suspects",
        sa.Column("plan", _TEXT, primary_key=True),
        sa.Column("route", _TEXT, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("counts", _TEXT, nullable=False),
        sa.Column("position", sa.LargeBinary),
        sa.Column("other", sa.LargeBinary),
    )
