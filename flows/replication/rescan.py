"""Rescanning: a route whose source tells no changes finds them by reading every document again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from flows.replication.applier import Applier, SyncSource
from mappers.documents.decoding import position
from mappers.documents.decoding import position as position_of
from stores.contract.changes import StreamPosition, Touched
from stores.contract.source import Batch, Partition, Readable
from stores.contract.stop import Stop, raise_if_stopped
from stores.errors import PermanentError
from stores.state.leases import Lease
from stores.state.state import State

_STOPPED = "stopped by a signal during its rescan; the next begins again"
RESCAN_TOKEN = b"rescan"
"""The token of a position that is none in a stream: only its time says something."""


@dataclass(frozen=True, slots=True)
class _ReadDocuments:
    """Documents that were read, in the place of their source."""

    documents: Mapping[bytes, bytes]

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        return [self.documents[at] for at in ids]

    def advance(self, time: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _RecordingSource:
    """A source, and which documents it gave."""

    source: SyncSource
    found: set[bytes] = field(default_factory=set)

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        documents = self.source.fetch(ids)
        self.found.update(at for at in map(position_of, documents) if at is not None)
        return documents

    def advance(self, time: int) -> None:
        self.source.advance(time)


def rescanned_at(seconds: float) -> StreamPosition:
    """Return the position of a target that holds what its documents were at this time, since 1970, or later."""
    return StreamPosition(int(seconds) << 32, RESCAN_TOKEN)


def rescan(state: State, lease: Lease, readable: Readable, applier: Applier, stop: Stop) -> None:
    """The target holds what each document is now, and nothing of those that an earlier pass saw and this one did not.

    Before the first pass nothing is known to be gone: after it the target is to be swept. Raises TransientError when
    `stop` ended it; the next begins again, and copies what it has to only.
    """
    scans = state.document_hashes
    position = rescanned_at(time.time())
    number = scans.last_pass(lease.route) + 1
    source = applier.source
    for scanned in scan(readable, Partition(0)):
        raise_if_stopped(stop, _STOPPED)
        known = scans.known(lease.route, [at for at, _ in scanned.seen])
        changed = [Touched("", at) for at, content in scanned.seen if known.get(at) != content]
        # What was read is what is written: a document that has since changed, and will again be what its hash says,
        # would else be taken for copied.
        applier.source = _ReadDocuments(dict(zip([at for at, _ in scanned.seen], scanned.batch.documents, strict=True)))
        applier.apply(changed, applier.position, 0.0)
        scans.save(lease, scanned.seen, number)
    for gone in scans.missing(lease.route, number):
        raise_if_stopped(stop, _STOPPED)
        applier.source = back = _RecordingSource(source)
        applier.apply([Touched("", at) for at in gone], applier.position, 0.0)
        # One that is there again was copied: forgotten, it would never be found gone.
        scans.save(lease, [(at, b"") for at in back.found], number)
        scans.delete(lease, [at for at in gone if at not in back.found])
    applier.source = source
    applier.apply((), position, 0.0)


_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Scanned:
    """A batch of a scan; a document is changed, or new, if its hash differs from the one remembered for its id.

    What is remembered between two batches' positions and not among these ids was deleted.
    """

    batch: Batch
    seen: Sequence[tuple[bytes, bytes]]
    """The id, BSON ``{"_id": id}``, and the hash of each document, in their order."""


def scan(source: Readable, partition: Partition, after: bytes | None = None) -> Iterator[Scanned]:
    """Yield every document of the partition, past the position `after` if given; errors as `Readable.read`."""
    for batch in source.read(partition, after):
        yield Scanned(batch, [(_id_of(raw), content(raw)) for raw in batch.documents])


def content(raw: bytes) -> bytes:
    """Return 16 bytes that differ for documents that differ in any byte: also in the order or type of their fields."""
    return blake2b(raw, digest_size=_HASH_BYTES).digest()


def _id_of(raw: bytes) -> bytes:
    own = position(raw)
    if own is None:
        raise PermanentError("E-ID-MISSING", "the source gives a document without _id; nothing would tell it apart")
    return own
