"""Format 2, of the first releases: all that a state of theirs has, whichever of it is there.

Their states were never marked by Alembic, and gained tables and a column within the format. So a state of format 2
comes through here too. This revision was released: it is never edited again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "2"
down_revision = None


def upgrade(op: Operations) -> None:
    """Every table and column of format 2 is there; what was there stays as it was."""
    metadata.create_all(op.get_bind())
    if "recopied" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("routes")}:
        # The column is a quarter of an hour younger than the format.
        with op.batch_alter_table("routes") as table:
            table.add_column(sa.Column("recopied", sa.Boolean, nullable=False, server_default=sa.false()))
        with op.batch_alter_table("routes") as table:
            table.alter_column("recopied", server_default=None)


# Format 2 was in SQLite alone, by the plain types here. The others let tests run every revision in PostgreSQL too.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SECONDS = sa.Float().with_variant(sa.Double, "postgresql")
_COUNT = sa.Integer().with_variant(sa.BigInteger, "postgresql")
metadata = sa.MetaData()
sa.Table("meta", metadata, sa.Column("key", _TEXT, primary_key=True), sa.Column("value", _TEXT))
sa.Table(
    "routes",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("fingerprint", _TEXT, nullable=False),
    sa.Column("source_identity", _TEXT, nullable=False),
    sa.Column("target_identity", _TEXT, nullable=False),
    sa.Column("started", _SECONDS, nullable=False),
    sa.Column("backfill_s", _SECONDS, nullable=False),
    sa.Column("outcome", _TEXT),
    sa.Column("recopied", sa.Boolean, nullable=False),
)
sa.Table(
    "partitions",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("tally", _TEXT, nullable=False),
)
sa.Table(
    "wishes",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("wanted", _COUNT, nullable=False),
)
sa.Table(
    "stops",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("fence", _COUNT, nullable=False),
)
sa.Table(
    "rejects",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("id", _TEXT, primary_key=True),
    sa.Column("stage", _TEXT, primary_key=True),
    sa.Column("code", _TEXT, nullable=False),
    sa.Column("field", _TEXT, nullable=False),
    sa.Column("reason", _TEXT, nullable=False),
    sa.Column("attempts", _COUNT, nullable=False),
    sa.Column("first", _SECONDS, nullable=False),
    sa.Column("last", _SECONDS, nullable=False),
    sa.Column("position", sa.LargeBinary),
    sa.Column("document", _TEXT),
    sa.Column("accepted_by", _TEXT),
    sa.Column("accepted_at", _SECONDS),
    sa.Column("accepted_why", _TEXT),
)
sa.Table(
    "halts",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("why", _TEXT, nullable=False),
)
sa.Table(
    "loads",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("memory", _TEXT, nullable=False),
)
sa.Table(
    "designs",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("fingerprint", _TEXT, nullable=False),
    sa.Column("design", _TEXT, nullable=False),
)
sa.Table(
    "leases",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("owner", _TEXT, nullable=False),
    sa.Column("fence", _COUNT, nullable=False),
    sa.Column("expires", _SECONDS, nullable=False),
)
sa.Table(
    "late_writes",
    metadata,
    sa.Column("number", _COUNT, primary_key=True),
    sa.Column("plan", _TEXT, nullable=False),
    sa.Column("route", _TEXT, nullable=False),
    sa.Column("position", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
sa.Table(
    "steps",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("fence", _COUNT, nullable=False),
    sa.Column("step", _TEXT, nullable=False),
)
sa.Table(
    "syncs",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("began", sa.BigInteger, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("token", sa.LargeBinary, nullable=False),
    sa.Column("at", _SECONDS, nullable=False),
    sa.Column("lag_s", _SECONDS),
    sa.Column("events", _COUNT, nullable=False),
    sa.Column("applied", _COUNT, nullable=False),
    sa.Column("deleted", _COUNT, nullable=False),
    sa.Column("halted", _TEXT, nullable=False),
)
sa.Table(
    "sweeps",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
)
sa.Table(
    "scans",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("pass_", sa.Integer, nullable=False),
)
sa.Table(
    "passes",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("id", _TEXT, nullable=False),
    sa.Column("began", _SECONDS, nullable=False),
    sa.Column("resumed", sa.Integer, nullable=False),
    sa.Column("scope", _TEXT, nullable=False),
)
sa.Table(
    "pass_parts",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("stage", _TEXT, nullable=False),
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("tally", _TEXT, nullable=False),
    sa.Column("size", _COUNT, nullable=False),
)
sa.Table(
    "findings",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("kind", _TEXT, primary_key=True),
    sa.Column("address", sa.LargeBinary, primary_key=True),
    sa.Column("position", sa.LargeBinary),
    sa.Column("id", _TEXT, nullable=False),
    sa.Column("pass", _TEXT, nullable=False),
)
sa.Table(
    "mendings",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("route", _TEXT, primary_key=True),
    sa.Column("number", _COUNT, primary_key=True),
    sa.Column("command", _TEXT, nullable=False),
    sa.Column("done", _TEXT, nullable=False),
    sa.Column("kind", _TEXT, nullable=False),
    sa.Column("address", sa.LargeBinary, nullable=False),
    sa.Column("id", _TEXT, nullable=False),
    sa.Column("at", _SECONDS, nullable=False),
)
sa.Table(
    "runs",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("began", _TEXT, primary_key=True),
    sa.Column("command", _TEXT, nullable=False),
    sa.Column("report", sa.LargeBinary),
)
sa.Table(
    "made_places",
    metadata,
    sa.Column("plan", _TEXT, primary_key=True),
    sa.Column("identity", _TEXT, primary_key=True),
)
