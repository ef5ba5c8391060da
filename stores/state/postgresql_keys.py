"""Keys that may be longer than PostgreSQL indexes: ids of documents and of rejects, and addresses of findings.

A row of a B-tree is at most 2,704 bytes, and an `_id` may have megabytes. The column itself is as in every other
database; its index is of something else that differs for values that differ:

- Of a reject and a finding, a digest. Rows are found by a hash index on the column, which has no limit.
- Of a document that a rescan saw, the id, or its beginning and a digest where it is long. There is a row for each
  document of a collection, and a rescan comes in the order of `_id`: so it writes to the index in order too.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.state.postgresql_checks import driver_of
from stores.state.tables import document_hashes, findings, rejects

_WHOLE_BYTES: Final = 1000
"""An id of at most so many bytes is indexed as it is; of a longer one so many, before its digest."""
_ORDERED: Final = (
    f"(CASE WHEN length(id) <= {_WHOLE_BYTES} THEN id ELSE substring(id, 1, {_WHOLE_BYTES}) || sha256(id) END)"
)
# Text becomes bytes by `decode`, because `convert_to` depends on the session and so is not allowed in an index.
_INDEXED: Final = {
    rejects.c.id: r"sha256(decode(replace(id, '\', '\\'), 'escape'))",
    findings.c.address: "sha256(address)",
    document_hashes.c.id: _ORDERED,
}
_HASHED: Final = (rejects.c.id, findings.c.address)
"""Columns by which rows are found without what is indexed of them."""


def lift_limit(db: Connection) -> None:
    """Keys of these tables may have any length; call in a transaction whose schema is that of the state."""
    for column in _INDEXED:
        table = column.table
        driver_of(db).execute(f"ALTER TABLE {table.name} DROP CONSTRAINT IF EXISTS {table.name}_pkey")
        key = ", ".join(map(str, unique_by(table)))
        driver_of(db).execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {table.name}_key ON {table.name} ({key})")
        if column in _HASHED:
            at = f"{table.name}_{column.name}"
            driver_of(db).execute(f"CREATE INDEX IF NOT EXISTS {at} ON {table.name} USING hash ({column.name})")


def unique_by(table: sa.Table) -> list[Any]:
    """Return the columns and expressions by which no two rows of the table are the same."""
    return [sa.text(_INDEXED.get(each, each.name)) for each in table.primary_key]


def key_of(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return what the rows of the column's table can be ordered by, in its place, with the help of an index."""
    return sa.literal_column(_ORDERED, column.type) if column is document_hashes.c.id else column


def among(column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that picks the rows whose column is one of the values; an index finds them."""
    if column is not document_hashes.c.id:
        return column.in_(values)
    return sa.and_(key_of(column).in_([_ordered(value) for value in values]), column.in_(values))


def _ordered(id_: bytes) -> bytes:
    """Return what `_ORDERED` is for an id."""
    return id_ if len(id_) <= _WHOLE_BYTES else id_[:_WHOLE_BYTES] + sha256(id_).digest()
