"""The second look: what seemed wrong is asked again, of the source and of the target, before it counts (R148).

An update between the two reads of a pass is no mismatch. Where sync is at work its time must have passed that of the
second read of the source, with no change of the document in between; else nothing is proven, and nothing is called
equal either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Protocol

from flows.copying.projection import Projection, identify
from flows.verifier.field_differences import Differences
from flows.verifier.ledger import Mismatch
from mappers.contract import Record
from mappers.documents.decoding import position
from stores.contract.source import Source
from stores.contract.target import Converting, Target
from stores.errors import TransientError
from stores.throttling.backoff import STOPPING, Backoff, go_on

_ROUNDS = 3
_PATIENCE_S = 60.0
"""How long a look waits for sync to come as far as the source was when it was read."""


class Progress(Protocol):
    """How far a route's target follows its source."""

    def now(self) -> int:
        """Return the source's cluster time, ``seconds << 32 | increment``."""

    def passed(self, time: int) -> bool:
        """Whether everything up to this time is in the target, or known to be owed to it."""

    def touched_since(self, ids: Sequence[bytes], time: int) -> Container[bytes]:
        """Return which of these documents (BSON ``{"_id": id}``) sync has seen changed since that time."""

    def owes(self, address: str, at: bytes) -> bool:
        """Whether this record's document (BSON ``{"_id": id}``, b"" if unknown) has changed past where sync stands.

        Then no look can settle it before sync goes on.
        """


class SecondLook:
    """Looks again at what seems wrong; see `flows.verifier.ledger.Look`."""

    def __init__(
        self,
        source: Source,
        projection: Projection,
        target: Target[Record],
        *,
        refused: Container[str] = (),
        progress: Progress | None = None,
        differences: Differences | None = None,
        patience_s: float = _PATIENCE_S,
        stopping: Callable[[], bool] = STOPPING.is_set,
    ) -> None:
        """Take the route's stores; `progress` where its target is kept up with its source.

        `refused` names documents on record as refused by the target; `differences` collects how records differ.
        """
        self._source = source
        self._projection = projection
        self._target = target
        self._refused = refused
        self._progress = progress
        self._differences = differences
        self._patience_s = patience_s
        self._stopping = stopping

    def __call__(self, seeming: Sequence[Mismatch]) -> Sequence[Mismatch]:
        """Return what is so by now of each, in the same order."""
        outcomes: dict[int, Mismatch] = {}
        waiting = list(range(len(seeming)))
        for _ in range(_ROUNDS):
            waiting = self._round(seeming, waiting, outcomes)
            if not waiting:
                break
        for place in waiting:
            outcomes[place] = seeming[place]._replace(kind="unsettled")
        return [outcomes[place] for place in range(len(seeming))]

    def _round(self, seeming: Sequence[Mismatch], places: list[int], outcomes: dict[int, Mismatch]) -> list[int]:
        """Look once at these; returns those of which the round proves nothing."""
        ids = list(dict.fromkeys(seeming[place].position for place in places if seeming[place].position))
        since = 0
        if self._progress is not None:
            since = self._progress.now()
            self._source.advance(since)
        before = self._documents(ids)
        if self._progress is not None and not self._passed(since):
            return places
        promised = self._promised(before)
        try:
            held = self._target.read([seeming[place].address for place in places])
        except TransientError:
            for place in places:
                outcomes[place] = seeming[place]._replace(kind="inconclusive")
            return []
        wrong: list[int] = []
        for place in places:
            outcome = self._judged(seeming[place], promised, held.get(seeming[place].address))
            outcomes[place] = outcome
            if outcome.kind not in ("missing", "differs", "extra"):
                continue
            if self._progress is not None and self._progress.owes(outcome.address, outcome.position):
                outcomes[place] = outcome._replace(kind="unsettled")
            else:
                wrong.append(place)
        again = self._changing(seeming, wrong, before, since)
        if self._differences is not None:
            for place in sorted({*wrong} - {*again}):
                one = outcomes[place]
                if one.kind == "differs" and one.position in before:
                    self._differences.note(promised[one.address], held[one.address], before[one.position])
        return again

    def _changing(
        self, seeming: Sequence[Mismatch], wrong: Sequence[int], before: Mapping[bytes, bytes], since: int
    ) -> list[int]:
        """Return those of which the document has changed since it was read, so that they may be wrong no more."""
        ids = list(dict.fromkeys(seeming[place].position for place in wrong if seeming[place].position))
        after = self._documents(ids)
        touched = self._progress.touched_since(ids, since) if self._progress is not None else ()
        changed = {at for at in ids if before.get(at) != after.get(at) or at in touched}
        return [place for place in wrong if seeming[place].position in changed]

    def _documents(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        found = self._source.fetch(ids) if ids else ()
        return {at: raw for raw in found if (at := position(raw)) is not None}

    def _promised(self, documents: Mapping[bytes, bytes]) -> Mapping[str, Record]:
        made = [self._projection(raw) for raw in documents.values()]
        self._projection.losses.take()  # They were counted when their documents were read.
        self._projection.losses.take_fields()
        records = [record for some in made if isinstance(some, Sequence) for record in some]
        return {record.address: record for record in wanted(self._target, records)}

    def _judged(self, seeming: Mismatch, promised: Mapping[str, Record], found: Record | None) -> Mismatch:
        record = promised.get(seeming.address)
        now_ms = time.time() * 1000
        if found is not None:
            if record is not None:
                kind = "same" if same(found, record) else "differs"
            else:
                kind = "lapsed" if _is_over(found, now_ms) else "extra"
        elif record is None:
            kind = "settled" if seeming.position else "gone"
        elif _is_over(record, now_ms):
            kind = "expired"
        else:
            kind = "refused" if identify(seeming.position) in self._refused else "missing"
        return seeming._replace(kind=kind)

    def _passed(self, since: int) -> bool:
        assert self._progress is not None  # noqa: S101 - asked only where there is one
        backoff = Backoff(self._patience_s, first_s=0.05, most_s=1.0)
        while not self._progress.passed(since):
            go_on(self._stopping, "stopped while sync was waited for; the same command looks again")
            if not backoff.wait():
                return False
        return True


def wanted(target: Target[Record], records: Sequence[Record]) -> Sequence[Record]:
    """Return what the target holds once these are written, in their order."""
    return target.converted(records) if isinstance(target, Converting) else records


def same(found: Record, record: Record) -> bool:
    """Whether a store means the same by both: what is equal as it stands is, and takes less time to tell."""
    return found == record or found.canonical() == record.canonical()


def _is_over(record: Record, now_ms: float) -> bool:
    return record.expires_at_ms is not None and record.expires_at_ms <= now_ms
