"""The codes of the source and the state, and where those of the targets are: what each means and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import distribution

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-SRC-BOUNDS": entry(
        "refused stopped",
        "The source does not keep to the bounds of a range of `_id`, or has no way to ask for one, so that documents "
        "would be read twice or not at all.",
        "Run `offramp check PLAN --probe` to see what the server can do, and name it in `source.flavour`; or copy the "
        "data into a MongoDB first.",
    ),
    "E-SRC-EVENT-SIZE": entry(
        "ended",
        "One change of the source is larger than the 16 MB it may send, and blocks the changes after it.",
        "Start over with `offramp backfill PLAN --restart --route ROUTE`; sync then goes on after that change.",
    ),
    "E-SRC-HISTORY-LOST": entry(
        "ended",
        "The source no longer has the changes since the route's position, so what happened in between is unknown.",
        "Start over with `offramp backfill PLAN --restart --route ROUTE`, which also deletes what is "
        "gone from the source. Then run sync more often, or let the source keep its changes longer.",
    ),
    "E-SRC-STANDALONE": entry(
        "stopped",
        "The source is a standalone server, which has no change stream and no cluster time.",
        "Make it a replica set of one member, or set `sync: rescan`.",
    ),
    "E-SRC-RETENTION": entry(
        "refused stopped",
        "AWS does not say how long the Amazon DocumentDB cluster of `source.aws_cluster` keeps its changes.",
        "Correct the identifier, or allow the actions that the message names; or write `source.change_retention`.",
    ),
    "E-SRC-STREAM-OFF": entry(
        "refused stopped",
        "The source, an Amazon DocumentDB, records no changes of this database: its change streams are off.",
        "Let an administrator run the modifyChangeStreams command that the message names, before the backfill. What "
        "changed while they were off is recorded nowhere.",
    ),
    "E-SRC-CURSORS": entry(
        "paused",
        "The source's instance has as many open cursors as it allows, which on Amazon DocumentDB depends on its class.",
        "Lower `run.workers`, close other programs' cursors, or take a larger instance class; then run the same "
        "command.",
    ),
    "E-SRC-VERSION": entry(
        "stopped",
        "The source is too old to be read: its wire protocol is below version 9.",
        "Upgrade the source to MongoDB 4.4 or Amazon DocumentDB 5.0 at the least, or restore a snapshot of it into "
        "such a cluster, and move that.",
    ),
    "E-SRC-STREAM": entry(
        "stopped",
        "The source sent the parts of a large change out of order, or a change that names no document.",
        "Run the same command again; please report it if it happens again.",
    ),
    "E-ID-DECODE": entry(
        "stopped",
        "A document's `_id` is not valid BSON, and reading cannot go on after it.",
        "Give that document another `_id`, then run the same command.",
    ),
    "E-ID-DUP": entry(
        "stopped",
        "The collection or view returns two documents with the same `_id`; a target can hold only one of them.",
        "Give each document its own `_id` (a view can build one), then run the same command.",
    ),
    "E-LEASE-HELD": entry(
        "postponed",
        "Another run is working on the route.",
        "Wait until it ends, or stop it; then run the same command. The lease of a run that was killed "
        "is free at once on the same machine, and elsewhere once it expires, which the message says.",
    ),
    "E-LEASE-LOST": entry(
        "stopped",
        "This run's lease on the route expired or was taken over by another run; this run stopped writing.",
        "Run the same command when no other run is working on the route.",
    ),
    "E-PARTITION-TAKEN": entry(
        "stopped",
        "The run lost this worker, which was only cut off or paused, and gave its job to another.",
        "Nothing: the other worker does the job. A worker that is often lost has too little memory, or a poor "
        "connection to the scheduler.",
    ),
    "E-MEM-POSITION": entry(
        "ended",
        "A checkpoint belongs to another in-memory source.",
        "Start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-MEM-UNPREPARED": entry(
        "stopped",
        "The in-memory target was not prepared.",
        "Prepare the target first.",
    ),
    "E-SRC-AUTH": entry(
        "stopped",
        "The source refused the login, or its user may not read the collection; the message says which.",
        "Correct user, password and authSource in `source.uri`, or give this user the role `read` on the database.",
    ),
    "E-SRC-AWAY": entry(
        "paused",
        "The source did not answer, or interrupted the read, until the retries were used up.",
        "Check that the source is up and reachable, then run the same command.",
    ),
    "E-SRC-COLLECTION": entry(
        "refused",
        "The database has no collection of this name.",
        "Correct `collection` in the route, or `source.database`.",
    ),
    "E-SRC-FAILED": entry(
        "stopped",
        "Reading failed with an error that offramp does not know.",
        "See the source's log, and please report it.",
    ),
    "E-SRC-REFUSED": entry(
        "stopped",
        "The source refused the read; the message says why.",
        "Correct what the message names, then run the same command.",
    ),
    "E-SRC-SERVER": entry(
        "stopped",
        "What answers at `source.uri` is no MongoDB, or a member of another replica set.",
        "Correct host, port and replicaSet in `source.uri`.",
    ),
    "E-SRC-SRV": entry(
        "stopped",
        "The host of a mongodb+srv:// URI has no SRV record, or one that leads to another domain.",
        "Correct the host in `source.uri`, or write mongodb:// and all hosts.",
    ),
    "E-SRC-TLS": entry(
        "stopped",
        "No server of the source can be spoken to with the TLS options of `source.uri`; the message says why.",
        "Correct what the message names: the port, the host name, a file of certificates, or the certificate itself.",
    ),
    "E-SRC-TIMESERIES": entry(
        "refused stopped",
        "A time-series collection has no unique `_id`, so its documents cannot be told apart or verified.",
        "Copy it into an ordinary collection first, and move that one.",
    ),
    "E-SRC-TTL": entry(
        "refused stopped",
        "`expires: from_index` needs a TTL index, and the collection has none that offramp can follow.",
        "Name the date field instead: `expires: {field: ..., after_seconds: ...}`.",
    ),
    "E-SRC-URI": entry(
        "refused",
        "`source.uri` is not a MongoDB connection string, or has an unknown option.",
        "Correct it; write special characters of a password as %XX.",
    ),
    "E-SRC-WHERE": entry(
        "refused stopped",
        "The source cannot use the query in `where`.",
        "Correct it as the message says.",
    ),
    "E-STATE-BACKUP": entry(
        "refused",
        "The state is of an earlier release, and no copy of it could be made beside it; so it was not upgraded.",
        "Make room on the disk, or the folder of the state writable, and run the same command.",
    ),
    "E-STATE-BROKEN": entry(
        "stopped",
        "The state database cannot be read or written.",
        "Correct what the message names, or restore the state from a backup, and run the same command; or name another"
        " place in `state` and start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-STATE-EMPTY": entry(
        "refused",
        "The state has nothing of the plan, so there is nothing to export.",
        "Check `state` and the name of the plan: a state belongs to the plan's name.",
    ),
    "E-STATE-FILE": entry(
        "refused",
        "The file by which a state moves cannot be used: one to export is there already, or one to import is not whole,"
        " was changed, or belongs to another plan or release.",
        "Name a new file to export, or the whole file of that plan to import. Nothing was imported.",
    ),
    "E-STATE-GONE": entry(
        "stopped",
        "The state was deleted, replaced or restored from a backup while the run was at work, or lost what it had of"
        " the route.",
        "Put the same state back and run the same command, or start over with `offramp backfill PLAN --restart"
        " --route ROUTE`. Let nothing else change the state.",
    ),
    "E-STATE-BUSY": entry(
        "paused",
        "The state database did not answer in time: a file that another program locks, or a PostgreSQL that is away,"
        " has no connection or no room on its disk left, or only reads.",
        "Make sure that the file is not locked, or that the server answers and has room on its disk, then run the same"
        " command.",
    ),
    "E-STATE-DRIVER": entry(
        "refused stopped",
        "`state` names a PostgreSQL, and the library for it is not installed.",
        "Install offramp's extra of that name with the command in the message, on each machine that works on the plan.",
    ),
    "E-STATE-MOVED": entry(
        "refused stopped",
        "The plan's state was exported from this database, and goes on where the file was imported. Two states of one"
        " plan would lose documents of its targets.",
        "Name the new place in `state`. If the file was imported nowhere, run `offramp state reopen PLAN`.",
    ),
    "E-STATE-OCCUPIED": entry(
        "refused",
        "A state cannot be imported where there is anything of the same plan; nothing was changed.",
        "Name an empty place in `state`, such as a new file or schema.",
    ),
    "E-STATE-OPEN": entry(
        "refused",
        "The state database cannot be opened or created.",
        "Name a writable file on a local disk in `state`, or correct what the message names of the PostgreSQL: its"
        " address, the login, or a right, with the statement that gives it.",
    ),
    "E-STATE-UNSAFE": entry(
        "refused stopped",
        "The state's file, its journal or its folder belongs to another user, or others may write to it: they could"
        " change what is on record, so that documents are lost, or read ids. A link to a file that is not there is"
        " refused for the same reason. So is a PostgreSQL whose other users may put functions where they are found"
        " before its own.",
        "Run as the owner, take the right to write from others (`chmod go-w`), or name in `state` a file in a folder of"
        " your own. In PostgreSQL run the statement that the message names.",
    ),
    "E-STATE-UPGRADE": entry(
        "paused refused",
        "The state is of an earlier release, and a run of that release is still working with it.",
        "Wait until that run has ended, or stop it, then run the same command: it upgrades the state.",
    ),
    "E-STATE-URL": entry(
        "refused",
        "`state` is not the URL of an SQLite file or of a PostgreSQL.",
        "Write sqlite:///path/to/state.db, sqlite:////absolute/path/to/state.db, or"
        " postgresql://user:${PASSWORD}@host/database?sslmode=verify-full.",
    ),
    "E-STATE-VERSION": entry(
        "refused",
        "The state has a format that this release does not know: a later release wrote it, or one before the first.",
        "Install the release that the message names, or a later one; or name another file in `state` and start over.",
    ),
}


@cache
def target_codes() -> Mapping[str, Mapping[str, Entry]]:
    """Return the codes of offramp's own targets, by target: each target's folder has them in `error_codes.py`."""
    points = distribution("mongo-offramp").entry_points.select(group="offramp.targets")
    return {point.name: import_module(f"{point.module.rpartition('.')[0]}.error_codes").CODES for point in points}
