"""The codes of the Elasticsearch and OpenSearch target: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-ES-ALIAS": entry(
        "refused stopped",
        "The name that readers use is an index, or an alias that cannot be moved to the new version.",
        "Set `replace: true`, which gives it up, or choose another name.",
    ),
    "E-ES-ANSWER": entry(
        "refused stopped",
        "The server's answer lacks what was asked for, or it refused a request as a whole.",
        "Check what is in between (a proxy, a gateway), and what the message quotes.",
    ),
    "E-ES-AUTH": entry(
        "refused stopped",
        "The login is refused, or lacks a privilege that the run needs; the message says which.",
        "Correct the user and password or the key, or give that login the listed privileges.",
    ),
    "E-ES-AWAY": entry(
        "paused",
        "The cluster did not answer, or was overloaded, until the retries were used up.",
        "Check the cluster's health, then run the same command.",
    ),
    "E-ES-BLOCKED": entry(
        "refused stopped",
        "The index takes no writes, usually because a disk is nearly full.",
        "Free disk space, remove the block, then run the same command.",
    ),
    "E-ES-CREDENTIALS": entry(
        "refused stopped",
        "There are no valid AWS credentials to sign requests with, or the profile does not exist.",
        "Correct what the message names; docs/permissions.md says where credentials come from.",
    ),
    "E-ES-INDEX": entry(
        "refused stopped",
        "The index differs from the plan, is an alias or a data stream, or cannot be created.",
        "Name another `index`, or change what the message names.",
    ),
    "E-ES-JSON": entry(
        "rejected",
        "A mapper returned a source that is not a JSON object on one line.",
        "Correct the mapper.",
    ),
    "E-ES-LIST": entry(
        "paused",
        "The server could not list the index's documents without gaps.",
        "Check the health of its shards, then run the same command.",
    ),
    "E-ES-NOINDEX": entry(
        "ended",
        "The index was deleted, or deleted and created again, since the run began.",
        "Find out who deleted it (a lifecycle policy, an automatic creation), delete what was made "
        "anew, then start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-ES-PIPELINE": entry(
        "refused stopped rejected",
        "There is no ingest pipeline of this name, or the pipeline dropped the document.",
        "Create the pipeline or correct `pipeline`; exclude documents that it drops with `where`.",
    ),
    "E-ES-PRODUCT": entry(
        "refused stopped",
        "The server is another product or version than the plan names.",
        "Do as the message says: correct `url` or `flavour`.",
    ),
    "E-ES-REJECTED": entry(
        "rejected",
        "Elasticsearch rejects the document under the index's mapping; the reason quotes the kind of fault.",
        "Correct the route's `mapping`, or cast the field (`transforms`).",
    ),
    "E-ES-SETTINGS": entry(
        "stopped",
        "Index settings for the load could not be set or restored.",
        "Give the login the privilege `manage` on the index, or remove `load_replicas` and `load_refresh_interval`.",
    ),
    "E-ES-SIZE": entry(
        "rejected",
        "This one document is larger than a request that the server accepts.",
        "Raise `http.max_content_length` on the server, or drop the large field (`fields`).",
    ),
    "E-ES-SRC": entry(
        "refused stopped",
        "The index would not return what is written to it (`_source` is off or altered), so nothing could be verified.",
        "Name another `index`.",
    ),
    "E-ES-TLS": entry(
        "refused stopped",
        "The server cannot be spoken to by TLS, or a file of certificates cannot be used; the message says why.",
        "Correct what the message names: `url`, `ca_certs`, `client_cert`, or the certificate itself.",
    ),
    "E-ES-VERSION": entry(
        "refused stopped",
        "This state has not copied the route, so its version of the index is unknown.",
        "Run `backfill` first, or name the version itself in `index`.",
    ),
}
