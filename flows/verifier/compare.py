"""Compare what the source says now, mapped again, with what the target holds, in both directions (R1, R147)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.copying.inflight import OF_THIS_PROCESS, InFlight, OverlappedCalls, counted
from flows.copying.projection import ProjectedBatch, Projection
from flows.verifier.field_differences import Differences, DifferenceSamples
from flows.verifier.ledger import AddressLog, Balance, Entry, Finding, balance
from flows.verifier.recheck import Recheck, expected_records, same_record
from mappers.contract import Record
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition, Readable, Source
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Divided, Listable, Target
from stores.errors import TransientError
from stores.throttling.batches import cut

_LISTED_AT_ONCE = 1_000
_EXPIRY_GRACE_MS = 5_000
"""A store's clock may be ahead of this machine's: a record that expires within this time may be gone (R65, R150)."""
_CHECKPOINT_S = 2.0
_SILENT_BATCHES = 3
"""Batches in a row without an answer of the store that end the pass: the store is down."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a pass over one route."""

    tally: Tally
    """The documents read and the records they map to now; nothing was written."""
    balance: Balance
    differing: DifferenceSamples = DifferenceSamples()  # noqa: RUF009 - frozen, so that it can be shared
    """How records differ, in samples."""


class Save(Protocol):
    """Saves the progress of one part of a pass."""

    def __call__(self, position: bytes | None, tally: Tally, size: int, *, done: bool) -> None:
        """Save the position, everything seen up to it, and the size in bytes of the log, which is on disk."""


class Rate(Protocol):
    """Limits a pass to the rate that the plan allows it (R159)."""

    def ask(self, records: int, /) -> object:
        """Return once this many documents may be compared."""


def save_nothing(position: bytes | None, tally: Tally, size: int, *, done: bool) -> None:
    """Save nothing: the pass is never resumed."""


def compare_partition(
    source: Readable,
    projection: Projection,
    target: Target[Record],
    log: AddressLog,
    partition: Partition,
    *,
    after: bytes | None = None,
    seen: Tally | None = None,
    refused: Container[str] = (),
    accepted: Callable[[Reject], bool] = lambda _: False,
    window: int = 4,
    rate: Rate | None = None,
    stop: Stop = NEVER,
    compared: Callable[[int], None] = lambda _: None,
    save: Save = save_nothing,
    checkpoint_s: float = _CHECKPOINT_S,
    in_flight: InFlight = OF_THIS_PROCESS,
) -> Tally | None:
    """Return the tally of the partition; each of its records past `after` is compared and noted in the log.

    Returns None when `stop` ended it at a checkpoint. Records are compared in canonical form (R10). `refused` names
    the documents that the target is known to have refused: their absent records are the rejects on record, not
    mismatches. `accepted` says whether a person accepted a reject. `seen` is the tally up to `after`. Records for which
    the store does not answer are inconclusive; a store that is down raises TransientError, and the same call resumes
    from the last checkpoint.
    """
    total = seen or Tally()
    reached = after
    saved = time.monotonic()
    silent = 0
    flight: deque[tuple[bytes, ProjectedBatch, Future[_ComparedBatch]]] = deque()
    readers = OverlappedCalls(target, window, "read")

    def record_oldest() -> None:
        nonlocal reached, saved, silent
        position, batch, answer = flight[0]
        outcome = answer.result()
        flight.popleft()
        batches.done(batch.size_bytes)
        silent = silent + 1 if outcome.error else 0
        if outcome.error and silent >= _SILENT_BATCHES:
            raise outcome.error
        log.expect(outcome.entries)
        total.add(batch.tally)
        reached = position
        compared(batch.tally.read)
        if not silent and time.monotonic() - saved > checkpoint_s:
            save(reached, total, log.flush(), done=False)
            saved = time.monotonic()

    batches = counted(source, partition, after, in_flight)
    try:
        for batch in batches.in_turn(flight, window, stop, record_oldest):
            if rate is not None:
                rate.ask(len(batch.documents))
            with in_flight.mapping:
                expected = projection.batch(batch)
            expected.tally.accepted = sum(map(accepted, expected.rejects))
            answer = readers.submit(_compare_batch, target, expected, refused)
            flight.append((batch.position, expected, answer))
            del batch, expected, answer
        save(reached, total, log.flush(), done=batches.ended)
    finally:
        readers.close()
        batches.close()
    return total if batches.ended else None


def list_share(
    target: Target[Record],
    log: AddressLog,
    share: int = 0,
    shares: int = 1,
    *,
    stop: Stop = NEVER,
    save: Save = save_nothing,
) -> bool:
    """The addresses that the target lists, if it can, are noted in the log; returns False when `stop` ended it."""
    addresses: Iterator[str] = iter(())
    if shares > 1 and isinstance(target, Divided):
        addresses = target.addresses_of(share, shares)
    elif isinstance(target, Listable):
        addresses = target.addresses()
    for page in cut(addresses, _LISTED_AT_ONCE):
        if stop.is_set():
            return False
        log.list(page)
    # A listing cannot be resumed: an interrupted one is forgotten and begins again.
    save(None, Tally(), log.flush(), done=True)
    return True


def compare(
    source: Source,
    projection: Projection,
    target: Target[Record],
    folder: Path,
    *,
    refused: Container[str] = (),
    window: int = 4,
    show_values: bool = False,
    stop: Stop = NEVER,
    compared: Callable[[int], None] = lambda _: None,
) -> Comparison | None:
    """Return how the target differs from what the source's documents map to; None when `stop` ended it.

    One whole pass over one range that cannot be resumed. `folder` is empty and holds the log meanwhile. `show_values`
    keeps values in the samples of differences.
    """
    log = AddressLog(folder / "log")
    if not list_share(target, log, stop=stop):
        return None
    tally = compare_partition(
        *(source, projection, target, log, Partition(0)),
        refused=refused,
        window=window,
        stop=stop,
        compared=compared,
    )
    if tally is None:
        return None
    differences = Differences(show_values=show_values)
    recheck = Recheck(source, projection, target, refused=refused, differences=differences, stop=stop)
    sums = balance([log.path], listed=isinstance(target, Listable), recheck=recheck)
    return Comparison(tally, sums, differences.samples())


@dataclass(frozen=True, slots=True)
class _ComparedBatch:
    """The findings of a batch; `error` is why the store did not answer."""

    entries: Sequence[Entry]
    error: TransientError | None = None


def _compare_batch(target: Target[Record], expected: ProjectedBatch, refused: Container[str]) -> _ComparedBatch:
    try:
        held = target.read([record.address for record in expected.records])
        records = expected_records(target, expected.records)
    except TransientError as error:
        entries = [
            Entry(record.address, Finding.INCONCLUSIVE, expected.position(owner))
            for record, owner in zip(expected.records, expected.owners, strict=True)
        ]
        return _ComparedBatch(entries, error)
    now_ms = time.time() * 1000
    entries = []
    for record, owner in zip(records, expected.owners, strict=True):
        found = held.get(record.address)
        if found is not None and same_record(found, record):
            entries.append(Entry(record.address, Finding.SAME))
            continue
        if found is not None:
            finding = Finding.DIFFERS
        elif record.expires_at_ms is not None and record.expires_at_ms <= now_ms + _EXPIRY_GRACE_MS:
            finding = Finding.EXPIRED
        else:
            finding = Finding.REFUSED if expected.name(owner) in refused else Finding.MISSING
        entries.append(Entry(record.address, finding, expected.position(owner)))
    return _ComparedBatch(entries)
