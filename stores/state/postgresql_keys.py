"""Keys that may be longer than PostgreSQL indexes: the id of a reject, and the address of a finding.

A row of a B-tree is at most 2,704 bytes, and an `_id` may have megabytes. So rows are unique by a digest of such a
column, and are found by a hash index on it, which has no limit. The column itself is as in every other database.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.state.postgresql_checks import driver_of
from stores.state.tables import findings, rejects

# Text becomes bytes by `decode`, because `convert_to` depends on the session and so is not allowed in an index.
_DIGESTS: Final = {
    rejects: ("id", r"sha256(decode(replace(id, '\', '\\'), 'escape'))"),
    findings: ("address", "sha256(address)"),
}


def lift_limit(db: Connection) -> None:
    """Keys of these tables may have any length; call in a transaction whose schema is that of the state."""
    for table, (column, _) in _DIGESTS.items():
        driver_of(db).execute(f"ALTER TABLE {table.name} DROP CONSTRAINT IF EXISTS {table.name}_pkey")
        key = ", ".join(map(str, unique_by(table)))
        driver_of(db).execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {table.name}_key ON {table.name} ({key})")
        driver_of(db).execute(f"CREATE INDEX IF NOT EXISTS {table.name}_{column} ON {table.name} USING hash ({column})")


def unique_by(table: sa.Table) -> list[Any]:
    """Return the columns and expressions by which no two rows of the table are the same."""
    column, digest = _DIGESTS.get(table, ("", ""))
    return [sa.text(digest) if each.name == column else sa.text(each.name) for each in table.primary_key]
