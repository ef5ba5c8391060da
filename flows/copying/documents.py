"""Copy documents again by their `_id`: sync, repair and the retry of rejects do this, through the one write path.

The documents are read anew. What the source has now is mapped and written; records that a document no longer maps to
are deleted from the target.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from flows.copying.partition import copy_partition
from flows.copying.projection import ProjectedBatch, Projection, identify
from mappers.contract import Record
from mappers.documents.decoding import position
from stores.contract.journal import Reject, RejectJournal, Tally
from stores.contract.source import Batch, Partition
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.contract.target import Target
from stores.throttling.batches import cut

_STOPPED = "stopped by a signal before these documents were copied; the same command copies them"
_AT_ONCE = 500
"""Documents fetched by one read; and addresses deleted between two looks at the lease."""


class Fetching(Protocol):
    """The part of a source that `copy_documents` needs."""

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids that the filter lets through, in any order."""


@dataclass(frozen=True, slots=True)
class Recopied:
    """The outcome of `copy_documents`."""

    tally: Tally
    """Of the documents that the source has."""
    absent: Set[bytes]
    """Ids without a document in the source, or with one that the route's filter excludes."""
    deleted: int
    """Addresses deleted, whether or not they held a record."""
    rejects: Sequence[Reject]


def copy_documents(
    source: Fetching,
    projection: Projection,
    target: Target[Record],
    journal: RejectJournal,
    ids: Sequence[bytes],
    *,
    before: Mapping[bytes, Sequence[bytes]] | None = None,
    window: int = 4,
    stop: Stop = NEVER,
    deleted: Callable[[int], None] = lambda _: None,
) -> Recopied:
    """The target holds the records of the documents with these ids as they are now, and no others of them.

    `ids` are BSON ``{"_id": id}``, each once. Records that a document no longer maps to are deleted: at the addresses
    that its `_id` gives, or, where other fields decide the address, at those of its earlier versions, `before`. An
    address that one of these documents has now is never deleted (R125). Rejects are on record; the rejects of documents
    that were copied or are gone are cleared (R140). After an error nothing is in flight and any part may be done; the
    call may be repeated. Raises TransientError E-STOPPED, likewise, once `stop` is set.

    `deleted` is called with the number of addresses of each batch of deletes: it is known after an error too.
    """
    documents = _DocumentSource(source, ids)
    tracking = _TrackingProjection(projection)
    collected = _CollectingJournal(journal)
    if not copy_partition(documents, tracking, target, collected, Partition(0), window=window, staged=False, stop=stop):
        raise_if_stopped(stop, _STOPPED)
    all_ids = [*ids, *documents.found.difference(ids)]
    refused = {reject.id for reject in collected.rejects if reject.stage == "write"}
    stale = _stale_addresses(projection, all_ids, tracking.addresses, refused, before or {})
    for batch in cut(stale, _AT_ONCE):
        raise_if_stopped(stop, _STOPPED)
        with journal.writing(all_ids):
            target.delete(batch)
        deleted(len(batch))
    journal.replace_rejects([identify(at) for at in all_ids], collected.rejects)
    return Recopied(collected.tally, frozenset(ids) - documents.found, len(stale), collected.rejects)


def _stale_addresses(
    projection: Projection,
    ids: Iterable[bytes],
    current: Mapping[bytes, Sequence[str]],
    refused: Container[str],
    before: Mapping[bytes, Sequence[bytes]],
) -> list[str]:
    """Return the addresses at which these documents may have had a record and have none now, each once.

    `current` are the addresses of their present records, `refused` the text of the ids of documents of which the target
    refused a record: their other records are stale, too.
    """
    rejected = {at for at in current if identify(at) in refused}
    written = {address for at, addresses in current.items() if at not in rejected for address in addresses}
    stale: dict[str, None] = {}
    for at in ids:
        if at in current and at not in rejected and at not in before:
            continue  # What its present records replaced was at the same addresses.
        known = projection.addresses(at)
        if known is None:
            known = [address for raw in before.get(at, ()) for address in projection.former(raw)]
        stale.update(dict.fromkeys((*known, *(current[at] if at in rejected else ()))))
    return [address for address in stale if address not in written]


@dataclass(slots=True)
class _DocumentSource:
    """Documents by their ids, as a source that `copy_partition` can read."""

    source: Fetching
    ids: Sequence[bytes]
    found: set[bytes] = field(default_factory=set)

    def read(self, _partition: Partition, _after: bytes | None = None) -> Iterator[Batch]:
        for page in cut(self.ids, _AT_ONCE):
            if documents := self.source.fetch(page):
                # By exact bytes: a query takes 1 and 1.0 for one _id, so a deleted id may find another document.
                self.found.update(at for at in map(position, documents) if at is not None)
                yield Batch(documents, page[-1])


@dataclass(slots=True)
class _TrackingProjection:
    """A projection that remembers the addresses of each document's records."""

    projection: Projection
    addresses: dict[bytes, Sequence[str]] = field(default_factory=dict)

    def batch(self, batch: Batch) -> ProjectedBatch:
        projected = self.projection.batch(batch)
        by_document: list[list[str]] = [[] for _ in batch.documents]
        for record, owner in zip(projected.records, projected.owners, strict=True):
            by_document[owner].append(record.address)
        for raw, addresses in zip(batch.documents, by_document, strict=True):
            if addresses and (at := position(raw)) is not None:
                self.addresses[at] = addresses
        return projected


@dataclass(slots=True)
class _CollectingJournal:
    """A journal that collects tallies and rejects: documents copied by id have no checkpoint."""

    journal: RejectJournal
    tally: Tally = field(default_factory=Tally)
    rejects: list[Reject] = field(default_factory=list)

    def ensure(self) -> None:
        with self.writing(()):
            pass

    def writing(self, documents: Sequence[bytes], /) -> AbstractContextManager[None]:
        return self.journal.writing(documents)

    def checkpoint(
        self, _number: int, _position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        self.tally.add(tally)
        self.rejects += rejects
