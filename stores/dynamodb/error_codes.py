"""The codes of the DynamoDB target and its bucket: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.error_codes import Entry, entry

CODES: Mapping[str, Entry] = {
    "E-DDB-ABSENT": entry(
        "stopped",
        "The table does not exist, or no longer.",
        "Find out who deleted it, then begin anew with `backfill --restart`.",
    ),
    "E-DDB-ACCESS": entry(
        "stopped",
        "The credentials may not do what the run needs; the message lists it.",
        "Allow these credentials the operations named, on this table.",
    ),
    "E-DDB-ANSWER": entry(
        "stopped",
        "An answer is none of DynamoDB's, so nothing is known of what was done.",
        "Check `endpoint` and any proxy on the way.",
    ),
    "E-DDB-BUSY": entry(
        "paused",
        "The table throttled, or the service failed, until the retries were used up.",
        "Raise the table's capacity, or set a lower rate under the target's pace; then run the same command.",
    ),
    "E-DDB-CREDENTIALS": entry(
        "stopped",
        "The credentials are missing, wrong or expired, or the clock of this machine is off.",
        "Sign in again, check the clock, then run the same command.",
    ),
    "E-DDB-ENDPOINT": entry("refused", "`endpoint` or `region` is malformed.", "Correct it under the target."),
    "E-DDB-EXISTS": entry(
        "refused stopped",
        "The table exists, and `load: import` makes its table anew.",
        "Delete the table, name another in `table`, or say `load: write`.",
    ),
    "E-DDB-IMPORT": entry(
        "stopped",
        "The import is not known any more, or was begun with other settings.",
        "Delete the table and begin anew with `backfill --restart`.",
    ),
    "E-DDB-IMPORT-COUNT": entry(
        "stopped",
        "The import has ended, and counts other items than were staged.",
        "See the import's log in CloudWatch, delete the table, and begin anew with `backfill --restart`.",
    ),
    "E-DDB-IMPORT-FAILED": entry(
        "stopped",
        "AWS ended the import as failed or cancelled; the message says why.",
        "Correct what it names, delete the table, and begin anew with `backfill --restart`.",
    ),
    "E-DDB-IMPORT-FILES": entry(
        "stopped",
        "The staged files in the bucket are not those that the run wrote.",
        "Let nothing else use that prefix; then begin anew with `backfill --restart`.",
    ),
    "E-DDB-IMPORT-SIZE": entry(
        "stopped",
        "The staged files are larger than one import takes.",
        "Say `load: write`.",
    ),
    "E-DDB-IMPORT-WAIT": entry(
        "paused",
        "The import had not ended by the deadline; it goes on in AWS.",
        "Run the same command later: it waits for the same import.",
    ),
    "E-DDB-IN-USE": entry(
        "stopped",
        "The table is being created or changed by someone else.",
        "Wait for that, then run the same command.",
    ),
    "E-DDB-INDEXES": entry(
        "refused",
        "The table's secondary indexes are not those of the plan.",
        "Change `indexes`, or the table by AWS's own tools.",
    ),
    "E-DDB-KEYS": entry(
        "refused",
        "The table exists and has another key than the plan says.",
        "Name another table, or change `key`.",
    ),
    "E-DDB-NETWORK": entry(
        "paused",
        "DynamoDB gave no answer, or not a whole one, until the retries were used up.",
        "Check the network, then run the same command.",
    ),
    "E-DDB-PROFILE": entry("refused", "There is no AWS profile of this name.", "Set `profile` to one that exists."),
    "E-DDB-REFUSED": entry(
        "rejected stopped",
        "DynamoDB does not take the item or the delete, for the reason the message names.",
        "Correct the mapper or `key`.",
    ),
    "E-DDB-REGION": entry("refused", "No AWS region is given.", "Set `region` under the target."),
    "E-DDB-STATUS": entry(
        "refused paused",
        "The table is not ACTIVE.",
        "Wait until it is, then run the same command.",
    ),
    "E-DDB-TABLE": entry(
        "refused",
        "DynamoDB refuses to make or describe the table as the plan says.",
        "Change what the message names in the plan.",
    ),
    "E-DDB-TERRITORY": entry(
        "rejected",
        "Several routes share the table, and this item's key does not begin as its route's `key` says.",
        "Correct the mapper, or the route's `key`.",
    ),
    "E-DDB-TTL": entry(
        "refused",
        "The table expires items by another attribute than the plan says.",
        "Set `ttl_attribute` to the table's.",
    ),
    "E-DDB-UNKNOWN": entry(
        "stopped",
        "DynamoDB answered with an error that offramp does not know; it is never held against a document.",
        "Look the named error up in AWS's documents, and please report it.",
    ),
    "E-S3-ACCESS": entry(
        "stopped",
        "The credentials may not use the bucket as the run needs.",
        "Allow ListBucket, GetObject, PutObject and DeleteObject on it.",
    ),
    "E-S3-BUCKET": entry("stopped", "The bucket does not exist.", "Create it, or name another in the plan."),
    "E-S3-BUSY": entry(
        "paused", "S3 throttled or failed until the retries were used up.", "Run the same command later."
    ),
    "E-S3-CLIENT": entry(
        "refused",
        "`region`, `profile` or `s3_endpoint` makes no client.",
        "Correct it under the target.",
    ),
    "E-S3-NETWORK": entry(
        "paused",
        "S3 gave no answer until the retries were used up.",
        "Check the network, then run the same command.",
    ),
    "E-S3-REFUSED": entry(
        "stopped",
        "S3 refused to delete objects of the run's own.",
        "Allow DeleteObject on the bucket, then run the same command.",
    ),
    "E-S3-UNKNOWN": entry(
        "stopped",
        "S3 answered with an error that offramp does not know.",
        "Check credentials and `s3_endpoint`; look the named error up in AWS's documents.",
    ),
    "W-DDB-STREAM": entry(
        "noted",
        "The table has a stream: every item written reaches its consumers.",
        "Stop the consumers, or switch the stream off while the backfill runs, unless they shall see it all.",
    ),
}
