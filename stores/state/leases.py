"""The right to write a route, which one run has at a time (R134)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from stores.errors import LeaseLost, TransientError
from stores.state.database import Database
from stores.state.owners import is_gone, owner_of_this_process
from stores.state.tables import leases, work_requests


@dataclass(frozen=True, slots=True)
class Lease:
    """One run's right to write a route until it expires; `fence` grows with every take-over (R134)."""

    plan: str
    route: str
    owner: str
    fence: int


class Leases:
    """The leases of a plan's routes."""

    def __init__(self, database: Database, lease_s: float) -> None:
        """Give leases that last `lease_s` seconds unless they are renewed."""
        self._database = database
        self._lease_s = lease_s

    def acquire(self, route: str) -> Lease:
        """Return this run's lease on the route; raises TransientError E-LEASE-HELD while another run has it.

        A lease is free when it was released, has expired, or its process on this machine is gone.
        """
        owner = owner_of_this_process()
        where = self._database.where(leases, route)
        with self._database.writing() as db:
            row = db.execute(sa.select(leases).where(where)).one_or_none()
            now = time.time()
            if row is not None and row.owner and row.expires > now and not is_gone(row.owner):
                raise TransientError(
                    "E-LEASE-HELD",
                    f"route {route}: another run ({row.owner.partition(' ')[0]}) is working on it; wait until it"
                    f" ends, or stop it, then run the same command (its lease expires in"
                    f" {row.expires - now:.0f} s if it is dead)",
                )
            # The earlier run's workers have nothing to give to this run's.
            db.execute(sa.delete(work_requests).where(self._database.where(work_requests, route)))
            fence = 1 if row is None else row.fence + 1
            values = {"owner": owner, "fence": fence, "expires": now + self._lease_s}
            if row is None:
                db.execute(sa.insert(leases).values(**self._database.key(route), **values))
            else:
                db.execute(sa.update(leases).where(where).values(**values))
        return Lease(self._database.plan, route, owner, fence)

    def renew(self, lease: Lease) -> None:
        """The lease lasts another full term; raises LeaseLost if another run has taken the route over."""
        with self._database.writing() as db:
            renewal = sa.update(leases).where(self._is_current(lease)).values(expires=time.time() + self._lease_s)
            if not db.execute(renewal).rowcount:
                raise _lost(lease)

    def release(self, lease: Lease) -> None:
        """The route is free at once; nothing happens if another run has taken it over."""
        with self._database.writing() as db:
            db.execute(sa.update(leases).where(self._is_current(lease)).values(owner="", expires=0.0))

    def ensure(self, lease: Lease) -> None:
        """Return only while this run may write; raises LeaseLost if the lease has expired or was taken over."""
        with self._database.reading() as db:
            query = sa.select(leases.c.expires).where(self._is_current(lease))
            expires = db.execute(query).scalar_one_or_none()
        if expires is None or expires <= time.time():
            raise _lost(lease)

    def holder(self, route: str) -> str:
        """Return the ``host/pid`` of the run that has the route now, "" if no run has."""
        with self._database.reading() as db:
            row = db.execute(sa.select(leases).where(self._database.where(leases, route))).one_or_none()
        if row is None or not row.owner or row.expires <= time.time() or is_gone(row.owner):
            return ""
        return str(row.owner).partition(" ")[0]

    @contextmanager
    def fenced(self, lease: Lease) -> Iterator[sa.Connection]:
        """Give a transaction that writes as the holder of the lease, all of it or nothing.

        Raises LeaseLost before anything is written if another run has taken the route over, and the errors of
        `Database.writing`.
        """
        with self._database.writing() as db:
            if db.execute(sa.select(leases.c.fence).where(self._is_current(lease))).scalar_one_or_none() is None:
                raise _lost(lease)
            yield db

    def _is_current(self, lease: Lease) -> sa.ColumnElement[bool]:
        route = self._database.where(leases, lease.route)
        return sa.and_(route, leases.c.owner == lease.owner, leases.c.fence == lease.fence)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        "E-LEASE-LOST",
        f"route {lease.route}: this run's lease (fence {lease.fence}) has expired or was taken over; it stopped"
        " writing. Run the same command when no other run is working on the route",
    )
