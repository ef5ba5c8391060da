"""Into how many pieces the work on a route is divided: partitions to copy, and parts of a verification."""

from __future__ import annotations

from flows.plan.plan_keys import RunKeys

_DOCUMENTS_PER_PARTITION = 250_000
_FEWEST_DOCUMENTS = 50_000
_PIECES_PER_WORKER = 4
_MOST_PIECES = 256
"""Pieces for fewer than 64 workers; more workers get four each, so that none is without work."""


def partitions_to_copy(documents: int, run: RunKeys) -> int:
    """Return enough partitions to keep the workers busy to the end, each large enough to be worth opening.

    Threads share one interpreter, which one partition keeps busy; more of them would only hold more batches.
    """
    if run.runner == "threads":
        return 1
    by_size = 1 + documents // _DOCUMENTS_PER_PARTITION
    by_workers = min(_PIECES_PER_WORKER * run.workers, documents // _FEWEST_DOCUMENTS)
    return min(max(_MOST_PIECES, _PIECES_PER_WORKER * run.workers), max(by_size, by_workers))


def parts_to_verify(documents: int, run: RunKeys) -> int:
    """Return how many parts the workers verify side by side; threads share one interpreter, so one for those."""
    if run.runner == "threads":
        return 1
    return max(1, min(_PIECES_PER_WORKER * run.workers, documents // _FEWEST_DOCUMENTS))
