"""The codes of the Redis target: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-RDS-AUTH": entry(
        "stopped",
        "Redis refuses this user, or a command of it.",
        "Correct user and password, or the user's ACL.",
    ),
    "E-RDS-CLUSTER": entry(
        "refused stopped",
        "The server is a cluster and the plan does not say so, or the other way round.",
        "Say `cluster: true` beside its url, or leave it out.",
    ),
    "E-RDS-EMPTY": entry(
        "rejected",
        "A hash, set, list or entry that holds nothing cannot exist in Redis.",
        "Leave such documents out with `where`.",
    ),
    "E-RDS-ENTRY": entry(
        "rejected",
        "The id of a stream's entry is not two whole numbers of 64 bits, or is 0-0.",
        "Correct the mapper.",
    ),
    "E-RDS-EVICTION": entry(
        "refused",
        "The server may drop keys silently when its memory is full.",
        "Set `maxmemory-policy noeviction` there, or accept the loss with `allow_eviction: true`.",
    ),
    "E-RDS-EXPIRY": entry(
        "rejected",
        "A part of a shared key cannot expire by itself, or the expiry is beyond 64 bits.",
        "Drop `ttl_s` or `expires` from the route, or give each document a key of its own.",
    ),
    "E-RDS-FIELDS": entry("rejected", "Two fields of a hash have the same name.", "Correct the mapper."),
    "E-RDS-JSON": entry(
        "rejected",
        "The server's JSON module does not take the document: too deep, too large, or no JSON.",
        "Flatten it with `fields`, or use the mapper `string`.",
    ),
    "E-RDS-KEY": entry(
        "rejected stopped",
        "A key is not among those of the route, or is no valid Unicode.",
        "Correct the route's `key` or the mapper.",
    ),
    "E-RDS-MEMBERS": entry("rejected", "Two members of a set are the same.", "Correct the mapper."),
    "E-RDS-MEMORY": entry(
        "refused",
        "What the run would write does not fit the memory the server has left.",
        "Give it more memory, or allow more by `max_memory_percent`.",
    ),
    "E-RDS-NOJSON": entry(
        "refused stopped",
        "The server has no JSON module.",
        "Use a server with it, or another mapper.",
    ),
    "E-RDS-OOM": entry(
        "paused",
        "The server was out of memory until the retries were used up.",
        "Raise its `maxmemory`, then run the same command.",
    ),
    "E-RDS-ORDER": entry(
        "paused stopped",
        "An entry of a stream came after one it belongs before, and the stream cannot be made anew safely.",
        "Where the route paused, run the same command; else say `partitions: 1`, delete the stream, and begin anew with"
        " `backfill --restart`.",
    ),
    "E-RDS-RECORD": entry(
        "rejected",
        "The record stands for something that no mapper gives.",
        "Correct the mapper.",
    ),
    "E-RDS-REPLICA": entry("refused", "The server is a replica, which takes no writes.", "Give its primary's url."),
    "E-RDS-REPLICAS": entry(
        "paused",
        "Fewer replicas acknowledged the writes than `durability` asks for.",
        "See to the replication, or ask for less; then run the same command.",
    ),
    "E-RDS-SCORE": entry("rejected", "A score is NaN, which cannot order a sorted set.", "Correct the mapper."),
    "E-RDS-SERVER": entry(
        "stopped",
        "The server refused a command, for the reason the message quotes.",
        "Correct what it names, then run the same command.",
    ),
    "E-RDS-SIZE": entry(
        "rejected",
        "A key or value is larger than the server takes.",
        "Raise `proto-max-bulk-len` there, or drop the large field with `fields`.",
    ),
    "E-RDS-TYPE": entry(
        "refused rejected",
        "A key holds something of another type than the route writes there.",
        "Remove the key, or choose another `key`.",
    ),
    "E-RDS-UNAVAILABLE": entry(
        "paused",
        "The server is loading, failing over or read-only, and stayed so until the retries were used up.",
        "Run the same command when it takes writes.",
    ),
    "E-RDS-UNREACHABLE": entry(
        "paused",
        "The server could not be reached until the retries were used up.",
        "Check it and the network, then run the same command.",
    ),
    "E-RDS-VERSION": entry("refused", "The server is older than Redis 7.0.", "Use 7.0 or later, or Valkey."),
    "W-RDS-BIGKEY": entry(
        "noted",
        "Keys of more than 1 MB were written; reading or deleting one holds up all other clients.",
        "Spread the route over more keys, or leave the large field out with `fields`.",
    ),
}
