"""How far the sync of each route has come in its source's changes (R101, R120, R131), and the sweeps that are due."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from stores.contract.changes import StreamPosition
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import sweeps, sync_positions


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far a route's target follows its source."""

    began: int
    """A cluster time: every document was read then or later."""
    position: StreamPosition
    """Every change before it is in the target."""
    at: float
    """When the position was saved, in seconds since 1970."""
    lag_s: float | None
    """How far the position was behind the source's own time then; None before the first sync."""
    events: int
    """Documents that changed since the route began, each counted once in every batch."""
    applied: int
    """Documents copied again since then."""
    deleted: int
    """Addresses deleted since then."""
    halted: str
    """Why the sync cannot go on, "" if it can."""

    @property
    def synced(self) -> bool:
        """Whether a sync has finished a batch since the route was copied."""
        return self.lag_s is not None


class SyncPositions:
    """The sync positions of a plan's routes.

    A method that takes a lease raises LeaseLost, and writes nothing, if another run has taken the route over.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def begin(self, lease: Lease, position: StreamPosition) -> None:
        """The route's first position is on record in place of any other; take it before the first document is read."""
        row = {
            **self._database.key(lease.route),
            "began": position.time,
            "time": position.time,
            "token": position.token,
            "at": time.time(),
            "lag_s": None,
            **dict.fromkeys(("events", "applied", "deleted"), 0),
            "halted": "",
        }
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, sync_positions, [row])

    def get(self, route: str) -> SyncState | None:
        """Return the route's position; None if its source had no changes to follow when it began."""
        with self._database.reading() as db:
            row = db.execute(sa.select(sync_positions).where(self._database.where(sync_positions, route))).one_or_none()
        if row is None:
            return None
        position = StreamPosition(row.time, row.token)
        return SyncState(row.began, position, row.at, row.lag_s, row.events, row.applied, row.deleted, row.halted)

    def save(
        self, lease: Lease, position: StreamPosition, lag_s: float, *, events: int, applied: int, deleted: int
    ) -> None:
        """The route's position and its counts since the last one are on record: all of it or nothing.

        Call only when every change before the position is acknowledged (R131).
        """
        added = {
            "events": sync_positions.c.events + events,
            "applied": sync_positions.c.applied + applied,
            "deleted": sync_positions.c.deleted + deleted,
        }
        with self._leases.fenced(lease) as db:
            db.execute(
                sa.update(sync_positions)
                .where(self._database.where(sync_positions, lease.route))
                .values(time=position.time, token=position.token, at=time.time(), lag_s=lag_s, **added)
            )

    def halt(self, lease: Lease, why: str) -> None:
        """The reason why the sync of the route cannot go on from its position is on record."""
        with self._leases.fenced(lease) as db:
            db.execute(
                sa.update(sync_positions).where(self._database.where(sync_positions, lease.route)).values(halted=why)
            )

    def sweep_due(self, route: str) -> bool:
        """Return whether the target may hold records of an earlier run, or of documents deleted while no sync ran."""
        with self._database.reading() as db:
            return db.execute(sa.select(sweeps).where(self._database.where(sweeps, route))).first() is not None

    def request_sweep(self, lease: Lease) -> None:
        """A sweep is due: the target may hold records of documents whose deletion no sync will see."""
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, sweeps, [self._database.key(lease.route)], {})

    def record_sweep(self, lease: Lease) -> None:
        """No sweep is due any more: the target holds nothing of earlier runs."""
        with self._leases.fenced(lease) as db:
            db.execute(sa.delete(sweeps).where(self._database.where(sweeps, lease.route)))
