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


metadata = sa.MetaData()
sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))
sa.Table(
    "routes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("source_identity", sa.Text, nullable=False),
    sa.Column("target_identity", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("backfill_s", sa.Float, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("recopied", sa.Boolean, nullable=False),
)
sa.Table(
    "partitions",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("tally", sa.Text, nullable=False),
)
sa.Table(
    "wishes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("wanted", sa.Integer, nullable=False),
)
sa.Table(
    "stops",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),
)
sa.Table(
    "rejects",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first", sa.Float, nullable=False),
    sa.Column("last", sa.Float, nullable=False),
    sa.Column("position", sa.LargeBinary),
    sa.Column("document", sa.Text),
    sa.Column("accepted_by", sa.Text),
    sa.Column("accepted_at", sa.Float),
    sa.Column("accepted_why", sa.Text),
)
sa.Table(
    "halts",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("why", sa.Text, nullable=False),
)
sa.Table(
    "loads",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("memory", sa.Text, nullable=False),
)
sa.Table(
    "designs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("design", sa.Text, nullable=False),
)
sa.Table(
    "leases",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)
sa.Table(
    "late_writes",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("position", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
sa.Table(
    "steps",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
)
sa.Table(
    "syncs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("began", sa.BigInteger, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("token", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("lag_s", sa.Float),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("applied", sa.Integer, nullable=False),
    sa.Column("deleted", sa.Integer, nullable=False),
    sa.Column("halted", sa.Text, nullable=False),
)
sa.Table(
    "sweeps",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
)
sa.Table(
    "scans",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("pass_", sa.Integer, nullable=False),
)
sa.Table(
    "passes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("resumed", sa.Integer, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
)
sa.Table(
    "pass_parts",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("tally", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
)
sa.Table(
    "findings",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("address", sa.LargeBinary, primary_key=True),
    sa.Column("position", sa.LargeBinary),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("pass", sa.Text, nullable=False),
)
sa.Table(
    "mendings",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("done", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("address", sa.LargeBinary, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
sa.Table(
    "runs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("began", sa.Text, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary),
)
sa.Table(
    "made_places",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, primary_key=True),
)
