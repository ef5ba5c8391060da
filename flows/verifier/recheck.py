"""The second look: source and target are read again for every mismatch before it counts (R148).

An update between the two reads of a pass is no mismatch. Where the route is synced, sync must have passed the time of
the second read of the source, and the document must not have changed in between. Otherwise nothing is proven: the
mismatch is unsettled, and never called equal.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from flows.copying.projection import Mapped, Projection, identify
from flows.verifier.field_differences import Differences
from flows.verifier.ledger import Mismatch
from mappers.contract import Record
from mappers.documents.decoding import position
from stores.contract.source import Source
from stores.contract.stop import PROCESS_STOP, Stop, raise_if_stopped
from stores.contract.target import Converting, Target
from stores.errors import TransientError
from stores.throttling.backoff import Backoff, poll

_ROUNDS = 3
_PATIENCE_S = 60.0
"""How long a recheck waits for sync to reach the time at which the source was read."""


class SyncProgress(Protocol):
    """How far sync has brought a route's target."""

    def now(self) -> int:
        """Return the source's cluster time, ``seconds << 32 | increment``."""

    def has_passed(self, time: int) -> bool:
        """Return True when every change up to this time is in the target, or known to be pending."""

    def touched_since(self, ids: Sequence[bytes], time: int) -> Container[bytes]:
        """Return those of the documents (BSON ``{"_id": id}``) that have changed since that time."""

    def is_pending(self, address: str, at: bytes) -> bool:
        """Return True when a change of the document (BSON ``{"_id": id}``, b"" if unknown) is yet to be synced.

        Then no recheck proves anything before the next sync.
        """


class Recheck:
    """Rechecks mismatches; a `ledger.RecheckCall`."""

    def __init__(
        self,
        source: Source,
        projection: Projection,
        target: Target[Record],
        *,
        refused: Container[str] = (),
        progress: SyncProgress | None = None,
        differences: Differences | None = None,
        patience_s: float = _PATIENCE_S,
        stop: Stop = PROCESS_STOP,
    ) -> None:
        """Take the stores of a route, and its sync's `progress` where it is synced.

        `refused` names documents on record as refused by the target; `differences` collects how records differ.
        """
        self._source = source
        self._projection = projection
        self._target = target
        self._refused = refused
        self._progress = progress
        self._differences = differences
        self._patience_s = patience_s
        self._stop = stop

    def __call__(self, mismatches: Sequence[Mismatch]) -> Sequence[Mismatch]:
        """Return each mismatch as it is now, in the same order."""
        outcomes: dict[int, Mismatch] = {}
        waiting = list(range(len(mismatches)))
        for _ in range(_ROUNDS):
            waiting = self._round(mismatches, waiting, outcomes)
            if not waiting:
                break
        for place in waiting:
            outcomes[place] = mismatches[place]._replace(kind="unsettled")
        return [outcomes[place] for place in range(len(mismatches))]

    def _round(self, mismatches: Sequence[Mismatch], places: list[int], outcomes: dict[int, Mismatch]) -> list[int]:
        """Recheck these once; returns those of which the round proves nothing."""
        ids = list(dict.fromkeys(mismatches[place].position for place in places if mismatches[place].position))
        since = 0
        if self._progress is not None:
            since = self._progress.now()
            self._source.advance(since)
        before = self._documents(ids)
        if self._progress is not None and not self._has_passed(since):
            return places
        expected = self._expected(before)
        try:
            held = self._target.read([mismatches[place].address for place in places])
        except TransientError:
            for place in places:
                outcomes[place] = mismatches[place]._replace(kind="inconclusive")
            return []
        wrong: list[int] = []
        for place in places:
            outcome = self._judged(mismatches[place], expected, held.get(mismatches[place].address))
            outcomes[place] = outcome
            if outcome.kind not in ("missing", "differs", "extra"):
                continue
            if self._progress is not None and self._progress.is_pending(outcome.address, outcome.position):
                outcomes[place] = outcome._replace(kind="unsettled")
            else:
                wrong.append(place)
        again = self._changing(mismatches, wrong, before, since)
        if self._differences is not None:
            for place in sorted({*wrong} - {*again}):
                mismatch = outcomes[place]
                if mismatch.kind == "differs" and mismatch.position in before:
                    self._differences.add(expected[mismatch.address], held[mismatch.address], before[mismatch.position])
        return again

    def _changing(
        self, mismatches: Sequence[Mismatch], wrong: Sequence[int], before: Mapping[bytes, bytes], since: int
    ) -> list[int]:
        """Return those whose document has changed since it was read, so that they may no longer be wrong."""
        ids = list(dict.fromkeys(mismatches[place].position for place in wrong if mismatches[place].position))
        after = self._documents(ids)
        touched = self._progress.touched_since(ids, since) if self._progress is not None else ()
        changed = {at for at in ids if before.get(at) != after.get(at) or at in touched}
        return [place for place in wrong if mismatches[place].position in changed]

    def _documents(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        found = self._source.fetch(ids) if ids else ()
        return {at: raw for raw in found if (at := position(raw)) is not None}

    def _expected(self, documents: Mapping[bytes, bytes]) -> Mapping[str, Record]:
        made = [self._projection.map(raw) for raw in documents.values()]
        records = [record for mapped in made if isinstance(mapped, Mapped) for record in mapped.records]
        return {record.address: record for record in expected_records(self._target, records)}

    def _judged(self, mismatch: Mismatch, expected: Mapping[str, Record], found: Record | None) -> Mismatch:
        record = expected.get(mismatch.address)
        now_ms = time.time() * 1000
        if found is not None:
            if record is not None:
                kind = "same" if same_record(found, record) else "differs"
            else:
                kind = "lapsed" if _has_expired(found, now_ms) else "extra"
        elif record is None:
            kind = "settled" if mismatch.position else "gone"
        elif _has_expired(record, now_ms):
            kind = "expired"
        else:
            kind = "refused" if identify(mismatch.position) in self._refused else "missing"
        return mismatch._replace(kind=kind)

    def _has_passed(self, since: int) -> bool:
        assert self._progress is not None  # noqa: S101 - asked only where there is one
        progress = self._progress

        def look() -> bool:
            if progress.has_passed(since):
                return True
            raise_if_stopped(self._stop, "stopped while it waited for sync; the same command checks again")
            return False

        return poll(look, Backoff(self._patience_s, most_s=1.0))


def expected_records(target: Target[Record], records: Sequence[Record]) -> Sequence[Record]:
    """Return the records as the target holds them once written, in the same order."""
    return target.converted(records) if isinstance(target, Converting) else records


def same_record(found: Record, record: Record) -> bool:
    """Whether a store means the same_record by both: what is equal as it stands is, and takes less time to tell."""
    return found == record or found.canonical() == record.canonical()


def _has_expired(record: Record, now_ms: float) -> bool:
    return record.expires_at_ms is not None and record.expires_at_ms <= now_ms
