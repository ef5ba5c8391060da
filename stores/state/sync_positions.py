"""Where the sync of each route stands in its source's changes, in the plan's state (R101, R120, R131)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from stores.contract.changes import StreamPosition
from stores.state.database import State
from stores.state.leases import Lease
from stores.state.tables import sweeps, syncs


@dataclass(frozen=True, slots=True)
class Standing:
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


@dataclass(frozen=True, slots=True)
class Syncs:
    """The positions of a plan's routes; what writes needs the route's lease."""

    state: State

    def begin(self, lease: Lease, position: StreamPosition) -> None:
        """The route's position is this one, from before its first document was read; whatever was known is void."""
        row = {**self.state.key(lease.route), "began": position.time, "time": position.time, "token": position.token}
        with self.state.fenced(lease) as db:
            db.execute(sa.delete(syncs).where(self.state.where(syncs, lease.route)))
            db.execute(sa.insert(syncs).values(**row, at=time.time(), events=0, applied=0, deleted=0, halted=""))

    def standing(self, route: str) -> Standing | None:
        """Return where the route stands; None if it was begun where there are no changes to follow."""
        with self.state.reading() as db:
            row = db.execute(sa.select(syncs).where(self.state.where(syncs, route))).one_or_none()
        if row is None:
            return None
        position = StreamPosition(row.time, row.token)
        return Standing(row.began, position, row.at, row.lag_s, row.events, row.applied, row.deleted, row.halted)

    def save(
        self, lease: Lease, position: StreamPosition, lag_s: float, *, events: int, applied: int, deleted: int
    ) -> None:
        """The route stands at the position, with what was done since the last: all of it or nothing.

        Call only when everything up to it is acknowledged (R131). Raises LeaseLost if the route was taken over.
        """
        added = {
            "events": syncs.c.events + events,
            "applied": syncs.c.applied + applied,
            "deleted": syncs.c.deleted + deleted,
        }
        with self.state.fenced(lease) as db:
            db.execute(
                sa.update(syncs)
                .where(self.state.where(syncs, lease.route))
                .values(time=position.time, token=position.token, at=time.time(), lag_s=lag_s, **added)
            )

    def halt(self, lease: Lease, why: str) -> None:
        """It is on record why nothing can follow the route's source from its position."""
        with self.state.fenced(lease) as db:
            db.execute(sa.update(syncs).where(self.state.where(syncs, lease.route)).values(halted=why))

    def owes_sweep(self, route: str) -> bool:
        """Whether the target may hold what an earlier run left, or what was deleted while nobody looked."""
        with self.state.reading() as db:
            return db.execute(sa.select(sweeps).where(self.state.where(sweeps, route))).first() is not None

    def owe_sweep(self, lease: Lease) -> None:
        """It is on record that the target may hold what nothing tells to be gone."""
        with self.state.fenced(lease) as db:
            db.execute(sa.delete(sweeps).where(self.state.where(sweeps, lease.route)))
            db.execute(sa.insert(sweeps).values(**self.state.key(lease.route)))

    def swept(self, lease: Lease) -> None:
        """Nothing is left of earlier runs of the route."""
        with self.state.fenced(lease) as db:
            db.execute(sa.delete(sweeps).where(self.state.where(sweeps, lease.route)))
