"""The codes of the Elasticsearch and OpenSearch target: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-ES-ALIAS": entry(
        "refused stopped",
        "The name that readers use is an index, or an alias that cannot be moved to the new version.",
        "Say `replace: true` to let it go, or choose another name.",
    ),
    "E-ES-ANSWER": entry(
        "stopped",
        "The server's answer does not tell what was asked, or refuses a request that is not about a document.",
        "See what stands between (a proxy, a gateway), and what the message quotes.",
    ),
    "E-ES-AUTH": entry(
        "stopped",
        "The login is refused, or may not do what the run needs; the message lists it.",
        "Correct user and password or key, or give that login the privileges named.",
    ),
    "E-ES-AWAY": entry(
        "paused",
        "The cluster did not answer, or answered that it is overloaded, until the retries were used up.",
        "Check the cluster, then run the same command.",
    ),
    "E-ES-BLOCKED": entry(
        "stopped",
        "The index takes no writes, most often as a disk is nearly full.",
        "Free disk, lift the block, and run the same command.",
    ),
    "E-ES-CREDENTIALS": entry(
        "refused stopped",
        "There are no AWS credentials to sign requests with, or the profile does not exist.",
        "Set `aws_profile`, a role or the environment.",
    ),
    "E-ES-INDEX": entry(
        "refused",
        "The index differs from the plan, is no index but an alias or data stream, or cannot be made.",
        "Name another `index`, or change what the message names.",
    ),
    "E-ES-JSON": entry(
        "rejected",
        "A mapper gave a source that is no JSON object on one line.",
        "Correct the mapper.",
    ),
    "E-ES-LIST": entry(
        "paused",
        "The server could not list what the index holds without gaps.",
        "See to the health of its shards, then run the same command.",
    ),
    "E-ES-NOINDEX": entry(
        "refused stopped",
        "The index was deleted, or deleted and made anew, while the run was at work.",
        "Find out who deleted it (a lifecycle policy, an automatic creation), then begin anew with `backfill"
        " --restart`.",
    ),
    "E-ES-PIPELINE": entry(
        "refused rejected",
        "There is no ingest pipeline of this name, or the pipeline dropped the document.",
        "Make the pipeline or correct `pipeline`; leave out with `where` what shall be dropped.",
    ),
    "E-ES-PRODUCT": entry(
        "refused",
        "Another product or version answers than the plan names.",
        "Do as the message advises: another `url`, or another `flavour`.",
    ),
    "E-ES-REJECTED": entry(
        "rejected",
        "Elasticsearch does not take the document under the index's mapping; the reason quotes the kind of fault.",
        "Correct the route's mapping or cast the field with `fields`.",
    ),
    "E-ES-SETTINGS": entry(
        "stopped",
        "Settings of the index that a load changes could not be set or put back.",
        "Give the login the privilege `manage` on the index, or leave `load_replicas` and its like out.",
    ),
    "E-ES-SIZE": entry(
        "rejected",
        "The server takes no request as large as this one document.",
        "Raise `http.max_content_length` there, or drop the large field with `fields`.",
    ),
    "E-ES-SRC": entry(
        "refused",
        "The index would not give back what it is given (`_source` is off or altered), so nothing could be proven.",
        "Name another index.",
    ),
    "E-ES-TLS": entry("stopped", "The server's certificate is not trusted.", "Name who signed it with `ca_certs`."),
    "E-ES-VERSION": entry(
        "refused",
        "Which version of the index is this route's is not known, as this state has not copied it.",
        "Run backfill first, or name the version itself with `index`.",
    ),
}
