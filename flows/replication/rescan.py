"""Rescanning: a route whose source tells no changes finds them by reading every document again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.replication.applier import Lane, Reading
from flows.replication.scanning import scan
from mappers.documents.decoding import position as position_of
from stores.contract.target import Partition, Readable, StreamPosition, Touched
from stores.state.database import Lease, State
from stores.state.document_hashes import Scans
from stores.throttling.backoff import go_on

_STOPPED = "stopped by a signal during its rescan; the next begins again"
RESCANNED = StreamPosition(0, b"rescan")
"""Where a route begins that is rescanned; the token says that it stands nowhere in a stream."""


@dataclass(frozen=True, slots=True)
class _Read:
    """Documents that were read, in the place of their source."""

    documents: Mapping[bytes, bytes]

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        return [self.documents[at] for at in ids]

    def advance(self, time: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Noting:
    """A source, and which documents it gave."""

    source: Reading
    found: set[bytes] = field(default_factory=set)

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        documents = self.source.fetch(ids)
        self.found.update(at for at in map(position_of, documents) if at is not None)
        return documents

    def advance(self, time: int) -> None:
        self.source.advance(time)


def rescan(state: State, lease: Lease, readable: Readable, lane: Lane, stopping: Callable[[], bool]) -> None:
    """The target holds what each document is now, and nothing of those that an earlier pass saw and this one did not.

    Before the first pass nothing is known to be gone: after it the target is to be swept. Raises TransientError when
    `stopping` ended it; the next begins again, and copies what it has to only.
    """
    scans = Scans(state)
    began = time.time()
    number = scans.last(lease.route) + 1
    position = StreamPosition(int(began) << 32, RESCANNED.token)
    source = lane.source
    for scanned in scan(readable, Partition(0)):
        go_on(stopping, _STOPPED)
        known = scans.known(lease.route, [at for at, _ in scanned.seen])
        changed = [Touched("", at) for at, content in scanned.seen if known.get(at) != content]
        # What was read is what is written: a document that has since changed, and will again be what its hash says,
        # would else be taken for copied.
        lane.source = _Read(dict(zip([at for at, _ in scanned.seen], scanned.batch.documents, strict=True)))
        lane.apply(changed, lane.position, 0.0)
        scans.keep(lease, scanned.seen, number)
    for gone in scans.gone(lease.route, number):
        go_on(stopping, _STOPPED)
        lane.source = back = _Noting(source)
        lane.apply([Touched("", at) for at in gone], lane.position, 0.0)
        # One that is there again was copied: forgotten, it would never be found gone.
        scans.keep(lease, [(at, b"") for at in back.found], number)
        scans.drop(lease, [at for at in gone if at not in back.found])
    lane.source = source
    lane.apply((), position, 0.0)
