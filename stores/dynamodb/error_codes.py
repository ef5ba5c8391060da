"""The codes of the DynamoDB target and its bucket: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-DDB-ABSENT": entry(
        "ended",
        "The table does not exist any more.",
        "Find out who deleted it, then start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-DDB-ACCESS": entry(
        "stopped",
        "The credentials lack a permission that the run needs; the message names the action.",
        "Allow them what docs/permissions.md lists for the command.",
    ),
    "E-DDB-ANSWER": entry(
        "stopped",
        "The answer did not come from DynamoDB, so it is unknown what was done.",
        "Check `endpoint` and any proxy in between.",
    ),
    "E-DDB-BUSY": entry(
        "paused",
        "DynamoDB throttled or failed until the retries were used up.",
        "Raise the table's capacity, or set a lower `max_write_units` or `max_rate` under the target; then run "
        "the same command.",
    ),
    "E-DDB-CREDENTIALS": entry(
        "stopped",
        "The AWS credentials are missing, wrong or expired, a role cannot be assumed, or the clock is wrong.",
        "Correct what the message names (docs/permissions.md says where credentials come from); run the same command.",
    ),
    "E-DDB-ENDPOINT": entry(
        "refused stopped",
        "`endpoint` or `region` is malformed, or leads to another machine by plain http.",
        "Correct it under `targets.dynamodb`.",
    ),
    "E-DDB-EXISTS": entry(
        "refused stopped",
        "The table exists, but `load: import` has to create its table.",
        "Delete the table, name another in `table`, or set `load: write`.",
    ),
    "E-DDB-IMPORT": entry(
        "ended",
        "AWS no longer knows the import, or it was begun with other settings.",
        "Delete the table if it is there, then start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-DDB-IMPORT-COUNT": entry(
        "ended",
        "The import ended with another number of items than were staged.",
        "See the import's log in CloudWatch, delete the table, then start over with `offramp backfill "
        "PLAN --restart --route ROUTE`.",
    ),
    "E-DDB-IMPORT-FAILED": entry(
        "stopped",
        "The import ended as failed or cancelled; the message says why.",
        "Correct what the message names, delete the table if it is there, then run the same command, which "
        "imports the same files again.",
    ),
    "E-DDB-IMPORT-FILES": entry(
        "stopped ended",
        "The staged files in the bucket are not the ones that the run wrote.",
        "Make sure that nothing else writes or deletes there. Then delete the file that the message names and"
        " run the same command; if it names none, start over with `offramp backfill PLAN --restart --route "
        "ROUTE`.",
    ),
    "E-DDB-IMPORT-SIZE": entry(
        "ended",
        "The staged files are larger than one import takes.",
        "Set `load: write`, then start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-DDB-IMPORT-WAIT": entry(
        "paused",
        "The import had not ended by the deadline; it goes on in AWS.",
        "Run the same command later: it waits for the same import.",
    ),
    "E-DDB-IN-USE": entry(
        "stopped",
        "The table is being created or changed by someone else.",
        "Wait until that is done, then run the same command.",
    ),
    "E-DDB-INDEXES": entry(
        "refused stopped",
        "The table's secondary indexes differ from the plan's.",
        "Change `indexes`, or change the table with AWS's tools.",
    ),
    "E-DDB-KEYS": entry(
        "refused stopped",
        "The table exists and has another key than the plan, or no document looked at fits the keys of the plan.",
        "Name another table in `table`, or write the `key` that the message gives.",
    ),
    "E-DDB-NETWORK": entry(
        "paused",
        "DynamoDB gave no complete answer until the retries were used up.",
        "Check the network, then run the same command.",
    ),
    "E-DDB-PROFILE": entry(
        "refused stopped",
        "There is no AWS profile of this name.",
        "Set `profile` to one that exists.",
    ),
    "E-DDB-REFUSED": entry(
        "rejected stopped",
        "DynamoDB refuses the item or the delete; the message says why.",
        "Correct the mapper or `key`.",
    ),
    "E-DDB-REGION": entry(
        "refused stopped",
        "No AWS region is set, or there is none of this name.",
        "Set `region` under `targets.dynamodb`.",
    ),
    "E-DDB-STATUS": entry(
        "refused paused stopped",
        "The table is not ACTIVE.",
        "Wait until it is, then run the same command.",
    ),
    "E-DDB-TABLE": entry(
        "refused stopped",
        "DynamoDB refuses to create or describe the table as the plan asks.",
        "Change what the message names in the plan.",
    ),
    "E-DDB-TERRITORY": entry(
        "rejected",
        "Several routes share the table, and this item's key does not begin with its route's own text.",
        "Correct the mapper, or the route's `key`.",
    ),
    "E-DDB-TLS": entry(
        "stopped",
        "The server of `endpoint`, or a proxy, cannot be spoken to by TLS; the message says why.",
        "Correct what the message names: `endpoint`, a certificate, or AWS_CA_BUNDLE.",
    ),
    "E-DDB-TTL": entry(
        "refused stopped",
        "The table expires items by another attribute than the plan.",
        "Set `ttl_attribute` to the table's attribute.",
    ),
    "E-DDB-UNKNOWN": entry(
        "stopped",
        "DynamoDB answered with an error that offramp does not know; no document is blamed for it.",
        "Look the error up in AWS's documentation, and please report it.",
    ),
    "E-S3-ACCESS": entry(
        "refused stopped",
        "The credentials may not use the bucket as the run needs; the message names the action.",
        "Allow them what docs/permissions.md lists for the bucket.",
    ),
    "E-S3-BUCKET": entry(
        "refused stopped",
        "The bucket does not exist.",
        "Create it, or name another in the plan.",
    ),
    "E-S3-BUSY": entry(
        "paused",
        "S3 throttled or failed until the retries were used up.",
        "Run the same command later.",
    ),
    "E-S3-CLIENT": entry(
        "refused stopped",
        "`region`, `profile` or `s3_endpoint` is not usable for S3, or leads to another machine by plain http.",
        "Correct it under `targets.dynamodb`.",
    ),
    "E-S3-NETWORK": entry(
        "paused",
        "S3 gave no answer until the retries were used up.",
        "Check the network, then run the same command.",
    ),
    "E-S3-CREDENTIALS": entry(
        "refused stopped",
        "The AWS credentials are missing, wrong or expired, a role cannot be assumed, or the clock is wrong.",
        "Correct what the message names (docs/permissions.md says where credentials come from); run the same command.",
    ),
    "E-S3-REFUSED": entry(
        "stopped",
        "S3 refused to delete objects that the run wrote.",
        "Allow DeleteObject on the bucket, then run the same command.",
    ),
    "E-S3-TLS": entry(
        "refused stopped",
        "The server of `s3_endpoint`, or a proxy, cannot be spoken to by TLS; the message says why.",
        "Correct what the message names: `s3_endpoint`, a certificate, or AWS_CA_BUNDLE.",
    ),
    "E-S3-UNKNOWN": entry(
        "refused stopped",
        "S3 answered with an error that offramp does not know.",
        "Check the credentials and `s3_endpoint`, and look the error up in AWS's documentation.",
    ),
    "W-DDB-STREAM": entry(
        "noted",
        "The table has a stream: its consumers receive every item that is written.",
        "If they should not receive the copied items, stop them or switch the stream off during the backfill.",
    ),
}
