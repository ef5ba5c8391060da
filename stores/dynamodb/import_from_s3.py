"""DynamoDB's import from S3: a new table made of a route's files, begun once, awaited, and judged by its counts (R54).

What is remembered of an import is written down before each step: its token before it is asked for, so that a run that
died in between asks for the same import again, and the table's identity once all is as planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from mappers.dynamodb.records import Item
from stores.contract.fence import Fence
from stores.contract.stop import Stop, raise_if_stopped
from stores.contract.target import Rejected
from stores.dynamodb.client import Calls
from stores.dynamodb.import_files import Files
from stores.dynamodb.table import Table
from stores.errors import PermanentError, PlanError, TransientError
from stores.throttling.backoff import Backoff, poll

_FIRST_POLL_S = 0.2
_LAST_POLL_S = 20.0
_RUNNING = ("IN_PROGRESS", "CANCELLING")

Memory = Mapping[str, Any]


class Import:
    """The import of one route into one table."""

    def __init__(self, table: Table, calls: Calls, files: Files, bucket: str, fence: Fence, deadline_s: float) -> None:
        """Take where the files go; nothing is asked yet."""
        self._table = table
        self._calls = calls
        self._files = files
        self._bucket = bucket
        self._fence = fence
        self._deadline_s = deadline_s

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError where the bucket, or a table that exists, does not fit."""
        self._files.objects.check()
        return self._table.check_imported()

    def vacant(self) -> None:
        """Return if the table is yet to be made; raises PlanError otherwise."""
        if self._table.id() is not None:
            raise PlanError(
                "E-DDB-EXISTS",
                f"table {self._table.name!r} exists, but an import creates its table; delete it, name another in"
                " `table`, or say `load: write`",
            )

    def clear(self) -> None:
        """Nothing is staged."""
        self._files.clear()

    def stage(self, records: Sequence[Item], partition: int, first: int) -> Sequence[Rejected]:
        """Every record is in the batch's file, replacing what an earlier attempt put there, or is in the answer."""
        return self._files.stage(records, partition, first)

    def trim(self, partition: int, first: int) -> None:
        """Nothing is staged of the partition from this document on."""
        self._files.trim(partition, first)

    def load(
        self,
        records: int,
        memory: Memory,
        keep: Callable[[Memory], None],
        loaded: Callable[[int], None],
        stop: Stop,
    ) -> None:
        """The table holds what is staged and is as planned, by one import for all runs."""
        memory = dict(memory)
        if "table" in memory:
            self._again(memory)
            return
        if "failed" in memory:
            if self._table.id() is not None:
                raise PermanentError("E-DDB-IMPORT-FAILED", memory["failed"])
            memory = {}  # The table is gone, so that the same files may be imported anew.
        if "token" not in memory:
            items = self._files.balanced(records)
            if items == 0:
                self.vacant()
                keep({"table": self._table.prepare()})
                return
            memory = {"token": uuid4().hex, "prefix": self._files.gathered(), "items": items}
            keep(memory)
        if "arn" not in memory:
            memory = {**memory, "arn": self._begun(memory)}
            keep(memory)
        ended = self._ended(memory["arn"], loaded, stop)
        fault = self._fault(ended, memory["items"])
        if fault and ended["ImportStatus"] != "COMPLETED":
            keep({**memory, "failed": fault})
            raise PermanentError("E-DDB-IMPORT-FAILED", fault)
        keep({**memory, "table": self._table.adopt(), "doubt": fault})
        if fault:
            raise PermanentError("E-DDB-IMPORT-COUNT", fault)
        self._files.clear()

    def held(self, memory: Memory) -> bool:
        """Whether an import has ended, so that there may be a table to verify."""
        return "table" in memory or "failed" in memory

    def close(self) -> None:
        """Release connections."""
        self._files.objects.close()

    def _again(self, memory: Memory) -> None:
        """Delete what is still staged; raises PermanentError if the imported table was dropped or made anew."""
        if self._table.id() != memory["table"]:
            raise PermanentError(
                "E-MADE-ANEW",
                f"table {self._table.name!r} was deleted or recreated since it was imported; delete it if it is there,"
                " then start over with backfill --restart",
            )
        if memory.get("doubt"):
            raise PermanentError("E-DDB-IMPORT-COUNT", memory["doubt"])
        self._files.clear()

    def _begun(self, memory: Memory) -> str:
        """Return the ARN of the import of this token, begun now or by a run that did not live to tell."""
        try:
            answer = self._calls.asked(
                "import_table",
                self._fence,
                ClientToken=memory["token"],  # DynamoDB answers with the import begun by this token, if there is one.
                S3BucketSource={"S3Bucket": self._bucket, "S3KeyPrefix": memory["prefix"]},
                InputFormat="DYNAMODB_JSON",
                InputCompressionType="GZIP",
                TableCreationParameters=self._table.imported(),
            )
            return str(self._part(answer)["ImportArn"])
        except PermanentError as error:
            if error.code != "E-DDB-IN-USE":
                raise
        arn = self._found(memory["token"])
        if arn is None:
            raise PermanentError(
                "E-DDB-EXISTS",
                f"table {self._table.name!r} exists, by no import known to be this route's; if one is under way, wait"
                " for its end, else delete the table; then run again",
            )
        return arn

    def _found(self, token: str) -> str | None:
        """Return the ARN of this token's import into the existing table; None if the table is of no such import."""
        position: dict[str, Any] = {}
        table = self._table.arn()
        while table is not None:
            page = self._calls.asked("list_imports", TableArn=table, **position)
            for summary in page.get("ImportSummaryList", ()):
                if self._described(summary["ImportArn"]).get("ClientToken") == token:
                    return str(summary["ImportArn"])
            if not page.get("NextToken"):
                return None
            position = {"NextToken": page["NextToken"]}
        return None

    def _ended(self, arn: str, loaded: Callable[[int], None], stop: Stop) -> Mapping[str, Any]:
        """Return the description of the import once it has ended."""
        counted, at = 0, ""
        described: Mapping[str, Any] = {}

        def look() -> bool:
            nonlocal counted, at, described
            described = self._described(arn)
            processed = int(described.get("ProcessedItemCount", 0))
            if processed > counted:
                loaded(processed - counted)
                counted = processed
            status = described["ImportStatus"]
            at = f"table {self._table.name!r}: the import is {status}, {processed} items processed"
            if status not in _RUNNING:
                return True
            raise_if_stopped(stop, f"{at}; stopped by a signal; the import goes on, and the same command waits for it")
            return False

        timing = self._calls.timing
        if not poll(look, Backoff(self._deadline_s, first_s=_FIRST_POLL_S, most_s=_LAST_POLL_S, timing=timing)):
            raise_if_stopped(
                timing.stop, f"{at}; stopped by a signal; the import goes on, and the same command waits for it"
            )
            text = f"{at} after {self._deadline_s:.0f} s; the import goes on, and the same command waits for it again"
            raise TransientError("E-DDB-IMPORT-WAIT", text)
        return described

    def _fault(self, ended: Mapping[str, Any], items: int) -> str:
        """Return what is wrong with an import that has ended, "" if nothing is; no value is in it."""
        processed, imported, errors = (
            int(ended.get(f"{name}Count", 0)) for name in ("ProcessedItem", "ImportedItem", "Error")
        )
        if ended["ImportStatus"] == "COMPLETED" and (processed, imported, errors) == (items, items, 0):
            return ""
        outcome = " ".join(str(ended[name]) for name in ("ImportStatus", "FailureCode") if ended.get(name))
        log = f"{ended.get('CloudWatchLogGroupArn')}, stream {str(ended.get('ImportArn')).rpartition('/')[2]}/error"
        at = (
            f"table {self._table.name!r}: the import ended {outcome}: {items} items in the files, {processed}"
            f" processed, {imported} imported, {errors} errors (see CloudWatch: {log})"
        )
        if ended["ImportStatus"] == "COMPLETED":
            return (
                f"{at}; `offramp verify` names what is missing; delete the table and start over with backfill --restart"
            )
        return (
            f"{at}; delete the table if it is there, then run the same command to import the same files again, or with"
            " --restart to write them anew"
        )

    def _described(self, arn: str) -> Mapping[str, Any]:
        return self._part(self._calls.asked("describe_import", ImportArn=arn))

    def _part(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        if "ImportTableDescription" not in answer:
            raise self._calls.no_answer()
        described: Mapping[str, Any] = answer["ImportTableDescription"]
        return described
