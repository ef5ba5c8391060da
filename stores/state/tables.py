"""The tables of a state. A table that was renamed here keeps its old name in the file, so that old files are read."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from stores.masking import masked


class _Words(sa.TypeDecorator[str]):
    """Text of a server, a driver or a person, kept without secrets of the plan."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else masked(value)


metadata = sa.MetaData()
# What Alembic keeps: the revision whose tables these are.
revisions = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
meta = sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))
routes = sa.Table(
    "routes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),  # JSON of the plan keys that decide what is copied, and how
    sa.Column("source_identity", sa.Text, nullable=False),
    sa.Column("target_identity", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("backfill_s", sa.Float, nullable=False, default=0.0),
    sa.Column("outcome", sa.Text),  # JSON of the last row of the report
    sa.Column("recopied", sa.Boolean, nullable=False, default=False),  # whether retry or repair copied documents again
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
work_requests = sa.Table(
    "wishes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("wanted", sa.Integer, nullable=False),
)
stops = sa.Table(
    "stops",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),  # of the lease whose workers are to stop
)
rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("field", _Words, nullable=False),
    sa.Column("reason", _Words, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=1),
    sa.Column("first", sa.Float, nullable=False),
    sa.Column("last", sa.Float, nullable=False),
    sa.Column("position", sa.LargeBinary),  # BSON {"_id": id}, where the document has one
    sa.Column("document", sa.Text),  # canonical Extended JSON, where the plan allows it
    sa.Column("accepted_by", sa.Text),  # a person, NULL until then
    sa.Column("accepted_at", sa.Float),
    sa.Column("accepted_why", _Words),
)
halts = sa.Table(
    "halts",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("why", _Words, nullable=False),
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
late_writes = sa.Table(
    "late_writes",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("position", sa.LargeBinary, nullable=False),  # BSON {"_id": id}
    sqlite_autoincrement=True,  # No number is given twice, so that removing an entry never removes a later one.
)
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),  # of the lease under which the step was begun
    sa.Column("step", sa.Text, nullable=False),
)
sync_positions = sa.Table(
    "syncs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("began", sa.BigInteger, nullable=False),  # cluster times: seconds << 32 | increment
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("token", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("lag_s", sa.Float),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("applied", sa.Integer, nullable=False),
    sa.Column("deleted", sa.Integer, nullable=False),
    sa.Column("halted", _Words, nullable=False),
)
sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
)
document_hashes = sa.Table(
    "scans",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("pass_", sa.Integer, nullable=False),
)
passes = sa.Table(
    "passes",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("resumed", sa.Integer, nullable=False, default=0),
    sa.Column("scope", sa.Text, nullable=False),  # JSON of what the pass is about
)
pass_parts = sa.Table(
    "pass_parts",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),  # list or compare
    sa.Column("lower", sa.LargeBinary),
    sa.Column("upper", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("tally", sa.Text, nullable=False, default="{}"),
    sa.Column("size", sa.Integer, nullable=False, default=0),  # bytes of its log that belong to the checkpoint
)
findings = sa.Table(
    "findings",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("address", sa.LargeBinary, primary_key=True),  # a store's own keys may be any bytes
    sa.Column("position", sa.LargeBinary),  # BSON {"_id": id}, where it is known
    sa.Column("id", sa.Text, nullable=False),  # its typed text, "" where it is not known
    sa.Column("pass", sa.Text, nullable=False),
)
repairs = sa.Table(
    "mendings",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),  # retry or repair
    sa.Column("done", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("address", sa.LargeBinary, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
# Without a route, so that `forget` keeps it: the runs before a restart stay on record.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("began", sa.Text, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary),  # report.json; NULL until the run has ended
)
# Without a route, so that `forget` keeps it: a place that was made stays made.
made_places = sa.Table(
    "made_places",
    metadata,
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, primary_key=True),
)
