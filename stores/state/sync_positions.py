"""Where the sync of each route stands in its source's changes, in the plan's state (R101, R120, R131)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from stores.contract.changes import StreamPosition
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import sweeps, sync_positions


@dataclass(frozen=True, slots=True)
class SyncPosition:
    """How far a route's target follows its source."""

    began: int
    """The cluster time before which nothing was copied: every document was read at it or later."""
    position: StreamPosition
    """Everything before it is in the target."""
    at: float
    """When that was so, in seconds since 1970."""
    lag_s: float | None
    """How far that was behind the source's own time; None before the first sync."""
    events: int
    """Documents that changed since the route began, each counted once a batch."""
    applied: int
    """Documents copied again since then."""
    deleted: int
    """Addresses deleted since then."""
    halted: str
    """Why nothing more can follow, "" if it can."""

    @property
    def synced(self) -> bool:
        """Whether a sync has come to an end of a batch since the route was copied."""
        return self.lag_s is not None


class SyncPositions:
    """The positions of a plan's routes; what writes needs the route's lease."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def begin(self, lease: Lease, position: StreamPosition) -> None:
        """The route's position is this one, from before its first document was read; whatever was known is void."""
        row = {
            **self._database.key(lease.route),
            "began": position.time,
            "time": position.time,
            "token": position.token,
        }
        with self._leases.fenced(lease) as db:
            db.execute(sa.delete(sync_positions).where(self._database.where(sync_positions, lease.route)))
            db.execute(
                sa.insert(sync_positions).values(**row, at=time.time(), events=0, applied=0, deleted=0, halted="")
            )

    def get(self, route: str) -> SyncPosition | None:
        """Return where the route stands; None if it was begun where there are no changes to follow."""
        with self._database.reading() as db:
            row = db.execute(sa.select(sync_positions).where(self._database.where(sync_positions, route))).one_or_none()
        if row is None:
            return None
        position = StreamPosition(row.time, row.token)
        return SyncPosition(row.began, position, row.at, row.lag_s, row.events, row.applied, row.deleted, row.halted)

    def save(
        self, lease: Lease, position: StreamPosition, lag_s: float, *, events: int, applied: int, deleted: int
    ) -> None:
        """The route stands at the position, with what was done since the last: all of it or nothing.

        Call only when everything up to it is acknowledged (R131). Raises LeaseLost if the route was taken over.
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
        """It is on record why nothing can follow the route's source from its position."""
        with self._leases.fenced(lease) as db:
            db.execute(
                sa.update(sync_positions).where(self._database.where(sync_positions, lease.route)).values(halted=why)
            )

    def sweep_due(self, route: str) -> bool:
        """Whether the target may hold what an earlier run left, or what was deleted while nobody looked."""
        with self._database.reading() as db:
            return db.execute(sa.select(sweeps).where(self._database.where(sweeps, route))).first() is not None

    def request_sweep(self, lease: Lease) -> None:
        """It is on record that the target may hold what nothing tells to be gone."""
        with self._leases.fenced(lease) as db:
            db.execute(sa.delete(sweeps).where(self._database.where(sweeps, lease.route)))
            db.execute(sa.insert(sweeps).values(**self._database.key(lease.route)))

    def record_sweep(self, lease: Lease) -> None:
        """Nothing is left of earlier runs of the route."""
        with self._leases.fenced(lease) as db:
            db.execute(sa.delete(sweeps).where(self._database.where(sweeps, lease.route)))
