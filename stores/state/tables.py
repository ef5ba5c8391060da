"""The tables of a state. A table that was renamed here keeps its old name in the file, so that old files are read."""

from __future__ import annotations

import sqlalchemy as sa

from stores.state.column_types import Binary, Count, Seconds, Text, Words

metadata = sa.MetaData()
# What Alembic keeps: the revision whose tables these are.
revisions = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
meta = sa.Table("meta", metadata, sa.Column("key", Text, primary_key=True), sa.Column("value", Text))
routes = sa.Table(
    "routes",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("fingerprint", Text, nullable=False),  # JSON of the plan keys that decide what is copied, and how
    sa.Column("source_identity", Text, nullable=False),
    sa.Column("target_identity", Text, nullable=False),
    sa.Column("started", Seconds, nullable=False),
    sa.Column("backfill_s", Seconds, nullable=False, default=0.0),
    sa.Column("outcome", Text),  # JSON of the last row of the report
    sa.Column("recopied", sa.Boolean, nullable=False, default=False),  # whether retry or repair copied documents again
)
partitions = sa.Table(
    "partitions",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("lower", Binary),
    sa.Column("upper", Binary),
    sa.Column("position", Binary),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("tally", Text, nullable=False, default="{}"),
)
work_requests = sa.Table(
    "wishes",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("wanted", Count, nullable=False),
)
stops = sa.Table(
    "stops",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("fence", Count, nullable=False),  # of the lease whose workers are to stop
)
rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("id", Text, primary_key=True),
    sa.Column("stage", Text, primary_key=True),
    sa.Column("code", Text, nullable=False),
    sa.Column("field", Words, nullable=False),
    sa.Column("reason", Words, nullable=False),
    sa.Column("attempts", Count, nullable=False, default=1),
    sa.Column("first", Seconds, nullable=False),
    sa.Column("last", Seconds, nullable=False),
    sa.Column("position", Binary),  # BSON {"_id": id}, where the document has one
    sa.Column("document", Text),  # canonical Extended JSON, where the plan allows it
    sa.Column("accepted_by", Text),  # a person, NULL until then
    sa.Column("accepted_at", Seconds),
    sa.Column("accepted_why", Words),
)
halts = sa.Table(
    "halts",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("why", Words, nullable=False),
)
loads = sa.Table(
    "loads",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("memory", Text, nullable=False),  # JSON
)
designs = sa.Table(
    "designs",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("fingerprint", Text, nullable=False),  # JSON, of the plan it was made for
    sa.Column("design", Text, nullable=False),  # JSON
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("owner", Text, nullable=False),
    sa.Column("fence", Count, nullable=False),
    sa.Column("expires", Seconds, nullable=False),
)
# One row for each job of the route's present run; see `stores.state.claims`.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("work", Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("claim", Count, nullable=False),  # grows with each claim of the job
    sa.Column("owner", Text, nullable=False),  # the process at work on it, "" while nothing of it is under way
    sa.Column("busy_until", Seconds),  # when the last of those whose claim was replaced can change the target no more
)
late_writes = sa.Table(
    "late_writes",
    metadata,
    sa.Column("number", Count, primary_key=True),
    sa.Column("plan", Text, nullable=False),
    sa.Column("route", Text, nullable=False),
    sa.Column("position", Binary, nullable=False),  # BSON {"_id": id}
    sqlite_autoincrement=True,  # No number is given twice, so that removing an entry never removes a later one.
)
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("fence", Count, nullable=False),  # of the lease under which the step was begun
    sa.Column("step", Text, nullable=False),
)
sync_positions = sa.Table(
    "syncs",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("began", sa.BigInteger, nullable=False),  # cluster times: seconds << 32 | increment
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("token", Binary, nullable=False),
    sa.Column("at", Seconds, nullable=False),
    sa.Column("lag_s", Seconds),
    sa.Column("events", Count, nullable=False),
    sa.Column("applied", Count, nullable=False),
    sa.Column("deleted", Count, nullable=False),
    sa.Column("halted", Words, nullable=False),
)
sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
)
document_hashes = sa.Table(
    "scans",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("id", Binary, primary_key=True),
    sa.Column("hash", Binary, nullable=False),
    sa.Column("pass_", sa.Integer, nullable=False),
)
passes = sa.Table(
    "passes",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("id", Text, nullable=False),
    sa.Column("began", Seconds, nullable=False),
    sa.Column("resumed", sa.Integer, nullable=False, default=0),
    sa.Column("scope", Text, nullable=False),  # JSON of what the pass is about
    sa.Column("shape", Text),  # JSON of how its addresses are sketched; NULL for a pass of an earlier release
    sa.Column("sums", Text),  # JSON of its slices that have ended; NULL in the first
    sa.Column("suspects", Binary),  # the hashes of addresses to look into; NULL until they are known
)
pass_parts = sa.Table(
    "pass_parts",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("stage", Text, nullable=False),  # list or compare
    sa.Column("lower", Binary),
    sa.Column("upper", Binary),
    sa.Column("position", Binary),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("tally", Text, nullable=False, default="{}"),
    sa.Column("sums", Text, nullable=False, default="{}", server_default="{}"),  # JSON
)
pass_vectors = sa.Table(
    "pass_vectors",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),  # -1 for the sum of the parts that are done
    sa.Column("name", Text, primary_key=True),
    sa.Column("cells", Binary, nullable=False),
)
pass_findings = sa.Table(
    "pass_findings",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("address", Binary, nullable=False),
    sa.Column("position", Binary),  # BSON {"_id": id}, where it is known
)
pass_suspects = sa.Table(
    "pass_suspects",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("hash", Binary, primary_key=True),
    sa.Column("address", Binary, nullable=False),  # one that documents of the part expect
    sa.Column("counts", Text, nullable=False),  # JSON: its records by finding
    sa.Column("position", Binary),  # of the document with the least finding
    sa.Column("other", Binary),  # of the last document beside the first
)
PASS_TABLES = (passes, pass_parts, pass_vectors, pass_findings, pass_suspects)
"""What there is of a pass under way."""
findings = sa.Table(
    "findings",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("kind", Text, primary_key=True),
    sa.Column("address", Binary, primary_key=True),  # a store's own keys may be any bytes
    sa.Column("position", Binary),  # BSON {"_id": id}, where it is known
    sa.Column("id", Text, nullable=False),  # its typed text, "" where it is not known
    sa.Column("pass", Text, nullable=False),
)
repairs = sa.Table(
    "mendings",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("number", Count, primary_key=True),
    sa.Column("command", Text, nullable=False),  # retry or repair
    sa.Column("done", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("address", Binary, nullable=False),
    sa.Column("id", Text, nullable=False),
    sa.Column("at", Seconds, nullable=False),
)
# Without a route, so that `forget` keeps it: the runs before a restart stay on record.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("began", Text, primary_key=True),
    sa.Column("command", Text, nullable=False),
    sa.Column("report", Binary),  # report.json; NULL until the run has ended
    sa.Column("owner", Text),  # of the run's leases; NULL where an earlier release began it
)
# What a run's workers load: of each version of a plan its text, its users' own mappers and its routes' fingerprints.
plans = sa.Table(
    "plans",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("digest", Text, primary_key=True),  # SHA-256 of the version's manifest
    sa.Column("contents", Text, nullable=False),  # the digests of its manifest and contents, with spaces between
    sa.Column("used", Count, nullable=False),  # grows with each registration
)
plan_contents = sa.Table(
    "plan_contents",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("digest", Text, primary_key=True),  # SHA-256 of the content
    sa.Column("content", Binary, nullable=False),
)
# Without a route, so that `forget` keeps it: a place that was made stays made.
made_places = sa.Table(
    "made_places",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("identity", Text, primary_key=True),
)
# Without a route, so that `forget` keeps it; an export leaves it here.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("plan", Text, primary_key=True),
    sa.Column("id", Text, nullable=False),
    sa.Column("number", Count, nullable=False),  # how often the plan's state was moved, this time included
    sa.Column("stage", Text, nullable=False),  # exporting, exported or open
    sa.Column("place", Words, nullable=False),  # the file it was moved by
    sa.Column("at", Seconds, nullable=False),
)
