"""The right to write a route, which one run has at a time (R134)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from stores.errors import LeaseLost, PermanentError, TransientError
from stores.state.database import Database
from stores.state.lease_term import LeaseTerm, Moment
from stores.state.owners import is_gone, owner_of_this_process, parent_needed
from stores.state.tables import claims, leases, work_requests

_MARGIN = 0.1
"""The last part of a term in which no request begins: one that is under way has this time to end."""
_ASKING_AT = 0.5
"""The part of a term with which a process asks for a later end: a run renews three times in a term."""


WRITING = ("copy", "load")
"""The work of claims that changes the target."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to do one job under a lease, until another worker claims the job; see `Claims`."""

    work: str
    number: int
    claim: int
    """Grows with each claim of the job."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One run's right to write a route until it expires; `fence` grows with every take-over (R134)."""

    plan: str
    route: str
    owner: str
    fence: int
    term: LeaseTerm = field(default_factory=LeaseTerm, compare=False, repr=False)
    """Its end as this process knows it. It stays here when the lease is sent to another process."""
    claim: Claim | None = None
    """The job that it is for, where it is that of one worker: it lasts no longer than its claim, and stays here too."""

    def __reduce__(self) -> tuple[type[Lease], tuple[str, str, str, int]]:
        """Return how another process makes the same lease, of whose end it knows nothing yet."""
        return Lease, (self.plan, self.route, self.owner, self.fence)


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that has a route, or had it when it was killed on a machine that cannot be asked."""

    owner: str
    ends_in_s: float
    """How long its lease lasts unless it is renewed."""

    @property
    def name(self) -> str:
        """``host/pid`` of the run."""
        return self.owner.partition(" ")[0]


class Leases:
    """The leases of a plan's routes."""

    def __init__(self, database: Database, lease_s: float) -> None:
        """Give leases that last `lease_s` seconds unless they are renewed."""
        self._database = database
        self.lease_s = lease_s

    def acquire(self, route: str, *, outlived: bool = False) -> Lease:
        """Return this run's lease on the route; raises TransientError E-LEASE-HELD while another run has it.

        A lease is free when it was released, has expired, or its process on this machine is gone. With `outlived`,
        for a run whose workers may go on without its process, it is not free before it has expired.
        """
        owner = owner_of_this_process(outlived=outlived)
        where = self._database.where(leases, route)
        self._end_free_lease(route)
        with self._database.writing() as db:
            # FOR UPDATE, unlike the update that follows, waits for whoever writes under the lease: see `_expires`.
            row = db.execute(sa.select(leases).where(where).with_for_update()).one()
            before, now = Moment.now(), self._database.now(db)
            if row.owner:
                raise _held(route, row.owner, row.expires - now)
            busy_until = db.execute(
                sa.select(sa.func.max(claims.c.busy_until)).where(self._database.where(claims, route))
            ).scalar_one()
            if busy_until is not None and busy_until > now:
                raise TransientError(
                    "E-LEASE-HELD",
                    f"route {route}: a worker that an earlier run lost may still write to the target for"
                    f" {busy_until - now:.0f} s; run the same command after that",
                )
            if row.expires > now and (worker := self._worker_at_work(db, route)):
                raise TransientError(
                    "E-LEASE-HELD",
                    f"route {route}: a worker of an earlier run ({worker.partition(' ')[0]}) may still write to the"
                    f" target for {row.expires - now:.0f} s; run the same command after that",
                )
            # The earlier run's workers have nothing to give to this run's.
            for table in (work_requests, claims):
                db.execute(sa.delete(table).where(self._database.where(table, route)))
            fence = row.fence + 1
            values = {"owner": owner, "fence": fence, "expires": now + self.lease_s}
            db.execute(sa.update(leases).where(where).values(**values))
        lease = Lease(self._database.plan, route, owner, fence)
        lease.term.renewed_here = True
        lease.term.lasts_until(before.after(self.lease_s))
        return lease

    def _end_free_lease(self, route: str) -> None:
        """Nobody begins to write under the route's last lease any more; raises TransientError E-LEASE-HELD if it lasts.

        It is committed before the route is taken, which waits for whoever writes under the lease at that moment. They
        lock its row for one another's sake only, so without this step others could always begin before the last ends.
        """
        with self._database.writing() as db:
            new = self._database.key(route) | {"owner": "", "fence": 0, "expires": 0.0}
            self._database.upsert(db, leases, [new], {})
            row = db.execute(sa.select(leases).where(self._database.where(leases, route))).one()
            if row.owner:
                left_s = row.expires - self._database.now(db)
                if left_s > 0 and not is_gone(row.owner):
                    raise _held(route, row.owner, left_s)
                # It may have been renewed meanwhile, by a run that was late.
                same = sa.and_(
                    self._database.where(leases, route),
                    *(leases.c[name] == getattr(row, name) for name in ("owner", "fence", "expires")),
                )
                db.execute(sa.update(leases).where(same).values(owner="", expires=0.0))

    def renew(self, lease: Lease) -> None:
        """The lease lasts another full term; raises LeaseLost if another run has taken the route over.

        No time is left of it, for this process, after LeaseLost or any other PermanentError.
        """
        try:
            with self._database.writing(fenced=True) as db:
                before, expires = Moment.now(), self._database.now(db) + self.lease_s
                # It changes no column of the key, so it waits for nobody who writes under the lease.
                if not db.execute(sa.update(leases).where(self._is_current(lease)).values(expires=expires)).rowcount:
                    raise _lost(lease)
        except PermanentError:
            lease.term.give_up()
            raise
        lease.term.lasts_until(before.after(self.lease_s))

    def release(self, *held: Lease) -> None:
        """The routes are free at once; nothing happens to one that another run has taken over.

        A route that a worker elsewhere is at work on still is free when its lease expires: the worker may have learned
        its end, and learns no later one.
        """
        for lease in held:
            lease.term.give_up()
        if held:
            with self._database.writing(fenced=True) as db:
                for lease in sorted(held, key=lambda each: each.route):
                    ended: dict[str, Any] = {"owner": ""}
                    if not self._worker_at_work(db, lease.route):
                        ended["expires"] = 0.0
                    db.execute(sa.update(leases).where(self._is_current(lease)).values(**ended))

    def ensure(self, lease: Lease) -> None:
        """Return only while this run may write; raises LeaseLost if the lease has expired or was taken over.

        A process that does not renew the lease itself asks the state for its end when less than half of a term is left
        of what it knows, and not for each batch. Nothing is written after a take-over all the same: the end that it
        knows is never later than that in the state (`_learn_term`), and whoever takes the route over waits for that,
        unless the run gave it back (`release`) or is gone with all processes that may work for it (`parent_needed`).
        """
        if not lease.term.renewed_here and lease.term.left_s() < self.lease_s * _ASKING_AT:
            self._learn_term(lease)
        self.fence(lease).ensure()

    def fence(self, lease: Lease) -> LeaseFence:
        """Return what lets this process change the route's target for as long as the lease lasts."""
        return LeaseFence(self, lease, self.lease_s * _MARGIN)

    def holders(self) -> Mapping[str, Holder]:
        """Return who has which route of the plan now, by route; a process of this machine that is gone has none."""
        with self._database.reading() as db:
            rows = db.execute(sa.select(leases).where(leases.c.plan == self._database.plan, leases.c.owner != "")).all()
            now = self._database.now(db)
        return {
            row.route: Holder(row.owner, row.expires - now)
            for row in rows
            if row.expires > now and not is_gone(row.owner)
        }

    def holder(self, route: str) -> str:
        """Return the ``host/pid`` of the run that has the route now, "" if no run has."""
        with self._database.reading() as db:
            row = db.execute(sa.select(leases).where(self._database.where(leases, route))).one_or_none()
            if row is None or not row.owner or row.expires <= self._database.now(db) or is_gone(row.owner):
                return ""
        return str(row.owner).partition(" ")[0]

    @contextmanager
    def fenced(self, lease: Lease) -> Iterator[sa.Connection]:
        """Give a transaction that writes as the holder of the lease, all of it or nothing.

        Raises LeaseLost before anything is written if another run has taken the route over, or another worker the job
        that the lease is for, and the errors of `Database.writing`.
        """
        with self._database.writing(fenced=True) as db:
            self._expires(db, lease)
            yield db

    def _worker_at_work(self, db: sa.Connection, route: str) -> str:
        """Return a process other than this one that may change the route's target for a claim; "" if none may."""
        query = sa.select(claims.c.owner).where(self._database.where(claims, route), claims.c.work.in_(WRITING))
        own = owner_of_this_process()
        others = (owner for owner in db.execute(query.distinct()).scalars() if owner not in ("", own))
        return next((owner for owner in others if not is_gone(owner)), "")

    def is_claimed(self, lease: Lease) -> sa.ColumnElement[bool]:
        """Return the condition that picks the row of the lease's claim; no row once another worker has the job."""
        claim = lease.claim
        if claim is None:
            raise ValueError("the lease is that of a run, not of a worker")
        return sa.and_(
            self._database.where(claims, lease.route),
            claims.c.work == claim.work,
            claims.c.number == claim.number,
            claims.c.claim == claim.claim,
        )

    def _learn_term(self, lease: Lease) -> None:
        """The term of the lease in this process ends when the state says, or before; raises LeaseLost as `ensure`.

        The end is reckoned from a moment before the state was asked how long it is until then, by this process's own
        clocks: those of the machine and of the database need not agree.
        """
        before = Moment.now()
        try:
            # It locks rows: who claims the job of this lease waits until the end is learned, or this finds it claimed.
            with self._database.writing() as db:
                left_s = self._expires(db, lease) - self._database.now(db)
        except LeaseLost:
            lease.term.give_up()
            raise
        # The database's clock may have been set back since the lease was renewed: it lasts no longer than a full term.
        lease.term.lasts_until(before.after(min(self.lease_s, left_s)))

    def _expires(self, db: sa.Connection, lease: Lease) -> float:
        """Return the lease's end, and keep lease and claim as they are until the transaction ends; raises LeaseLost."""
        query = sa.select(leases.c.expires).where(self._is_current(lease))
        claimed = query
        if lease.claim is not None:
            here = sa.and_(claims.c.plan == leases.c.plan, claims.c.route == leases.c.route)
            claimed = query.join(claims, here).where(self.is_claimed(lease))
        expires = db.execute(claimed.with_for_update(read=True, key_share=True)).scalar_one_or_none()
        if expires is None:
            raise _lost(lease) if db.execute(query).first() is None else _taken(lease)
        return float(expires)

    def _is_current(self, lease: Lease) -> sa.ColumnElement[bool]:
        route = self._database.where(leases, lease.route)
        return sa.and_(route, leases.c.owner == lease.owner, leases.c.fence == lease.fence)


class LeaseFence:
    """`stores.contract.fence.Fence` for the run that has the lease, in any process that works for it."""

    def __init__(self, leases: Leases, lease: Lease, margin_s: float) -> None:
        """Let pass until so many seconds before the lease ends."""
        self._leases = leases
        self._lease = lease
        self._margin_s = margin_s
        self._parent = parent_needed(lease.owner)

    def ensure(self) -> None:
        """Return only while the run may change the target; raises LeaseLost otherwise.

        It reads the state only where this process does not renew the lease, and the term that it knows is over.
        """
        if self.is_over():
            if not self._lease.term.renewed_here:
                self._leases._learn_term(self._lease)
            if self.is_over():
                raise _lost(self._lease)

    def is_over(self) -> bool:
        """Return whether the run may change nothing more, as far as this process knows."""
        orphaned = self._parent is not None and os.getppid() != self._parent
        return orphaned or self._lease.term.left_s() <= self._margin_s


def _held(route: str, owner: str, left_s: float) -> TransientError:
    return TransientError(
        "E-LEASE-HELD",
        f"route {route}: another run ({owner.partition(' ')[0]}) is working on it; wait until it ends, or stop it, then"
        f" run the same command (its lease expires in {left_s:.0f} s if it is dead)",
    )


def _taken(lease: Lease) -> LeaseLost:
    claim = lease.claim
    of = "" if claim is None else f", {claim.work} {claim.number}"
    return LeaseLost(
        "E-PARTITION-TAKEN",
        f"route {lease.route}{of}: the run lost this worker and gave its job to another; this one stopped writing."
        " There is nothing to do, as the other worker does the job",
    )


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        "E-LEASE-LOST",
        f"route {lease.route}: this run's lease (fence {lease.fence}) has expired or was taken over; it stopped"
        " writing. Run the same command when no other run is working on the route",
    )
