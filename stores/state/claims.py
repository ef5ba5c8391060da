"""Which worker does a job: the last that claimed it, so that one that was cut off and goes on spoils nothing.

Dask and Ray begin a job again elsewhere when they lose its worker, which may only be cut off from them and go on. Only
the last claim of a job lets checkpoints be written and the lease's term be learned. So a worker whose job another has
claimed counts nothing twice, and changes the target no longer than the term that it knew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa

from stores.errors import OfframpError
from stores.state.database import Database
from stores.state.lease_term import LeaseTerm
from stores.state.leases import WRITING, Claim, Lease, Leases
from stores.state.owners import is_gone, owner_of_this_process
from stores.state.tables import claims

_log = logging.getLogger(__name__)

Work = Literal["copy", "load", "verify"]


class Claims:
    """The claims of jobs of the routes of a plan."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases under which jobs are done."""
        self._database = database
        self._leases = leases

    @contextmanager
    def claimed(self, lease: Lease, work: Work, number: int = 0) -> Iterator[Lease]:
        """Give the lease as this worker alone may use it for the job, until another claims the same job.

        Read how far the job has come within the body: nobody else records anything of it from now on. What is under the
        lease given raises LeaseLost E-PARTITION-TAKEN, and writes nothing, once another has claimed the job. The caller
        ensures that nothing of the job is under way after the body, however it ends.
        """
        own = self._claim(lease, work, number)
        try:
            yield own
        finally:
            self._end(own)

    def left_s(self, route: str) -> float:
        """Return for how many seconds a worker whose job was claimed by another may still change the route's target.

        It is 0 or less where there is none, or no more.
        """
        with self._database.reading() as db:
            until = db.execute(_latest(self._database, route)).scalar_one()
            return 0.0 if until is None else float(until) - self._database.now(db)

    def is_under_way(self, lease: Lease, work: Work, number: int) -> bool:
        """Return whether a worker has claimed the job and has not ended."""
        query = sa.select(claims.c.owner).where(self._where(lease, work, number), claims.c.owner != "")
        with self._database.reading() as db:
            return db.execute(query).first() is not None

    def _claim(self, lease: Lease, work: Work, number: int) -> Lease:
        where = self._where(lease, work, number)
        with self._leases.fenced(lease) as db:
            key = {**self._database.key(lease.route), "work": work, "number": number}
            self._database.upsert(db, claims, [{**key, "claim": 0, "owner": ""}], {})
            # FOR UPDATE, unlike the update that follows, waits for whoever writes or learns under the claim.
            row = db.execute(sa.select(claims).where(where).with_for_update()).one()
            # After the lock: whoever learned the lease's term before knows no later end than a full term from now.
            now = self._database.now(db)
            values = {"claim": row.claim + 1, "owner": owner_of_this_process()}
            if work in WRITING and row.owner and not is_gone(row.owner):
                values["busy_until"] = max(row.busy_until or 0.0, now + self._leases.lease_s)
                _log.warning(
                    "route %s: %s %d was claimed before, by a worker that may go on", lease.route, work, number
                )
            db.execute(sa.update(claims).where(where).values(**values))
        term = lease.term if lease.term.renewed_here else LeaseTerm()
        return replace(lease, claim=Claim(work, number, row.claim + 1), term=term)

    def _end(self, lease: Lease) -> None:
        """Nothing of the job is under way. Where that cannot be put on record, the next claim waits in vain."""
        try:
            with self._leases.fenced(lease) as db:
                db.execute(sa.update(claims).where(self._leases.is_claimed(lease)).values(owner=""))
        except OfframpError as error:
            _log.info("the end of a claim is not on record: %s", error)

    def _where(self, lease: Lease, work: Work, number: int) -> sa.ColumnElement[bool]:
        route = self._database.where(claims, lease.route)
        return sa.and_(route, claims.c.work == work, claims.c.number == number)


def _latest(database: Database, route: str) -> sa.Select[tuple[float | None]]:
    return sa.select(sa.func.max(claims.c.busy_until)).where(database.where(claims, route))
