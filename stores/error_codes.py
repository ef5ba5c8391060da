"""The codes of the source, the state and the targets: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry
from stores.dynamodb import error_codes as codes_dynamodb
from stores.elasticsearch import error_codes as codes_elasticsearch
from stores.redis import error_codes as codes_redis

CODES: Mapping[str, Entry] = {
    "E-SRC-EVENT-SIZE": entry(
        "stopped",
        "One change of the source is larger than it may send, and stays in the way of those after it.",
        "Begin the route anew with `backfill --restart`; sync then goes on past it.",
    ),
    "E-SRC-HISTORY-LOST": entry(
        "stopped",
        "The source no longer has the changes since the route's position, so what happened in between cannot be told.",
        "Begin the route anew with `backfill --restart`, which also deletes what is gone from the source; let sync"
        " run more often, or have the source keep its changes for longer.",
    ),
    "E-SRC-STANDALONE": entry(
        "stopped",
        "The source is a standalone server, which has neither changes nor a time to read by.",
        "Make it a replica set of one member, or say `sync: rescan`.",
    ),
    "E-SRC-STREAM": entry(
        "stopped",
        "The source sent the parts of a large change out of order.",
        "Run the same command again; please report it if it stays.",
    ),
    "E-ID-DECODE": entry(
        "stopped",
        "A document's `_id` is no valid BSON, and reading cannot go on from it.",
        "Give that document another `_id` and run the same command.",
    ),
    "E-ID-DUP": entry(
        "stopped",
        "The collection or view gives two documents with one `_id`; a target could hold only one of them.",
        "Give each document an `_id` of its own (a view can build one).",
    ),
    "E-LEASE-HELD": entry(
        "paused",
        "Another run is at work on the route.",
        "Wait for it, or stop it and run the same command.",
    ),
    "E-LEASE-LOST": entry(
        "stopped",
        "This run's lease on the route has expired or was taken over; it stopped writing.",
        "Run the same command once no other run is at work.",
    ),
    "E-MEM-POSITION": entry(
        "stopped",
        "A checkpoint is of another source than the in-memory one.",
        "Begin anew with `backfill --restart`.",
    ),
    "E-MEM-UNPREPARED": entry("stopped", "The in-memory target was not prepared.", "Prepare it first."),
    "E-SRC-AUTH": entry(
        "stopped",
        "The source's user may not read the collection.",
        "Give it the role `read` there.",
    ),
    "E-SRC-AWAY": entry(
        "paused",
        "The source did not answer, or interrupted the read, until the retries were used up.",
        "Check it, then run the same command.",
    ),
    "E-SRC-COLLECTION": entry(
        "refused",
        "The database has no collection of this name.",
        "Correct `collection`, or `database` under `source`.",
    ),
    "E-SRC-FAILED": entry(
        "stopped",
        "Reading failed in a way that offramp does not know.",
        "See the source's log, and please report it.",
    ),
    "E-SRC-REFUSED": entry(
        "stopped",
        "The source refused the read, for the reason the message names.",
        "Correct what it names, then run the same command.",
    ),
    "E-SRC-TIMESERIES": entry(
        "refused",
        "A time-series collection has no unique `_id`, so its documents cannot be told apart or proven.",
        "Copy it into an ordinary collection first.",
    ),
    "E-SRC-TTL": entry(
        "refused",
        "`expires: from_index` asks for a TTL index, and there is none that can be followed.",
        "Name the date field: `{field: ..., after_seconds: ...}`.",
    ),
    "E-SRC-URI": entry(
        "refused",
        "`source.uri` is no MongoDB connection string, or has an option that does not exist.",
        "Correct it; write reserved characters of a password as %XX.",
    ),
    "E-SRC-WHERE": entry("refused", "The source cannot use the filter `where`.", "Correct it as the message says."),
    "E-STATE-BROKEN": entry(
        "stopped",
        "The state database cannot be used.",
        "Restore the file from a copy, or name a new state and begin anew with `backfill --restart`.",
    ),
    "E-STATE-BUSY": entry(
        "paused",
        "The state database did not answer in time.",
        "Let nothing else hold the file, then run the same command.",
    ),
    "E-STATE-OPEN": entry(
        "refused",
        "The state database cannot be opened or made.",
        "Name a file that can be written, on a disk of this machine.",
    ),
    "E-STATE-URL": entry(
        "refused",
        "`state` names no plain SQLite file.",
        "Write sqlite:///path/to/state.db, or sqlite:////absolute/path/to/state.db.",
    ),
    "E-STATE-VERSION": entry(
        "refused",
        "The state was begun by a release with another format.",
        "Finish with that release, or name another state.",
    ),
    **codes_dynamodb.CODES,
    **codes_elasticsearch.CODES,
    **codes_redis.CODES,
}
