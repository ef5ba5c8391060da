"""The one write path: read, map, write, and only then record. Backfill, sync, repair and retry all use it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Protocol

from flows.copying.inflight import OF_THIS_PROCESS, InFlight, OverlappedCalls, counted
from flows.copying.projection import ProjectedBatch
from mappers.contract import Record
from stores.contract.journal import Journal, Reject, Tally
from stores.contract.source import Batch, Partition, Readable
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Rejected, Target, staging_of
from stores.errors import LeaseLost, OfframpError

_log = logging.getLogger(__name__)

CHECKPOINT_S = 2.0
"""Time between checkpoints: a crash costs what was acknowledged in this time, and what was in flight. Thousands of
partitions share one state."""


class Projecting(Protocol):
    """The part of a projection that copying needs."""

    def batch(self, batch: Batch) -> ProjectedBatch:
        """Return the records of a batch; read = dropped + rejected + copied holds for its documents."""


class RejectBudget(Protocol):
    """Decides when a route has too many rejects to continue."""

    def rejected(self, read: int, rejected: Collection[int], refused: int) -> bool:
        """Count the rejects of a batch; returns True when the budget is to be judged at once, after a checkpoint.

        `rejected` are the rejected documents' places in the batch, `refused` the number that the target refused.
        """

    def exceeded(self) -> bool:
        """Return whether `judge` would raise now. Called after each checkpoint."""

    def judge(self) -> None:
        """Raise OverBudget if the route must stop."""


class Unlimited:
    """A budget without a limit."""

    def rejected(self, _read: int, _rejected: Collection[int], _refused: int) -> bool:
        """Return False."""
        return False

    def exceeded(self) -> bool:
        """Return False."""
        return False

    def judge(self) -> None:
        """Return: the route may continue."""


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
    budget: RejectBudget = UNLIMITED,
    stop: Stop = NEVER,
    copied: Callable[[Tally], None] = lambda _: None,
    in_flight: InFlight = OF_THIS_PROCESS,
) -> bool:
    """Every document of the partition past `after` is in the target or on record as a reject.

    Returns True when the partition is complete, False when `stop` ended it early at a checkpoint. `done` is the
    number of documents up to `after`. With `staged`, a target that loads in bulk has the records in its staging area.
    At most `window` batches are in flight, fewer when they are large. The checkpoint moves only to a batch below which
    all batches are acknowledged (R131). After an error nothing is in flight, every batch that may be is in the
    checkpoint, and the same call resumes from there. OverBudget is raised after the first batch that exceeds the
    budget and those in flight with it, all of which are in the checkpoint.
    """
    flight: deque[tuple[bytes, ProjectedBatch, Future[Sequence[Rejected]]]] = deque()

    reached: bytes | None = None
    unsaved, rejects = Tally(), list[Reject]()
    saved_at_s = float("-inf")
    saving = False

    def acknowledge_oldest() -> bool:
        nonlocal reached
        batch_end, batch, answer = flight[0]
        refused = _reject_refused(batch, answer.result())
        flight.popleft()
        batches.done(batch.size_bytes)
        reached = batch_end
        rejects.extend((*refused.values(), *batch.rejects))
        unsaved.add(batch.tally)
        copied(batch.tally)
        return budget.rejected(len(batch.documents), {*refused, *batch.rejected}, len(refused))

    def save(*, done: bool = False) -> None:
        nonlocal unsaved, rejects, saved_at_s, saving
        saving = True  # After an error too: whether this checkpoint was made is then unknown, so no other may follow.
        journal.checkpoint(partition.number, reached, unsaved, rejects, done=done)
        saving = False
        unsaved, rejects, saved_at_s = Tally(), [], time.monotonic()

    def save_and_judge() -> None:
        save()
        if budget.exceeded():
            # Batches in flight are written whatever comes: the figures of the error and the checkpoint have them.
            while flight:
                acknowledge_oldest()
            save()
            budget.judge()

    def advance() -> None:
        if acknowledge_oldest() or time.monotonic() - saved_at_s > CHECKPOINT_S:
            save_and_judge()

    def save_acknowledged() -> None:
        """The checkpoint is at the first batch that is not acknowledged, so that the counts say what was written."""
        writers.close()
        while flight and _is_acknowledged(flight[0][2]):
            acknowledge_oldest()
        if unsaved.read and not saving:
            save()

    staging = staging_of(target) if staged else None
    if staging is not None:
        journal.ensure()
        staging.trim(partition.number, done)  # Batches past the checkpoint may be cut elsewhere this time.

    def write(batch: ProjectedBatch, first: int) -> Sequence[Rejected]:
        # A run that was paused and overtaken must not write over its successor.
        if staging is not None:
            journal.ensure()
            return staging.stage(batch.records, partition.number, first)
        with journal.writing(batch.documents):
            return target.write(batch.records)

    writers = OverlappedCalls(target, window, "write")
    batches = counted(source, partition, after, in_flight)
    try:
        for batch in batches.in_turn(flight, window, stop, advance):
            with in_flight.mapping:
                projected = projection.batch(batch)
            flight.append((batch.position, projected, writers.submit(write, projected, done)))
            done += projected.tally.read
            del batch, projected
        if batches.ended:
            save(done=True)
        else:
            save_and_judge()
        return batches.ended
    except LeaseLost:
        raise
    except BaseException:
        try:
            save_acknowledged()
        except OfframpError as error:
            _log.warning("partition %d: what was written last is not in its checkpoint: %s", partition.number, error)
        raise
    finally:
        # No write may be under way once the caller knows the outcome and releases the lease.
        writers.close()
        batches.close()


def _is_acknowledged(answer: Future[Sequence[Rejected]]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def _reject_refused(batch: ProjectedBatch, refused: Sequence[Rejected]) -> dict[int, Reject]:
    """Return the rejects of documents of which the target refused a record, by place in the batch.

    The batch's tally counts these documents as rejected. Their other records are in the target.
    """
    by_document: dict[int, Rejected] = {}
    for refusal in refused:
        by_document.setdefault(batch.owners[refusal.index], refusal)
    batch.tally.records -= len(refused)
    batch.tally.rejected += len(by_document)
    batch.tally.copied -= len(by_document)
    return {
        owner: Reject(batch.name(owner), "write", refusal.code, refusal.field, refusal.reason, batch.documents[owner])
        for owner, refusal in by_document.items()
    }
