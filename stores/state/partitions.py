"""How far the copy of each route has come, by its partitions (R131)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.rejects import record_rejects
from stores.state.tables import claims, metadata, partitions, routes, stops, sweeps
from stores.state.tables import leases as leases_table
from stores.state.work_requests import take_request

_KEPT_BY_FORGET = (claims, leases_table, stops)
"""Tables about the runs of a route, not about what they copied."""
_BEGUN = (routes, sweeps)
"""Tables that say that the route's target may hold records of an earlier run."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far a partition has come."""

    partition: Partition
    position: bytes | None
    done: bool
    tally: Tally


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far the partitions of a route have come, all together."""

    partitions: int
    done: int
    """Partitions that are copied to their end."""
    read: int
    """Documents."""


@dataclass(frozen=True, slots=True)
class RouteState:
    """What is on record of a route."""

    fingerprint: Mapping[str, Any]
    source_identity: str
    target_identity: str
    started: float
    backfill_s: float
    outcome: Mapping[str, Any] | None


class Partitions:
    """The routes of a plan and their partitions."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def route(self, route: str) -> RouteState | None:
        """Return what is on record of a route, None before its first run."""
        with self._database.reading() as db:
            row = db.execute(sa.select(routes).where(self._database.where(routes, route))).one_or_none()
        if row is None:
            return None
        return RouteState(
            json.loads(row.fingerprint),
            row.source_identity,
            row.target_identity,
            row.started,
            row.backfill_s,
            json.loads(row.outcome) if row.outcome else None,
        )

    def begin(
        self,
        lease: Lease,
        fingerprint: Mapping[str, Any],
        source_identity: str,
        target_identity: str,
        parts: Sequence[Partition],
    ) -> None:
        """The route is on record with its partitions, all or nothing; a resumed run never splits again.

        Raises LeaseLost if another run has taken the route over.
        """
        key = self._database.key(lease.route)
        with self._leases.fenced(lease) as db:
            db.execute(
                sa.insert(routes).values(
                    **key,
                    fingerprint=json.dumps(fingerprint, sort_keys=True),
                    source_identity=source_identity,
                    target_identity=target_identity,
                    started=time.time(),
                )
            )
            rows = [key | {"number": part.number, "lower": part.lower, "upper": part.upper} for part in parts]
            db.execute(sa.insert(partitions), rows)

    def record_fingerprint(self, lease: Lease, fingerprint: Mapping[str, Any]) -> None:
        """The route is on record as begun under this fingerprint; raises LeaseLost if another run has taken it over."""
        with self._leases.fenced(lease) as db:
            db.execute(
                sa.update(routes)
                .where(self._database.where(routes, lease.route))
                .values(fingerprint=json.dumps(fingerprint, sort_keys=True))
            )

    def forget(self, lease: Lease) -> None:
        """Nothing is on record of the route but its lease and its stop: the next run begins anew.

        If the route had begun, a sweep of its target is due once the new copy is there. Raises LeaseLost if another run
        has taken the route over.
        """
        where = self._database.where
        with self._leases.fenced(lease) as db:
            begun = any(db.execute(sa.select(table).where(where(table, lease.route))).first() for table in _BEGUN)
            for table in metadata.tables.values():
                if "route" in table.c and table not in _KEPT_BY_FORGET:
                    db.execute(sa.delete(table).where(where(table, lease.route)))
            if begun:
                self._database.upsert(db, sweeps, [self._database.key(lease.route)], {})

    def of_route(self, route: str) -> list[PartitionState]:
        """Return the route's partitions in order of number.

        There may be thousands: whoever works on one of them asks for that one.
        """
        where = self._database.where(partitions, route)
        with self._database.reading() as db:
            return [_state(row) for row in db.execute(sa.select(partitions).where(where).order_by(partitions.c.number))]

    def one(self, route: str, number: int) -> PartitionState | None:
        """Return the route's partition of this number, None where there is none."""
        where = sa.and_(self._database.where(partitions, route), partitions.c.number == number)
        with self._database.reading() as db:
            row = db.execute(sa.select(partitions).where(where)).one_or_none()
        return None if row is None else _state(row)

    def unfinished(self, route: str) -> set[int]:
        """Return the numbers of the route's partitions that are not copied to their end."""
        where = sa.and_(self._database.where(partitions, route), ~partitions.c.done)
        with self._database.reading() as db:
            return set(db.execute(sa.select(partitions.c.number).where(where)).scalars())

    def progress(self, route: str) -> CopyProgress:
        """Return how far the route's partitions have come, all together."""
        query = sa.select(partitions.c.done, partitions.c.tally).where(self._database.where(partitions, route))
        with self._database.reading() as db:
            rows = db.execute(query).all()
        # Of a tally only this is needed; to make the whole of thousands takes a tenth of a second.
        read = sum(json.loads(row.tally).get("read", 0) for row in rows)
        return CopyProgress(len(rows), sum(row.done for row in rows), read)

    def checkpoint(
        self,
        lease: Lease,
        number: int,
        position: bytes | None,
        tally: Tally,
        rejects: Sequence[Reject] = (),
        *,
        done: bool = False,
        documents: bool = False,
    ) -> None:
        """The partition is copied up to `position`, with its batch's counts and rejects: all of it or nothing (R131).

        Call only when every record up to `position` is acknowledged; None leaves the position as it was. With
        `documents` the rejected documents are kept. Raises LeaseLost, leaving everything as it was, if another run has
        taken the route over.
        """
        where = sa.and_(self._database.where(partitions, lease.route), partitions.c.number == number)
        with self._leases.fenced(lease) as db:
            known = db.execute(sa.select(partitions.c.tally).where(where).with_for_update()).scalar_one()
            total = Tally.from_json(known)
            total.add(tally)
            values: dict[str, Any] = {"tally": total.to_json(), "done": done}
            if position is not None:
                values["position"] = position
            db.execute(sa.update(partitions).where(where).values(**values))
            record_rejects(self._database, db, lease.route, rejects, documents=documents)

    def split(self, lease: Lease, number: int, at: bytes) -> Partition | None:
        """The partition ends before `at` and a new one begins there, all or nothing; returns the rest of the first.

        Returns None, and changes nothing, if no partition is asked for any more. Call only as the worker that copies
        the partition, while nothing at or past `at` was read: the new partition counts those documents. Raises
        LeaseLost if another run has taken the route over.
        """
        here = self._database.where(partitions, lease.route)
        where = sa.and_(here, partitions.c.number == number)
        with self._leases.fenced(lease) as db:
            if not take_request(db, lease):
                return None
            # The request is a row of the route: whoever splits another partition waits for this transaction.
            row = db.execute(sa.select(partitions).where(where).with_for_update()).one()
            last = db.execute(sa.select(sa.func.max(partitions.c.number)).where(here)).scalar_one()
            new = {"number": last + 1, "lower": at, "upper": row.upper}
            db.execute(sa.insert(partitions).values(**self._database.key(lease.route), **new))
            db.execute(sa.update(partitions).where(where).values(upper=at))
        return Partition(number, row.lower, at)

    def record_outcome(self, lease: Lease, seconds: float, outcome: Mapping[str, Any] | None) -> None:
        """The seconds spent copying are added, and an outcome takes the place of the last one.

        Raises LeaseLost if another run has taken the route over.
        """
        values: dict[str, Any] = {"backfill_s": routes.c.backfill_s + seconds}
        if outcome is not None:
            values["outcome"] = json.dumps(outcome)
        with self._leases.fenced(lease) as db:
            db.execute(sa.update(routes).where(self._database.where(routes, lease.route)).values(**values))


def _state(row: sa.Row[Any]) -> PartitionState:
    return PartitionState(
        Partition(row.number, row.lower, row.upper), row.position, row.done, Tally.from_json(row.tally)
    )
