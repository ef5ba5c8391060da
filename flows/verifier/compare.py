"""Compare what the source says now, mapped again, with what the target holds, in both directions (R1, R147)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from flows.copying.inflight import OF_THIS_PROCESS, InFlight, OverlappedCalls, counted
from flows.copying.projection import ProjectedBatch, Projection
from flows.verifier.field_differences import Differences, DifferenceSamples
from flows.verifier.ledger import Balance, Entry, Finding, Mismatch
from flows.verifier.listing import list_for_pass, list_suspects, lists_once
from flows.verifier.part_ledger import PartLedger, Shape
from flows.verifier.recheck import Recheck, expected_records, same_record
from flows.verifier.suspects import SuspectLedger, TooManySuspectsError, find_suspects, resolve, shared_addresses
from mappers.contract import Record
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition, Readable, Source
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Listable, Target
from stores.errors import TransientError

_EXPIRY_GRACE_MS = 5_000
"""A store's clock may be ahead of this machine's: a record that expires within this time may be gone (R65, R150)."""
_CHECKPOINT_S = 2.0
_SAVING_SHARE = 0.02
"""The largest share of its time that a part spends on checkpoints: large sketches are saved less often."""
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

    def __call__(self, position: bytes | None, tally: Tally, *, done: bool) -> None:
        """Save the position and everything seen up to it."""


class Expecting(Protocol):
    """Takes what a pass expects of its target."""

    @property
    def wanted(self) -> Callable[[str], bool] | None:
        """Return the condition for the addresses to compare; None where all are."""

    def expect(self, same: Sequence[str], others: Sequence[Entry], /) -> None:
        """Take expected addresses that hold the right record, and the findings at others; any may be there twice."""


class Rate(Protocol):
    """Limits a pass to the rate that the plan allows it (R159)."""

    def ask(self, records: int, /) -> object:
        """Return once this many documents may be compared."""


def save_nothing(position: bytes | None, tally: Tally, *, done: bool) -> None:
    """Save nothing: the pass is never resumed."""


def compare_partition(
    source: Readable,
    projection: Projection,
    target: Target[Record],
    ledger: Expecting,
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
    """Return the tally of the partition; each of its records past `after` that is wanted is compared for the ledger.

    Returns None when `stop` ended it at a checkpoint. Records are compared in canonical form (R10). `refused` names
    the documents that the target is known to have refused: their absent records are the rejects on record, not
    mismatches. `accepted` says whether a person accepted a reject. `seen` is the tally up to `after`. Records for which
    the store does not answer are inconclusive; a store that is down raises TransientError, and the same call resumes
    from the last checkpoint.
    """
    total = seen or Tally()
    reached = after
    saved = time.monotonic()
    pause_s = checkpoint_s
    silent = 0
    flight: deque[tuple[bytes, ProjectedBatch, Future[_ComparedBatch]]] = deque()
    readers = OverlappedCalls(target, window, "read")

    def record_oldest() -> None:
        nonlocal reached, saved, silent, pause_s
        position, batch, answer = flight[0]
        outcome = answer.result()
        flight.popleft()
        batches.done(batch.size_bytes)
        silent = silent + 1 if outcome.error else 0
        if outcome.error and silent >= _SILENT_BATCHES:
            raise outcome.error
        ledger.expect(outcome.same, outcome.others)
        total.add(batch.tally)
        reached = position
        compared(batch.tally.read)
        if not silent and time.monotonic() - saved > pause_s:
            began = time.monotonic()
            save(reached, total, done=False)
            saved = time.monotonic()
            pause_s = max(checkpoint_s, (saved - began) / _SAVING_SHARE)

    batches = counted(source, partition, after, in_flight)
    try:
        for batch in batches.in_turn(flight, window, stop, record_oldest):
            if rate is not None:
                rate.ask(len(batch.documents))
            with in_flight.mapping:
                expected = projection.batch(batch)
            expected.tally.accepted = sum(map(accepted, expected.rejects))
            if ledger.wanted is not None:
                expected = _restricted(expected, ledger.wanted)
            answer = readers.submit(_compare_batch, target, expected, refused)
            flight.append((batch.position, expected, answer))
            del batch, expected, answer
        save(reached, total, done=batches.ended)
    finally:
        readers.close()
        batches.close()
    return total if batches.ended else None


def compare(
    source: Source,
    projection: Projection,
    target: Target[Record],
    *,
    refused: Container[str] = (),
    window: int = 4,
    show_values: bool = False,
    stop: Stop = NEVER,
    compared: Callable[[int], None] = lambda _: None,
) -> Comparison | None:
    """Return how the target differs from what the source's documents map to; None when `stop` ended it.

    One whole pass over one range that cannot be resumed. `show_values` keeps values in the samples of differences.
    """
    listed = isinstance(target, Listable)
    shape = Shape.first(source.estimate(), listed=listed)
    total = Balance(extra=0 if listed else None)
    found: list[Mismatch] = []
    tally = Tally()
    differences = Differences(show_values=show_values)
    recheck = Recheck(source, projection, target, refused=refused, differences=differences, stop=stop)

    def read(ledger: Expecting) -> Tally | None:
        return compare_partition(
            *(source, projection, target, ledger, Partition(0)),
            refused=refused,
            window=window,
            stop=stop,
            compared=compared,
        )

    while True:
        ledger = PartLedger(shape, recheck, began_ms=time.time() * 1000)
        if not list_for_pass(target, projection, ledger, stop=stop) or (seen := read(ledger)) is None:
            return None
        ledger.settle()
        try:
            suspects = find_suspects(ledger.sketches, shape, listed=listed, distinct=lists_once(target))
        except TooManySuspectsError as error:
            shape = shape.larger(error.hashes)
            total, found = Balance(extra=total.extra and 0), []
            continue
        reread = SuspectLedger(shape, suspects.hashes)
        if suspects.reread and read(reread) is None:
            return None
        shared = shared_addresses(reread.take_suspects())
        if suspects.relist and not list_suspects(target, ledger, suspects.hashes, shared, stop=stop):
            return None
        ledger.settle()
        total.merge(ledger.sums)
        found += resolve(total, shared, ledger.take_found(), recheck)
        tally = tally if shape.slice else seen
        if shape.slice + 1 == shape.slices:
            return Comparison(tally, total, differences.samples())
        shape = replace(shape, slice=shape.slice + 1)


@dataclass(frozen=True, slots=True)
class _ComparedBatch:
    """The findings of a batch; `error` is why the store did not answer."""

    same: Sequence[str]
    """The addresses that hold the right record, without more: in most batches they are all."""
    others: Sequence[Entry] = ()
    error: TransientError | None = None


def _restricted(batch: ProjectedBatch, wanted: Callable[[str], bool]) -> ProjectedBatch:
    """Return the batch with the records at wanted addresses alone; its tally is that of all."""
    places = [at for at, record in enumerate(batch.records) if wanted(record.address)]
    if len(places) == len(batch.records):
        return batch
    return replace(batch, records=[batch.records[at] for at in places], owners=[batch.owners[at] for at in places])


def _compare_batch(target: Target[Record], expected: ProjectedBatch, refused: Container[str]) -> _ComparedBatch:
    if not expected.records:
        return _ComparedBatch(())
    try:
        held = target.read([record.address for record in expected.records])
        records = expected_records(target, expected.records)
    except TransientError as error:
        entries = [
            Entry(record.address, Finding.INCONCLUSIVE, expected.position(owner))
            for record, owner in zip(expected.records, expected.owners, strict=True)
        ]
        return _ComparedBatch((), entries, error)
    now_ms = time.time() * 1000
    same: list[str] = []
    others: list[Entry] = []
    for record, owner in zip(records, expected.owners, strict=True):
        found = held.get(record.address)
        if found is not None and same_record(found, record):
            same.append(record.address)
            continue
        if found is not None:
            finding = Finding.DIFFERS
        elif record.expires_at_ms is not None and record.expires_at_ms <= now_ms + _EXPIRY_GRACE_MS:
            finding = Finding.EXPIRED
        else:
            finding = Finding.REFUSED if expected.name(owner) in refused else Finding.MISSING
        others.append(Entry(record.address, finding, expected.position(owner), record.expires_at_ms))
    return _ComparedBatch(same, others)
