"""What of a state belongs to a plan and moves with it: every table that names the plan, and how its values are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.state.move_file import Column
from stores.state.tables import metadata, moves

_KINDS = {str: "text", bytes: "bytes", int: "int", float: "float", bool: "bool"}


def moved_tables() -> list[sa.Table]:
    """Return the tables in the order of their names. The marks of moves stay where they are."""
    return sorted(
        (table for table in metadata.tables.values() if "plan" in table.c and table is not moves),
        key=lambda table: table.name,
    )


def moved_columns(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns that move: all but the plan, which the file names once, and numbers that a database gives."""
    given = set(table.primary_key) if "plan" not in table.primary_key else set()
    return [column for column in table.c if column.name != "plan" and column not in given]


def described(table: sa.Table) -> list[Column]:
    """Return the columns that move as a file describes them."""
    return [Column(column.name, kind_of(column)) for column in moved_columns(table)]


def kind_of(column: sa.Column[Any]) -> str:
    """Return what the values of the column are: text, bytes, int, float or bool."""
    own = column.type
    return _KINDS[(own.impl_instance if isinstance(own, sa.TypeDecorator) else own).python_type]


def count_rows(db: Connection, plan: str) -> dict[str, int]:
    """Return how many rows of the plan each table has."""
    return {
        table.name: db.execute(sa.select(sa.func.count()).select_from(table).where(table.c.plan == plan)).scalar_one()
        for table in moved_tables()
    }
