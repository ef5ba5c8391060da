"""What a run asks of the workers of its routes: to split a partition for idle workers, or to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import halts, stops, work_requests

LOOK_EVERY_S = 1.0
"""How often a process looks at what is asked of its workers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the workers of a lease."""

    stopped: bool
    """They are to stop at their next checkpoint."""
    partition: bool
    """A partition is to be split for idle workers; never once they are to stop."""
    halted: bool
    """The route has too many rejects, by a worker's own count or another's."""


class WorkRequests:
    """The requests of the runs of a plan to their workers, wherever these are."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases
        self._looking = threading.Lock()
        self._seen: dict[tuple[str, int], tuple[float, Asked]] = {}
        """When each lease, by route and fence, was looked at last, and what was asked then."""

    def latest(self, lease: Lease) -> Asked:
        """Return what is asked of the workers of this lease, as it was at most `LOOK_EVERY_S` seconds ago.

        All users in a process share one look, so that the state is not asked more often the more of them there are.
        """
        key = (lease.route, lease.fence)
        with self._looking:
            at, asked = self._seen.get(key, (float("-inf"), None))
            now = time.monotonic()
            if asked is None or now - at >= LOOK_EVERY_S:
                asked = self._look(lease)
                self._seen[key] = (now, asked)
        return asked

    def _look(self, lease: Lease) -> Asked:
        halted = sa.exists().where(self._database.where(halts, lease.route))
        query = sa.select(sa.exists(_stop(lease)), sa.exists().where(_open(lease)), halted)
        with self._database.reading() as db:
            return Asked(*map(bool, db.execute(query).one()))

    def request(self, lease: Lease, partitions: int) -> None:
        """So many more partitions of the route are asked for, in place of any earlier number.

        A stop is not undone. Raises LeaseLost if another run has taken the route over.
        """
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, work_requests, [self._database.key(lease.route) | {"wanted": partitions}])

    def requested(self, lease: Lease) -> bool:
        """Return whether another partition of the route is asked for; False once its workers are to stop."""
        with self._database.reading() as db:
            return db.execute(sa.select(work_requests.c.wanted).where(_open(lease))).first() is not None

    def stop(self, leases: Iterable[Lease]) -> None:
        """The workers of these leases, and of earlier leases of their routes, are to stop at their next checkpoint.

        Nothing undoes it. A run that acquires a route later has another lease, and its workers are not stopped. The
        leases need not be current any more.
        """
        with self._database.writing() as db:
            rows = [self._database.key(lease.route) | {"fence": lease.fence} for lease in leases]
            new = self._database.new_value(stops.c.fence)
            later = sa.case((new > stops.c.fence, new), else_=stops.c.fence)
            self._database.upsert(db, stops, rows, {"fence": later})

    def stopped(self, lease: Lease) -> bool:
        """Return whether the workers of this lease are to stop at their next checkpoint."""
        with self._database.reading() as db:
            return db.execute(_stop(lease)).first() is not None


def take_request(db: sa.Connection, lease: Lease) -> bool:
    """One partition fewer of the lease's route is asked for; returns False, and changes nothing, if none is."""
    fewer = sa.update(work_requests).where(_open(lease)).values(wanted=work_requests.c.wanted - 1)
    return bool(db.execute(fewer).rowcount)


def _open(lease: Lease) -> sa.ColumnElement[bool]:
    route = sa.and_(work_requests.c.plan == lease.plan, work_requests.c.route == lease.route)
    return sa.and_(route, work_requests.c.wanted > 0, ~sa.exists(_stop(lease)))


def _stop(lease: Lease) -> sa.Select[tuple[int]]:
    route = sa.and_(stops.c.plan == lease.plan, stops.c.route == lease.route)
    return sa.select(stops.c.fence).where(route, stops.c.fence >= lease.fence)
