"""A source and a target in this process's memory: the smallest that keep the contracts, for tests and for reading.

They hold real records under the real contracts, so a mapper or the copying loop can be tried without a server.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast
from uuid import uuid4

import bson

from mappers.contract import Record
from mappers.documents.decoding import CODEC, identity_type, position
from stores.contract.source import Batch, Partition
from stores.contract.target import Identified, Listable, Rejected
from stores.errors import PermanentError


@dataclass(slots=True)
class _Place:
    """What all targets of one name share."""

    identity: str = field(default_factory=lambda: uuid4().hex)
    records: dict[str, Record] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_places: dict[str, _Place] = {}
_places_lock = threading.Lock()


class MemoryTarget(Identified, Listable):
    """Holds records of any type by address; every target of one name in this process holds the same ones."""

    lists_once: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Connection:
        """The keys of ``targets.<name>``: none, memory needs no address."""

    @dataclass(frozen=True)
    class Placement:
        """The keys a route may give."""

        name: str | None = None
        """The place's name; the route's name by default."""

    def __init__(self, connection: Connection, placement: Placement, route: str) -> None:
        """Take the options; the place is made by `prepare`."""
        self._name = route if placement.name is None else placement.name

    @property
    def records(self) -> tuple[type[Record], ...]:
        """Any type: `object`, so that every record is an instance."""
        return (cast(type[Record], object),)

    @property
    def territory(self) -> str:
        """The whole place of this name."""
        return f"{self._name}\0"

    def check(self) -> Sequence[str]:
        """Return a warning that nothing here outlives the process."""
        return (f"memory {self._name!r}: gone when this process ends",)

    def prepare(self) -> str:
        """Make the place if it is not there; its identity is drawn when it is made."""
        with _places_lock:
            return _places.setdefault(self._name, _Place()).identity

    def identity(self) -> str | None:
        """Return the identity of the place, None where there is none."""
        with _places_lock:
            place = _places.get(self._name)
        return None if place is None else place.identity

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        """Every record is held; memory refuses none."""
        place = self._place()
        with place.lock:
            place.records.update((record.address, record) for record in records)
        return ()

    def delete(self, addresses: Sequence[str], /) -> None:
        """Delete what these addresses hold."""
        place = self._place()
        with place.lock:
            for address in addresses:
                place.records.pop(address, None)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        """Return what is held at these addresses."""
        place = self._place()
        with place.lock:
            return {address: place.records[address] for address in addresses if address in place.records}

    def addresses(self) -> Iterator[str]:
        """Yield every address held at the time of the call."""
        yield from held(self._name)

    def close(self) -> None:
        """Release nothing: what is held stays for other targets of this name."""

    def _place(self) -> _Place:
        return _place(self._name)


def held(name: str) -> Mapping[str, Record]:
    """Return a copy of what the place holds, by address, as no target of it tells."""
    place = _place(name)
    with place.lock:
        return dict(place.records)


def forget(name: str) -> None:
    """The place of this name is gone; preparing it again makes it anew, with another identity."""
    with _places_lock:
        _places.pop(name, None)


def _place(name: str) -> _Place:
    with _places_lock:
        place = _places.get(name)
    if place is None:
        raise PermanentError("E-MEM-UNPREPARED", f"memory {name!r} does not exist; call prepare() first")
    return place


class MemorySource:
    """A collection given as its documents, already in ascending BSON order of `_id`.

    Nothing here sorts: the order of mixed `_id` types is the server's business.
    """

    def __init__(
        self, documents: Sequence[bytes | Mapping[str, Any]], *, batch_documents: int = 100, identity: str = ""
    ) -> None:
        """Take the documents, stored bytes or mappings; raises ValueError for a missing or a repeated `_id`."""
        self._documents = [
            document if isinstance(document, bytes) else bson.encode(document, codec_options=CODEC)
            for document in documents
        ]
        self._positions: list[bytes] = []
        self._index: dict[bytes, int] = {}
        for number, raw in enumerate(self._documents):
            at = position(raw)
            if at is None or at in self._index:
                raise ValueError(f"document {number} has {'no _id' if at is None else 'the _id of an earlier one'}")
            self._positions.append(at)
            self._index[at] = number
        if batch_documents < 1:
            raise ValueError("a batch holds at least one document")
        self._batch_documents = batch_documents
        self._identity = identity

    def check(self) -> Sequence[str]:
        """Return nothing: there is nothing to know."""
        return ()

    def identity(self) -> str:
        """Return the identity given."""
        return self._identity

    def count_by_type(self) -> Mapping[str, int]:
        """Return the number of documents per BSON type of `_id`."""
        return dict(Counter(identity_type(raw) for raw in self._documents))

    def estimate(self) -> int:
        """Return the number of documents."""
        return len(self._documents)

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return partitions of about equal size, at most one per document and at least one."""
        count = max(1, min(partitions, len(self._documents)))
        bounds = [self._positions[len(self._documents) * number // count] for number in range(1, count)]
        return [
            Partition(number, lower, upper)
            for number, (lower, upper) in enumerate(zip([None, *bounds], [*bounds, None], strict=True))
        ]

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return the middle of what is left past `after`; None where fewer than `least` documents are."""
        start = self._find(after) + 1
        end = len(self._documents) if partition.upper is None else self._find(partition.upper)
        return self._positions[(start + end) // 2] if end - start >= max(1, least) else None

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in the order given, past the position `after` if given."""
        start = 0 if partition.lower is None else self._find(partition.lower)
        end = len(self._documents) if partition.upper is None else self._find(partition.upper)
        if after is not None:
            start = max(start, self._find(after) + 1)
        for first in range(start, end, self._batch_documents):
            last = min(first + self._batch_documents, end)
            yield Batch(self._documents[first:last], self._positions[last - 1])

    def count_by_partition(self, partitions: Sequence[Partition]) -> Sequence[Mapping[str, int]]:
        """Return the number of documents per BSON type of `_id` in each partition."""
        return [
            dict(Counter(identity_type(raw) for batch in self.read(part) for raw in batch.documents))
            for part in partitions
        ]

    def sample(self, number: int) -> Sequence[bytes]:
        """Return the positions of so many documents, drawn at random."""
        return random.sample(self._positions, min(number, len(self._positions)))

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids."""
        return [self._documents[self._index[at]] for at in ids if at in self._index]

    def advance(self, time: int) -> None:
        """Do nothing: its documents never change."""

    def _find(self, at: bytes) -> int:
        if at not in self._index:
            raise PermanentError(
                "E-MEM-POSITION", "no document of this source has that position; it belongs to another source"
            )
        return self._index[at]
