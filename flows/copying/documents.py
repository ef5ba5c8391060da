"""Copying documents again by their `_id`: what sync, repair and reject retry do, through the one write path.

Nothing is taken from what was seen of a document before. Whatever its source says now is mapped and written, and where
it has no record now, none of it stays in the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flows.copying.partition import copy_partition
from flows.copying.projection import ProjectedBatch, Projection, identify
from mappers.contract import Record
from mappers.documents.decoding import position
from stores.contract.journal import Mending, Reject, Tally
from stores.contract.source import Batch, Partition
from stores.contract.target import Target

_AT_ONCE = 500
"""Documents fetched by one read; and addresses deleted between two looks at the lease."""


class Fetching(Protocol):
    """What copying documents again needs of a source."""

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids that the filter lets through, in any order."""


@dataclass(frozen=True, slots=True)
class Recopied:
    """What became of documents copied again."""

    tally: Tally
    """Of the documents there are."""
    absent: int
    """Ids of which the source has no document, or none that the route's filter lets through."""
    deleted: int
    """Addresses at which nothing is held any more, whether or not something was."""
    rejects: Sequence[Reject]


def copy_documents(
    source: Fetching,
    projection: Projection,
    target: Target[Record],
    journal: Mending,
    ids: Sequence[bytes],
    *,
    before: Mapping[bytes, Sequence[bytes]] | None = None,
    window: int = 4,
) -> Recopied:
    """The target holds what the documents with these ids map to now, and nothing else of them.

    The ids are BSON ``{"_id": id}``, each once. What a document has no record for any more is deleted: at the addresses
    its `_id` tells, or where other fields decide at those that its earlier forms, `before`, map to. Never at an address
    that one of these documents has now (R125). Rejects are on record, and those of documents that are well or gone are
    cleared (R140). On an error nothing is in flight any more, any part may be done; the same call may be made again.
    """
    here = _Documents(source, ids)
    looking = _Looking(projection)
    pages = _Page(journal)
    copy_partition(here, looking, target, pages, Partition(0), window=window, staged=False)
    refused = {reject.id for reject in pages.rejects if reject.stage == "write"}
    gone = {at for at in looking.held if refused and identify(at) in refused}
    written = {address for at, addresses in looking.held.items() if at not in gone for address in addresses}
    stale: dict[str, None] = {}
    every = [*ids, *here.found.difference(ids)]
    for at in every:
        held = looking.held.get(at, ())
        if held and at not in gone and not (before and at in before):
            continue
        known = projection.addresses(at)
        if known is None:
            known = [address for raw in (before or {}).get(at, ()) for address in projection.former(raw)]
        stale.update(dict.fromkeys((*known, *(held if at in gone else ()))))
    addresses = [address for address in stale if address not in written]
    for first in range(0, len(addresses), _AT_ONCE):
        journal.ensure()
        target.delete(addresses[first : first + _AT_ONCE])
    journal.mend([identify(at) for at in every], pages.rejects)
    return Recopied(pages.tally, len(set(ids) - here.found), len(addresses), pages.rejects)


@dataclass(slots=True)
class _Documents:
    """Documents by their ids, to be copied as if they were a partition."""

    source: Fetching
    ids: Sequence[bytes]
    found: set[bytes] = field(default_factory=set)

    def read(self, _partition: Partition, _after: bytes | None = None) -> Iterator[Batch]:
        for first in range(0, len(self.ids), _AT_ONCE):
            some = self.ids[first : first + _AT_ONCE]
            if documents := self.source.fetch(some):
                # By exact bytes: 1 and 1.0 are one _id to a query, so one that is gone may find the other.
                self.found.update(at for at in map(position, documents) if at is not None)
                yield Batch(documents, some[-1])


@dataclass(slots=True)
class _Looking:
    """The projection, and which addresses each document has by it."""

    projection: Projection
    held: dict[bytes, Sequence[str]] = field(default_factory=dict)

    def batch(self, batch: Batch) -> ProjectedBatch:
        projected = self.projection.batch(batch)
        addresses: list[list[str]] = [[] for _ in batch.documents]
        for record, owner in zip(projected.records, projected.owners, strict=True):
            addresses[owner].append(record.address)
        for raw, its in zip(batch.documents, addresses, strict=True):
            if its and (at := position(raw)) is not None:
                self.held[at] = its
        return projected


@dataclass(slots=True)
class _Page:
    """A journal that gathers: what is copied again stands at no checkpoint."""

    journal: Mending
    tally: Tally = field(default_factory=Tally)
    rejects: list[Reject] = field(default_factory=list)

    def ensure(self) -> None:
        self.journal.ensure()

    def checkpoint(
        self, _number: int, _position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        self.tally.add(tally)
        self.rejects += rejects
