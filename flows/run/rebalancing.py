"""A partition that gives away half of what is left of it, for a worker that has nothing to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flows.plan.model import Plan, Route
from stores.contract.source import Batch, Foreseeing, Partition, Source
from stores.errors import OfframpError
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)

LEAST_DOCUMENTS = 10_000
"""The rest of a partition is split only if it has about so many documents: opening a partition has its price."""
POLL_EVERY_S = 1.0


@dataclass(frozen=True)
class SplittingSource:
    """A source that splits the partition being read when an idle worker asks for another.

    Who reads the partition splits it, between two batches and beyond the last: everything before the bound was
    read by this one or will be, nothing past it ever was. So no document is counted twice or by nobody, wherever the
    two of them end (R105, R131).
    """

    source: Source
    wanted: Callable[[], bool]
    give: Callable[[int, bytes], Partition | None]
    """The partition ends there on record, and another goes on; None if that is not wanted any more."""
    least: int = LEAST_DOCUMENTS
    every_s: float = POLL_EVERY_S

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the documents of the partition, or of what it keeps of itself."""
        last = after
        divisible = True
        next_poll = time.monotonic()
        while True:
            left: Partition | None = None
            for batch in self.source.read(partition, last):
                last = batch.position
                yield batch
                del batch
                if divisible and time.monotonic() >= next_poll:
                    next_poll = time.monotonic() + self.every_s
                    if self.wanted():
                        at = self._middle(partition, last)
                        divisible = at is not None
                        left = self.give(partition.number, at) if at is not None else None
                        if left is not None:
                            break
            if left is None:
                return
            _log.info("partition %d: what is left of it is split", partition.number)
            partition = left

    def batch_bytes(self) -> int:
        """Return what the source says, 0 if it says nothing."""
        return self.source.batch_bytes() if isinstance(self.source, Foreseeing) else 0

    def _middle(self, partition: Partition, last: bytes) -> bytes | None:
        try:
            return self.source.middle(partition, last, self.least)
        except OfframpError as error:
            _log.info("partition %d is not split: %s", partition.number, error)
            return None  # It only balances the work.


def may_split(plan: Plan, route: Route) -> bool:
    """Whether the route's partitions are split for idle workers: not where the plan says how many there are.

    Nor for threads: they share one interpreter, which one partition keeps busy.
    """
    return route.keys.partitions is None and plan.run.runner != "threads"


def splitting_source(source: Source, state: State, lease: Lease) -> SplittingSource:
    """Return the source of the route that the lease is for, splitting as its state says."""
    return SplittingSource(
        source,
        lambda: state.work_requests.latest(lease).partition,
        lambda number, at: state.partitions.split(lease, number, at),
    )
