"""Comparing: what the source says now, mapped again, against what the target holds, in both directions (R1, R147)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from flows.copying.inflight import Overlapped
from flows.copying.projection import ProjectedBatch, Projection
from flows.verifier.field_differences import Differences, Differing
from flows.verifier.ledger import Balance, Entry, Finding, Log, balance
from flows.verifier.recheck import SecondLook, same, wanted
from mappers.contract import Record
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition, Readable, Source
from stores.contract.target import Divided, Listable, Target
from stores.errors import TransientError

_LISTED_AT_ONCE = 1_000
_EXPIRY_GRACE_MS = 5_000
"""A store's clock may be ahead of ours: what expires within this may already be gone (R65, R150)."""
_CHECKPOINT_S = 2.0
_SILENT_BATCHES = 3
"""So many batches in a row that a store does not answer for are a store that is away, and end the pass."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a pass over one route saw."""

    tally: Tally
    """The documents it read and what they map to now; nothing was written."""
    balance: Balance
    differing: Differing = Differing()  # noqa: RUF009 - frozen, so that it can be shared
    """How records differ, in samples."""


class Save(Protocol):
    """Keeps how far a part of a pass has come."""

    def __call__(self, position: bytes | None, tally: Tally, size: int, *, done: bool) -> None:
        """The part stands at this position, with all it saw so far and so many bytes of its log, which are on disk."""


class Rate(Protocol):
    """Holds a pass back to the plan's own ceiling for it (R159)."""

    def ask(self, records: int, /) -> object:
        """Return once so many documents may be compared."""


def unkept(position: bytes | None, tally: Tally, size: int, *, done: bool) -> None:
    """Keep nothing: a pass that is not resumed."""


def compare_partition(
    source: Readable,
    projection: Projection,
    target: Target[Record],
    log: Log,
    partition: Partition,
    *,
    after: bytes | None = None,
    seen: Tally | None = None,
    refused: Container[str] = (),
    accepted: Callable[[Reject], bool] = lambda _: False,
    window: int = 4,
    rate: Rate | None = None,
    stopping: Callable[[], bool] = lambda: False,
    compared: Callable[[int], None] = lambda _: None,
    save: Save = unkept,
) -> Tally | None:
    """Return what was read, once each record of the partition past `after` is compared and noted in the log.

    None when `stopping` ended it, at a checkpoint. Each record is compared in canonical form (R10). `refused` names
    documents the target is known to have refused: what is absent for them is no mismatch but the reject already on
    record; `accepted` tells the rejects that a person has accepted. `seen` is what was read up to `after`. A store that
    does not answer for some leaves them inconclusive; one that is away raises TransientError, and the same call goes on
    from the last checkpoint.
    """
    total = seen or Tally()
    reached = after
    saved = time.monotonic()
    silent = 0
    flight: deque[tuple[bytes, Tally, Future[_Looked]]] = deque()
    readers = Overlapped(target, window, "read")

    def settle() -> None:
        nonlocal reached, saved, silent
        position, tally, answer = flight.popleft()
        looked = answer.result()
        silent = silent + 1 if looked.error else 0
        if looked.error and silent >= _SILENT_BATCHES:
            raise looked.error
        log.expect(looked.entries)
        total.add(tally)
        reached = position
        compared(tally.read)
        if not silent and time.monotonic() - saved > _CHECKPOINT_S:
            save(reached, total, log.flush(), done=False)
            saved = time.monotonic()

    try:
        complete = True
        for batch in source.read(partition, after):
            if stopping():
                complete = False
                break
            while flight and (len(flight) >= window or flight[0][2].done()):
                settle()
            if rate is not None:
                rate.ask(len(batch.documents))
            expected = projection.batch(batch)
            expected.tally.accepted = sum(map(accepted, expected.rejects))
            looking = readers.submit(_look_up, target, expected, refused)
            flight.append((batch.position, expected.tally, looking))
        while flight:
            settle()
        save(reached, total, log.flush(), done=complete)
    finally:
        readers.close()
    return total if complete else None


def list_share(
    target: Target[Record],
    log: Log,
    share: int = 0,
    shares: int = 1,
    *,
    stopping: Callable[[], bool] = lambda: False,
    save: Save = unkept,
) -> bool:
    """What the target lists, if it can, is noted in the log; False when `stopping` ended it early."""
    addresses: Iterator[str] = iter(())
    if shares > 1 and isinstance(target, Divided):
        addresses = target.addresses_of(share, shares)
    elif isinstance(target, Listable):
        addresses = target.addresses()
    while some := list(islice(addresses, _LISTED_AT_ONCE)):
        if stopping():
            return False
        log.list(some)
    # A listing cannot be gone on with: what an interrupted one noted is forgotten.
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
    stopping: Callable[[], bool] = lambda: False,
    compared: Callable[[int], None] = lambda _: None,
) -> Comparison | None:
    """Return how the target differs from what the source's documents map to, or None when `stopping` ended it.

    A whole pass at once, in one range, that nobody can go on with; `folder` is empty and holds its log meanwhile.
    `show_values` keeps values in the samples of differences.
    """
    log = Log(folder / "log")
    if not list_share(target, log, stopping=stopping):
        return None
    tally = compare_partition(
        *(source, projection, target, log, Partition(0)),
        refused=refused,
        window=window,
        stopping=stopping,
        compared=compared,
    )
    if tally is None:
        return None
    differences = Differences(show_values=show_values)
    look = SecondLook(source, projection, target, refused=refused, differences=differences, stopping=stopping)
    sums = balance([log.path], listed=isinstance(target, Listable), look=look)
    return Comparison(tally, sums, differences.taken())


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was seen of a batch; `error` is why nothing was."""

    entries: Sequence[Entry]
    error: TransientError | None = None


def _look_up(target: Target[Record], expected: ProjectedBatch, refused: Container[str]) -> _Looked:
    try:
        held = target.read([record.address for record in expected.records])
        promised = wanted(target, expected.records)
    except TransientError as error:
        entries = [
            Entry(record.address, Finding.INCONCLUSIVE, expected.position(owner))
            for record, owner in zip(expected.records, expected.owners, strict=True)
        ]
        return _Looked(entries, error)
    now_ms = time.time() * 1000
    entries = []
    for record, owner in zip(promised, expected.owners, strict=True):
        found = held.get(record.address)
        if found is not None and same(found, record):
            entries.append(Entry(record.address, Finding.SAME))
            continue
        if found is not None:
            finding = Finding.DIFFERS
        elif record.expires_at_ms is not None and record.expires_at_ms <= now_ms + _EXPIRY_GRACE_MS:
            finding = Finding.EXPIRED
        else:
            finding = Finding.REFUSED if expected.name(owner) in refused else Finding.MISSING
        entries.append(Entry(record.address, finding, expected.position(owner)))
    return _Looked(entries)
