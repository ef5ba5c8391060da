"""Format 3: see CHANGELOG.md for what it holds more than format 2."""

from __future__ import annotations

from alembic.operations import Operations

revision = "3"
down_revision = "2"


def upgrade(op: Operations) -> None:
    """A state of format 2 has every table and column of stores/state/tables.py."""
