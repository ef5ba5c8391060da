"""Rescanning: a route whose source tells no changes finds them by reading every document again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flows.lanes import Lane
from stores.contract import Partition, Readable, StreamPosition, Touched
from stores.errors import TransientError
from stores.state import Lease, State
from stores.state_scans import Scans
from stores.sweeping import sweep

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
    for swept in sweep(readable, Partition(0)):
        _go_on(stopping)
        known = scans.known(lease.route, [at for at, _ in swept.seen])
        changed = [Touched("", at) for at, content in swept.seen if known.get(at) != content]
        # What was read is what is written: a document that has since changed, and will again be what its hash says,
        # would else be taken for copied.
        lane.source = _Read(dict(zip([at for at, _ in swept.seen], swept.batch.documents, strict=True)))
        lane.apply(changed, lane.position, 0.0)
        scans.keep(lease, swept.seen, number)
    lane.source = source
    for gone in scans.gone(lease.route, number):
        _go_on(stopping)
        lane.apply([Touched("", at) for at in gone], lane.position, 0.0)
        scans.drop(lease, gone)
    lane.apply((), position, 0.0)


def _go_on(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise TransientError("E-STOPPED", "stopped by a signal during its rescan; the next begins again")
