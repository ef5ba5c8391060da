"""Comparing: what the source says now, mapped again, against what the target holds, in both directions (R1, R147)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flows.differences import Differences, Differing
from flows.ledger import Balance, Finding, Ledger
from flows.projecting import ProjectedBatch, Projection
from mappers.contract import Record
from stores.contract import Converting, Listable, Partition, Source, Tally, Target

_LISTED_AT_ONCE = 1_000
_EXPIRY_GRACE_MS = 5_000
"""A store's clock may be ahead of ours: what expires within this may already be gone (R65, R150)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a pass over one route saw."""

    tally: Tally
    """The documents it read and what they map to now; nothing was written."""
    balance: Balance
    differing: Differing = Differing()  # noqa: RUF009 - frozen, so that it can be shared
    """How records differ, in samples."""


def compare(
    source: Source,
    projection: Projection,
    target: Target[Record],
    folder: Path,
    *,
    refused: Container[str] = (),
    window: int = 4,
    show_values: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    compared: Callable[[int], None] = lambda _: None,
) -> Comparison | None:
    """Return how the target differs from what the source's documents map to now, or None when `stopping` ended it.

    The collection is read in one range, not in the partitions it was copied in, so that a fault of splitting shows.
    Each document's records are compared in canonical form (R10); then the target lists its addresses, if it can, and
    whatever nobody expects is extra. `refused` names documents the target is known to have refused: what is absent for
    them is no mismatch but the reject already on record. `show_values` keeps values in the samples of differences.
    `folder` is empty and holds the ledger meanwhile.
    """
    total = Tally()
    ledger = Ledger(folder)
    flight: deque[tuple[Tally, Future[list[tuple[str, Finding]]]]] = deque()
    differences = Differences(show_values=show_values)
    readers = ThreadPoolExecutor(window, thread_name_prefix="read")

    def settle() -> None:
        tally, answer = flight.popleft()
        ledger.expect(answer.result())
        total.add(tally)
        compared(tally.read)

    try:
        for batch in source.read(Partition(0)):
            if stopping():
                return None
            while len(flight) >= window:
                settle()
            expected = projection.batch(batch)
            flight.append((expected.tally, readers.submit(_look_up, target, expected, refused, differences)))
        while flight:
            settle()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
    if not _list(target, ledger, stopping):
        return None
    return Comparison(total, ledger.balance(listed=isinstance(target, Listable)), differences.taken())


def count(target: Target[Record], folder: Path, stopping: Callable[[], bool] = lambda: False) -> int | None:
    """Return how many addresses the target holds, each counted once.

    None where it cannot list them, or when `stopping` ended it.
    """
    ledger = Ledger(folder)
    if not isinstance(target, Listable) or not _list(target, ledger, stopping):
        return None
    return ledger.balance(listed=True).listed


def _list(target: Target[Record], ledger: Ledger, stopping: Callable[[], bool]) -> bool:
    """Note what the target lists, if it can; False when `stopping` ended it early."""
    if isinstance(target, Listable):
        addresses = target.addresses()
        while some := list(islice(addresses, _LISTED_AT_ONCE)):
            if stopping():
                return False
            ledger.list(some)
    return True


def _look_up(
    target: Target[Record], expected: ProjectedBatch, refused: Container[str], differences: Differences
) -> list[tuple[str, Finding]]:
    held = target.read([record.address for record in expected.records])
    wanted = target.converted(expected.records) if isinstance(target, Converting) else expected.records
    now_ms = time.time() * 1000
    findings: list[tuple[str, Finding]] = []
    for record, owner in zip(wanted, expected.owners, strict=True):
        found = held.get(record.address)
        if found is not None:
            # What is the same as it stands is so in canonical form too, which takes longer to make than to map.
            same = found == record or found.canonical() == record.canonical()
            finding = Finding.SAME if same else Finding.DIFFERS
            if not same:
                differences.note(record, found, expected.documents[owner])
        elif record.expires_at_ms is not None and record.expires_at_ms <= now_ms + _EXPIRY_GRACE_MS:
            finding = Finding.EXPIRED
        else:
            finding = Finding.REFUSED if expected.name(owner) in refused else Finding.MISSING
        findings.append((record.address, finding))
    return findings
