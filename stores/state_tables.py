"""The tables of a state."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
meta = sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))
routes = sa.Table(
    "routes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),  # JSON of all that decides what is copied and how
    sa.Column("source_identity", sa.Text, nullable=False),
    sa.Column("target_identity", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("backfill_s", sa.Float, nullable=False, default=0.0),
    sa.Column("outcome", sa.Text),  # JSON of the last row of the report
)
partitions = sa.Table(
    "partitions",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("tally", sa.Text, nullable=False, default="{}"),
)
wishes = sa.Table(
    "wishes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("wanted", sa.Integer, nullable=False),
)
rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=1),
    sa.Column("at", sa.Float, nullable=False),
)
loads = sa.Table(
    "loads",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("memory", sa.Text, nullable=False),  # JSON
)
designs = sa.Table(
    "designs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),  # JSON, of the plan it was made for
    sa.Column("design", sa.Text, nullable=False),  # JSON
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)
# Without a route, so that `forget` leaves it alone: what was done before a restart stays on record.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("began", sa.Text, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary),  # report.json; NULL until the run has ended
)
