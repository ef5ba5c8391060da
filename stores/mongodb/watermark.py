"""The changes of a collection, found by a date in its documents; deletes are not found."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.timestamp import Timestamp
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary

from mappers.documents.decoding import CODEC_MS, documents
from stores.contract.changes import ChangeBatch, StreamPosition, Touched
from stores.contract.stop import NEVER, Stop
from stores.mongodb.client import Client
from stores.mongodb.configuration import LIMITS, Limits
from stores.mongodb.errors import translated
from stores.mongodb.flavour import Flavour
from stores.mongodb.ids import position_of
from stores.mongodb.metadata import CollectionMetadata
from stores.mongodb.times import as_int, timestamp
from stores.throttling.backoff import TIMING, Backoff, Timing, retry_each

_FIRST_MS = -(2**63)


class Watermark:
    """One collection behind the contract `stores.contract.Changes`, by a field that every write sets to its time.

    A position holds the greatest date seen, but never one past the server's own clock: a single date in the far future
    would pass over everything that is written until then. Each pass reads again from `overlap_s` before it, for clocks
    that differ and writes that take their time.
    """

    def __init__(
        self,
        client: Client,
        found: CollectionMetadata,
        flavour: Flavour,
        field: str,
        overlap_s: float,
        retry_deadline_s: float,
        *,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
    ) -> None:
        """Take what the server says of the collection; nothing more is asked of it yet."""
        self._client = client
        self._name = found.collection
        self._found = found
        self._flavour = flavour
        self._field = field
        self._overlap_ms = int(overlap_s * 1000)
        self._retry_deadline_s = retry_deadline_s
        self._limits = limits
        self._timing = timing
        self._collection: Any = client.get_database(
            found.database,
            codec_options=CODEC_MS,
            read_preference=Primary(),
            read_concern=ReadConcern("majority" if flavour.majority_reads else "local"),
        )[found.collection]

    def check(self) -> list[str]:
        """Return what a person should know: what this way of syncing cannot see."""
        notes = [f"{self._name}: sync by {self._field} cannot see deletes; deleted documents stay in the target"]
        with translated(self._name, self._client):
            undated = {self._field: {"$not": {"$type": "date"}}}
            blind = self._client.ask(lambda: self._collection.count_documents(undated))
        if blind:
            notes.append(f"{self._name}: no date at {self._field}, so changes will be missed, in documents: {blind}")
        if not any(next(iter(index["key"])) == self._field for index in self._found.indexes):
            notes.append(f"{self._name}: no index begins with {self._field}, so each sync reads the whole collection")
        return notes

    def begin(self) -> StreamPosition:
        """Return the position now: what is written from now on bears this date or a later one, save for the overlap."""
        now, now_ms = self._now()
        with translated(self._name, self._client):
            dated = {self._field: {"$type": "date"}}
            last = self._client.ask(
                lambda: self._collection.find_one(dated, {self._field: 1}, sort=[(self._field, -1)])
            )
        greatest = _greatest(last, self._field) if last else None
        return StreamPosition(now, _mark(None if greatest is None else min(greatest, now_ms)))

    def now(self) -> int:
        """Return the source's time, as positions have it."""
        return self._now()[0]

    def follow(
        self,
        collections: Mapping[str, bool],
        since: StreamPosition,
        *,
        until: int | None = None,
        stop: Stop = NEVER,
    ) -> Iterator[ChangeBatch]:
        """Yield what bears a date of the mark or later, pass after pass; see `stores.contract.Changes`.

        A pass that begins at `until` or later reaches it. What documents were before is never known.
        """
        at = since

        def batches() -> Generator[ChangeBatch, None, None]:
            nonlocal at
            while not stop.is_set():
                now, now_ms = self._now()
                now = max(now, until or 0)
                for batch in self._pass(at, now_ms, now):
                    at = batch.position
                    yield batch
                    if stop.is_set():
                        return
                at = StreamPosition(max(at.time, now), at.token)
                yield ChangeBatch((), at, 0, {})
                if until is not None and at.time >= until:
                    return
                stop.wait(self._limits.pause_s)

        if self._name in collections:
            yield from retry_each(batches, Backoff(self._retry_deadline_s, from_failure=True, timing=self._timing))

    def _pass(self, at: StreamPosition, now_ms: int, least: int) -> Iterator[ChangeBatch]:
        mark = _marked(at.token)
        kept: Mapping[str, Any] = {"$type": "date"}
        if mark is not None:
            kept = {"$gte": DatetimeMS(max(mark - self._overlap_ms, _FIRST_MS))}
        with ExitStack() as opened:
            with translated(self._name, self._client):
                session = None
                if self._flavour.causal_reads:
                    session = opened.enter_context(self._client.start_session(causal_consistency=True))
                    session.advance_operation_time(timestamp(least))
                chunks = opened.enter_context(
                    self._client.closing(
                        self._collection.find_raw_batches(
                            # Without the route's filter: a document that leaves it must be seen to leave.
                            {self._field: kept},
                            {self._field: 1},
                            sort=[(self._field, 1)],
                            batch_size=self._limits.changed_ids,
                            allow_disk_use=True if self._flavour.disk_use_on_find else None,
                            session=session,
                        )
                    )
                )
            while True:
                with translated(self._name, self._client):
                    chunk = self._client.ask(lambda: next(chunks, None))
                if chunk is None:
                    return
                touched: list[Touched] = []
                for raw in documents(chunk):
                    touched.append(Touched(self._name, position_of(self._name, raw)))
                    greatest = _greatest(bson.decode(raw, CODEC_MS), self._field)
                    if greatest is not None:
                        mark = min(greatest, now_ms) if mark is None else max(mark, min(greatest, now_ms))
                if touched:
                    yield ChangeBatch(touched, StreamPosition(at.time, _mark(mark)), len(touched), {})

    def _now(self) -> tuple[int, int]:
        """Return the source's cluster time (its clock where it has none) and the milliseconds of its clock."""
        with translated(self._name, self._client):
            hello = self._client.ask(lambda: self._client.admin.command("hello"))
        clock_ms = int(DatetimeMS(hello["localTime"]))
        operation_time = hello.get("operationTime")
        return (as_int(operation_time) if isinstance(operation_time, Timestamp) else (clock_ms // 1000) << 32), clock_ms


def _mark(value: int | None) -> bytes:
    return b"" if value is None else bson.encode({"mark": DatetimeMS(value)})


def _marked(token: bytes) -> int | None:
    return int(bson.decode(token, CODEC_MS)["mark"]) if token else None


def _greatest(document: dict[str, Any], field: str) -> int | None:
    """Return the latest date at the field, which may lead through objects and arrays; None for none."""
    values: list[Any] = [document]
    for name in field.split("."):
        inner = [element for value in values for element in (value if isinstance(value, list) else [value])]
        values = [element[name] for element in inner if isinstance(element, Mapping) and name in element]
    flat = [element for value in values for element in (value if isinstance(value, list) else [value])]
    return max((int(element) for element in flat if isinstance(element, DatetimeMS)), default=None)
