"""A database in this process's memory whose documents change, with all that a sync needs of a source: for tests.

The clock ticks with every change. Reads lag behind as a secondary's do, unless a time is asked for. A stream of the
changes can be read again from every earlier position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson

from mappers.documents.decoding import CODEC, identity_type
from stores.contract.changes import ChangeBatch, StreamPosition, Touched
from stores.contract.source import Batch, Partition
from stores.contract.stop import NEVER, Stop
from stores.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one document, or the end of a collection."""

    time: int
    collection: str
    id: bytes
    before: bytes | None
    after: bytes | None
    halts: str = ""


@dataclass(slots=True)
class MemoryDatabase:
    """Collections of documents whose `_id`s are of one type that Python orders as MongoDB does."""

    images: bool = True
    """Whether it keeps what documents were before each change."""
    time: int = 1 << 32
    events: list[Event] = field(default_factory=list)
    forgotten: int = 0
    """How many of the events the stream no longer tells."""

    def change(self, collection: str, *changes: Mapping[str, Any] | Any) -> None:
        """Each change is made, all at one time as in a transaction: a document is written, any other `_id` is gone."""
        self.time += 1
        for change in changes:
            document = change if isinstance(change, Mapping) else None
            at = _bson({"_id": change if document is None else document["_id"]})
            before = self.documents(collection, self.time).get(at)
            if before is not None or document is not None:
                after = None if document is None else _bson(document)
                self.events.append(Event(self.time, collection, at, before, after))

    def drop(self, collection: str) -> None:
        """The collection is gone, and its documents with it."""
        self.time += 1
        self.events.append(Event(self.time, collection, b"", None, None, "was dropped"))

    def documents(self, collection: str, time: int | None = None) -> dict[bytes, bytes]:
        """Return the collection's documents by their ids, as of the time or of now."""
        found: dict[bytes, bytes] = {}
        for event in self.events:
            if event.collection == collection and (time is None or event.time <= time):
                if event.halts:
                    found.clear()
                elif event.after is None:
                    found.pop(event.id, None)
                else:
                    found[event.id] = event.after
        return found

    def source(self, collection: str, passing: Callable[[Mapping[str, Any]], bool] = lambda _: True) -> ChangingSource:
        """Return the collection's documents that pass the filter."""
        return ChangingSource(self, collection, passing)

    def changes(self, batch_events: int = 10) -> MemoryChanges:
        """Return the stream of its changes."""
        return MemoryChanges(self, batch_events)


@dataclass(slots=True)
class ChangingSource:
    """`stores.contract.Source` on a collection that changes."""

    database: MemoryDatabase
    collection: str
    passing: Callable[[Mapping[str, Any]], bool]
    behind: int = 0
    """How many ticks of the clock its reads lag behind, as far as nothing is asked of them."""
    batch_documents: int = 3
    _advanced: int = 0

    def check(self) -> Sequence[str]:
        """Return nothing: there is nothing to know."""
        return ()

    def identity(self) -> str:
        """Return the collection's name."""
        return self.collection

    def count_by_type(self) -> Mapping[str, int]:
        """Return the number of documents per BSON type of `_id`."""
        return dict(Counter(identity_type(raw) for raw in self._now().values()))

    def estimate(self) -> int:
        """Return the number of documents."""
        return len(self._now())

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return one partition."""
        return [Partition(0)]

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return None: it is not split."""
        return None

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the documents past `after` by their `_id`s, each batch as of the time at which it is read."""
        while True:
            later = sorted(
                (at for at in self._now() if after is None or _value(at) > _value(after)),
                key=_value,
            )[: self.batch_documents]
            if not later:
                return
            now = self._now()
            after = later[-1]
            yield Batch([now[at] for at in later if at in now], after)

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids."""
        now = self._now()
        return [now[at] for at in ids if at in now]

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this time or later."""
        self._advanced = max(self._advanced, time)

    def _now(self) -> dict[bytes, bytes]:
        time = max(self._advanced, self.database.time - self.behind)
        found = self.database.documents(self.collection, time)
        return {at: raw for at, raw in found.items() if self.passing(_document(raw))}


@dataclass(slots=True)
class MemoryChanges:
    """`stores.contract.Changes` of a database in memory; a token is the number of events already yielded."""

    database: MemoryDatabase
    batch_events: int

    def begin(self) -> StreamPosition:
        """Return the position now."""
        return self._position(len(self.database.events))

    def now(self) -> int:
        """Return the time of the last change."""
        return self.database.time

    def follow(
        self,
        collections: Mapping[str, bool],
        since: StreamPosition,
        *,
        until: int | None = None,
        stop: Stop = NEVER,
    ) -> Iterator[ChangeBatch]:
        """Yield what was touched since, `batch_events` at a time; ends when all events have been yielded."""
        events = self.database.events
        position = int.from_bytes(since.token, "big")
        if not since.token:
            position = next((number for number, event in enumerate(events) if event.time >= since.time), len(events))
        if position < self.database.forgotten:
            raise PermanentError("E-SRC-HISTORY-LOST", "memory has forgotten the changes since the position")
        while not stop.is_set():
            batch = events[position : position + self.batch_events]
            position += len(batch)
            touched: dict[tuple[str, bytes], list[bytes]] = {}
            halts: dict[str, str] = {}
            for event in batch:
                if event.collection not in collections or event.collection in halts:
                    continue
                if event.halts:
                    halts[event.collection] = event.halts
                    continue
                before = touched.setdefault((event.collection, event.id), [])
                if collections[event.collection] and event.before is not None:
                    before.append(event.before)
            yield ChangeBatch(
                [Touched(name, at, before) for (name, at), before in touched.items() if name not in halts],
                self._position(position),
                len(batch),
                halts,
            )
            if position == len(events):
                return

    def _position(self, events_told: int) -> StreamPosition:
        events = self.database.events
        time = self.database.time if events_told == len(events) else events[events_told - 1].time if events_told else 0
        return StreamPosition(time, events_told.to_bytes(8, "big"))


def _bson(document: Mapping[str, Any]) -> bytes:
    return bson.encode(document, codec_options=CODEC)


def _value(at: bytes) -> Any:
    return _document(at)["_id"]


def _document(raw: bytes) -> dict[str, Any]:
    return bson.decode(raw, CODEC)
