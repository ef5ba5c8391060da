"""Copying: read, map, write, and only then record. Backfill, sync, repair and replay all come through here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Protocol

from flows.copying.inflight import Overlapped
from flows.copying.projection import ProjectedBatch
from mappers.contract import Record
from stores.contract.journal import Journal, Reject, Tally
from stores.contract.source import Batch, Partition, Readable
from stores.contract.target import Rejected, Target, staging_of

_CHECKPOINT_S = 0.5
"""What is copied again after a crash is at most what was acknowledged in this time, and what was in flight."""
_IN_FLIGHT_BYTES = 8 << 20
"""Bytes of documents in flight, over all partitions of the process, past which none reads a further batch before one of
its own has arrived: a batch is about 1 MB, but may be one of 16 MB, and takes several times as much as it is sent."""


class _InFlight:
    """What the threads of this process have under way together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self.mapping = threading.Lock()
        """Held while a batch is mapped: two at once would share one interpreter, and take the memory of two."""

    def add(self, size_bytes: int) -> None:
        """So many bytes more are under way, or so many less."""
        with self._lock:
            self._bytes += size_bytes

    @property
    def full(self) -> bool:
        """Whether no more should be."""
        return self._bytes > _IN_FLIGHT_BYTES


_IN_FLIGHT = _InFlight()


class Projecting(Protocol):
    """What copying needs of a projection."""

    def batch(self, batch: Batch) -> ProjectedBatch:
        """Return what the batch becomes; its documents are read = dropped + rejected + copied."""


class Spending(Protocol):
    """Says when a route has too many rejects to go on."""

    def rejected(self, read: int, rejected: Collection[int], refused: int) -> bool:
        """Count a batch's rejects, by place in it, so many of them the target's; whether they alone are too many."""

    def judge(self) -> None:
        """Return while the route may go on; raises OverBudget otherwise. Asked once a checkpoint is on record."""


class Unlimited:
    """A budget that nothing exhausts."""

    def rejected(self, _read: int, _rejected: Collection[int], _refused: int) -> bool:
        """Return that there are never too many."""
        return False

    def judge(self) -> None:
        """Return: the route may go on."""


UNLIMITED = Unlimited()


def copy_partition(
    source: Readable,
    projection: Projecting,
    target: Target[Record],
    journal: Journal,
    partition: Partition,
    *,
    after: bytes | None = None,
    done: int = 0,
    window: int = 4,
    staged: bool = True,
    spending: Spending = UNLIMITED,
    stopping: Callable[[], bool] = lambda: False,
    copied: Callable[[Tally], None] = lambda _: None,
) -> bool:
    """Every document of the partition past `after` is in the target or kept as a reject, and the journal says so.

    Up to `after` there are `done` documents. Where the target loads what is `staged`, in its staging is in the target.
    At most `window` batches are in flight, and fewer of large ones; the checkpoint moves only to a batch below which
    all are acknowledged (R131). Returns False when `stopping` ended it early, at a checkpoint. On an error nothing is
    in flight any more, and the same call goes on from the last checkpoint; OverBudget is one, raised at a checkpoint.
    """
    flight: deque[tuple[bytes, ProjectedBatch, Future[Sequence[Rejected]]]] = deque()

    reached: bytes | None = None
    owed, rejects = Tally(), list[Reject]()
    saved = float("-inf")

    def settle() -> None:
        nonlocal reached
        reached, batch, answer = flight.popleft()
        _IN_FLIGHT.add(-batch.size_bytes)
        refused = _reject_refused(batch, answer.result())
        rejects.extend((*refused.values(), *batch.rejects))
        owed.add(batch.tally)
        copied(batch.tally)
        too_many = spending.rejected(len(batch.documents), {*refused, *batch.rejected}, len(refused))
        if too_many or time.monotonic() - saved > _CHECKPOINT_S:
            save()

    def save(*, done: bool = False) -> None:
        nonlocal owed, rejects, saved
        journal.checkpoint(partition.number, reached, owed, rejects, done=done)
        owed, rejects, saved = Tally(), [], time.monotonic()
        if not done:
            spending.judge()

    staging = staging_of(target) if staged else None
    if staging is not None:
        journal.ensure()
        staging.trim(partition.number, done)  # Batches past the checkpoint may be cut elsewhere this time.

    def write(records: Sequence[Record], first: int) -> Sequence[Rejected]:
        journal.ensure()  # As late as can be: a run that was paused and overtaken must not write over its successor.
        return target.write(records) if staging is None else staging.stage(records, partition.number, first)

    writers = Overlapped(target, window, "write")
    try:
        complete = True
        for batch in source.read(partition, after):
            if stopping():
                complete = False
                break
            while flight and (len(flight) >= window or flight[0][2].done() or _IN_FLIGHT.full):
                settle()
            with _IN_FLIGHT.mapping:
                projected = projection.batch(batch)
            _IN_FLIGHT.add(projected.size_bytes)
            flight.append((batch.position, projected, writers.submit(write, projected.records, done)))
            done += projected.tally.read
        while flight:
            settle()
        save(done=complete)
        return complete
    finally:
        # Nothing may still be written once the caller knows the outcome and gives the lease back.
        writers.close()
        _IN_FLIGHT.add(-sum(batch.size_bytes for _, batch, _ in flight))


def _reject_refused(batch: ProjectedBatch, refused: Sequence[Rejected]) -> dict[int, Reject]:
    """Count a document as rejected if the target refused any of its records; the others of it stay acknowledged.

    Returns the rejects by their documents' places in the batch.
    """
    by_document: dict[int, Rejected] = {}
    for one in refused:
        by_document.setdefault(batch.owners[one.index], one)
    batch.tally.records -= len(refused)
    batch.tally.rejected += len(by_document)
    batch.tally.copied -= len(by_document)
    return {
        owner: Reject(batch.name(owner), "write", one.code, "", one.reason, batch.documents[owner])
        for owner, one in by_document.items()
    }
