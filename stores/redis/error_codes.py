"""The codes of the Redis target: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-RDS-AUTH": entry(
        "stopped",
        "Redis refuses this user, or a command that the user sends.",
        "Correct the user and password, or the user's ACL.",
    ),
    "E-RDS-CLUSTER": entry(
        "refused stopped",
        "The server is a cluster and the plan does not say so, or the reverse.",
        "Set `cluster: true` beside `url`, or remove it.",
    ),
    "E-RDS-CREDENTIALS": entry(
        "refused stopped",
        "There are no valid AWS credentials to sign the login of `iam` with, or the profile does not exist.",
        "Correct what the message names; docs/permissions.md says where credentials come from.",
    ),
    "E-RDS-EMPTY": entry(
        "rejected",
        "A hash, set, list or stream entry without content cannot exist in Redis.",
        "Exclude such documents with `where`.",
    ),
    "E-RDS-ENTRY": entry(
        "rejected",
        "A stream entry's id is not two whole numbers of 64 bits, or is 0-0.",
        "Correct the mapper.",
    ),
    "E-RDS-EVICTION": entry(
        "refused stopped",
        "The server may evict keys silently when its memory is full.",
        "Set `maxmemory-policy noeviction` on the server, or accept the loss with `allow_eviction: true`.",
    ),
    "E-RDS-EXPIRY": entry(
        "rejected",
        "A part of a shared key cannot expire by itself, or the expiry exceeds 64 bits.",
        "Remove `ttl_s` or `expires` from the route, or give each document its own key.",
    ),
    "E-RDS-FIELDS": entry(
        "rejected",
        "Two fields of a hash have the same name.",
        "Correct the mapper.",
    ),
    "E-RDS-JSON": entry(
        "rejected",
        "The server's JSON module rejects the document: too deep, too large, or not JSON.",
        "Flatten the document (`transforms`), or use the mapper `string`.",
    ),
    "E-RDS-KEY": entry(
        "rejected stopped",
        "A key does not belong to the route, or is not valid Unicode.",
        "Correct the route's `key` or the mapper.",
    ),
    "E-RDS-MEMBERS": entry(
        "rejected",
        "Two members of a set are the same.",
        "Correct the mapper.",
    ),
    "E-RDS-MEMORY": entry(
        "stopped",
        "The run would write more than fits in the server's free memory.",
        "Give the server more memory, or raise `max_memory_percent`.",
    ),
    "E-RDS-NOJSON": entry(
        "refused stopped",
        "The server has no JSON module.",
        "Use a server that has it, or another mapper.",
    ),
    "E-RDS-OOM": entry(
        "paused",
        "The server was out of memory until the retries were used up.",
        "Raise its `maxmemory`, then run the same command.",
    ),
    "E-RDS-ORDER": entry(
        "paused ended",
        "A stream entry arrived after entries that it belongs before, and the stream cannot be rebuilt safely.",
        "If the route paused, run the same command. Otherwise set `partitions: 1`, delete the stream, and "
        "start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-RDS-RECORD": entry(
        "rejected",
        "The record is of a kind that no mapper makes.",
        "Correct the mapper.",
    ),
    "E-RDS-REPLICA": entry(
        "refused stopped",
        "The server is a replica, which takes no writes.",
        "Set `url` to its primary.",
    ),
    "E-RDS-REPLICAS": entry(
        "paused",
        "Fewer replicas acknowledged the writes than `durability` asks for.",
        "Check the replication, or lower `durability`; then run the same command.",
    ),
    "E-RDS-SCORE": entry(
        "rejected",
        "A score is NaN, which a sorted set cannot order.",
        "Correct the mapper.",
    ),
    "E-RDS-SENTINEL": entry(
        "refused stopped",
        "A Sentinel is reached where a server is expected, a server where a Sentinel is, or the service is not known.",
        "Write `redis-sentinel://HOST:PORT,HOST:PORT/SERVICE` in `url`: the Sentinels, and their name for the service.",
    ),
    "E-RDS-SERVER": entry(
        "stopped",
        "The server refused a command; the message quotes why.",
        "Correct what the message names, then run the same command.",
    ),
    "E-RDS-SIZE": entry(
        "rejected",
        "A key or value is larger than the server accepts.",
        "Raise `proto-max-bulk-len` on the server, or drop the large field (`fields`).",
    ),
    "E-RDS-TLS": entry(
        "stopped",
        "The server cannot be spoken to by TLS, or a file of certificates cannot be used; the message says why.",
        "Correct what the message names: `url`, a file that `ca_certs`, `client_cert` or `client_key` names, or the"
        " certificate itself.",
    ),
    "E-RDS-TYPE": entry(
        "refused stopped rejected",
        "A key holds another type than the route writes there.",
        "Remove the key, or choose another `key`.",
    ),
    "E-RDS-UNAVAILABLE": entry(
        "paused",
        "The server was loading, failing over or read-only until the retries were used up.",
        "Run the same command when the server takes writes.",
    ),
    "E-RDS-UNREACHABLE": entry(
        "paused",
        "The server could not be reached until the retries were used up.",
        "Check the server and the network, then run the same command.",
    ),
    "E-RDS-VERSION": entry(
        "refused stopped",
        "The server is older than Redis 7.0.",
        "Use Redis 7.0 or later, or Valkey.",
    ),
    "W-RDS-SCRATCH": entry(
        "noted",
        "The server let keys be written to measure what a route will take of its memory, and refused to remove them.",
        "Allow this user UNLINK (sync and repair need it too). Delete the keys that the message names, or wait ten "
        "minutes until they expire.",
    ),
    "W-RDS-BIGKEY": entry(
        "noted",
        "Keys of more than 1 MB were written; reading or deleting one blocks all other clients meanwhile.",
        "Spread the route over more keys, or drop the large field (`fields`).",
    ),
}
