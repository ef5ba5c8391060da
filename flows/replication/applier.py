"""The applier of a route: touched documents are copied again, and only then is the position on record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flows.copying.documents import Fetching, copy_documents
from flows.copying.projection import Projection
from mappers.contract import Record
from stores.contract.changes import StreamPosition, Touched
from stores.contract.journal import RejectJournal, Tally
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Target
from stores.errors import OfframpError

_LOOK_EVERY_S = 5.0
_log = logging.getLogger(__name__)

_SAVE_EVERY_S = 5.0
"""How often a position is saved at which nothing was touched: an idle stream's must move on too (R120)."""


class SyncSource(Fetching, Protocol):
    """A source's documents by their ids, as of a time or later."""

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later."""


class SavePosition(Protocol):
    """Puts a route's position on record, with what was done since the last time: all of it or nothing."""

    def __call__(self, position: StreamPosition, lag_s: float, /, *, events: int, applied: int, deleted: int) -> None:
        """Raises LeaseLost if the route was taken over."""


@dataclass(slots=True)
class Applier:
    """A route while it is synced. Each batch is done before the next begins, so that no `_id` is in flight twice."""

    source: SyncSource
    projection: Projection
    target: Target[Record]
    journal: RejectJournal
    save_position: SavePosition
    position: StreamPosition
    advancing: bool = True
    """Whether positions are of the source's cluster time, by which it can be read (R102)."""
    needs_former: bool = False
    """Whether the documents' former versions are needed to find their former records."""
    window: int = 4
    stop: Stop = NEVER
    """Ends a batch half-way, with TransientError E-STOPPED."""
    check_budget: Callable[[], None] = lambda: None
    """Raises OverBudget once the route has too many rejects."""
    before_write: Callable[[], None] = lambda: None
    """Called before the first write: what was verified of the route says nothing any more (R156)."""
    copy_late: Callable[[], object] = lambda: None
    """Copies again what a run may have written whose lease was over; called every few seconds, between two batches."""
    tally: Tally = field(default_factory=Tally)
    """What became of the documents copied again by this applier."""
    events: int = 0
    absent: int = 0
    deleted: int = 0
    began: float = field(default_factory=time.monotonic)
    _wrote: bool = False
    _looked_at: float = field(default_factory=time.monotonic)
    _unsaved: list[int] = field(default_factory=lambda: [0, 0, 0])
    _saved_at: float = field(default_factory=time.monotonic)

    def apply(self, touched: Sequence[Touched], position: StreamPosition, lag_s: float) -> None:
        """The target holds what these documents are at the position or later, and the position is on record (R131).

        Raises an OfframpError after which the applier is where it was: the same batch may be applied again, and any
        batch from before it, however often.
        """
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self.copy_late()
            self._looked_at = time.monotonic()
        if position.time < self.position.time:
            return  # Another route of the stream is further behind.
        if touched:
            if not self._wrote:
                self.before_write()
                self._wrote = True
            if self.advancing:
                self.source.advance(position.time)
            before: Mapping[bytes, Sequence[bytes]] = (
                {touch.id: touch.before for touch in touched} if self.needs_former else {}
            )
            try:
                done = copy_documents(
                    self.source,
                    self.projection,
                    self.target,
                    self.journal,
                    [touch.id for touch in touched],
                    before=before,
                    window=self.window,
                    stop=self.stop,
                    deleted=self.count_deleted,
                )
                self.tally.add(done.tally)
                self._unsaved[1] += done.tally.copied
                if done.rejects:
                    self.check_budget()
            except OfframpError:
                self.save_counts(lag_s + (position.time - self.position.time >> 32))
                raise
            self.events += len(touched)
            self.absent += len(done.absent)
            self._unsaved[0] += len(touched)
        self.position = position
        if touched or time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save(lag_s)

    def count_deleted(self, addresses: int) -> None:
        """These addresses are deleted; they are on record with what is saved next."""
        self.deleted += addresses
        self._unsaved[2] += addresses

    def save_counts(self, lag_s: float) -> None:
        """What was done to the target is on record, if anything was, at the position there was; an error is logged."""
        if any(self._unsaved):
            try:
                self.save(lag_s)
            except OfframpError as error:
                _log.warning("what was synced before the stop is not counted: %s", error)

    @property
    def rate(self) -> float:
        """Documents copied again a second, so far."""
        return self.tally.copied / max(1e-9, time.monotonic() - self.began)

    def save(self, lag_s: float) -> None:
        """The position, and what was done up to it, are on record."""
        events, applied, deleted = self._unsaved
        self.save_position(self.position, lag_s, events=events, applied=applied, deleted=deleted)
        self._unsaved = [0, 0, 0]
        self._saved_at = time.monotonic()
