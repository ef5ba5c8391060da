"""What a source of documents promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Partition:
    """A half-open range of one collection in BSON order of `_id`; bounds are BSON ``{"_id": bound}``, None is open."""

    number: int
    lower: bytes | None = None
    upper: bytes | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive documents of a partition in ascending `_id` order, each as its stored BSON bytes."""

    documents: Sequence[bytes]
    position: bytes
    """BSON ``{"_id": last}``: reading again `after` it starts past this batch."""


class Readable(Protocol):
    """What copying a partition needs of a source."""

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in ascending BSON order of `_id`, past the position `after` if given.

        A cursor that dies is reopened after the last document yielded. Raises TransientError when the source stays
        away, PermanentError when it refuses.
        """


@runtime_checkable
class Foreseeing(Protocol):
    """A source that knows about how large a batch will be before it reads the first."""

    def batch_bytes(self) -> int:
        """Return about how many bytes of documents come at once."""


class Source(Readable, Protocol):
    """The documents of one route: one collection seen through the route's filter."""

    def check(self) -> Sequence[str]:
        """Return what a person should know before reading; raises PlanError where the collection cannot be read."""

    def identity(self) -> str:
        """Return what tells this collection from another of the same name ("" where the server cannot say)."""

    def count_by_type(self) -> Mapping[str, int]:
        """Return the source's own count of documents per BSON type of `_id` (aliases of ``$type``)."""

    def estimate(self) -> int:
        """Return about how many documents the collection holds, at once; no evidence of anything."""

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return at most so many partitions that are disjoint and cover every document, whatever its `_id` (R105)."""

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return about the middle of what is left of the partition past `after`: a bound past `after`, below its end.

        None where fewer than about `least` documents are left, or where the collection cannot be split.
        """

    def count_by_partition(self, partitions: Sequence[Partition]) -> Sequence[Mapping[str, int]]:
        """Return the source's own count per BSON type of `_id` in each of the partitions, which cover everything.

        The partitions stand in the order of their bounds.
        """

    def sample(self, number: int) -> Sequence[bytes]:
        """Return BSON ``{"_id": id}`` of so many documents, or of all if there are fewer, drawn uniformly, each once.

        A few less where a server draws some twice.
        """

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids (BSON ``{"_id": id}``) that the filter lets through, in any order.

        Any number of ids. A server compares as its index does: asked for 1 it may give the document 1.0, so the bytes
        of a document's own position say which id it has. Errors as `read`.
        """

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later (R102)."""
