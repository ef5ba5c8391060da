"""What a run must remember: checkpoints, counts, rejects and leases, in one transactional database (R130)."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError

from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost, PermanentError, PlanError, TransientError
from stores.state.leases import Lease
from stores.state.owners import is_gone, owner_of_this_process
from stores.state.partitions import PartitionState, RouteState
from stores.state.rejects import Rejects, keep
from stores.state.tables import designs as _designs
from stores.state.tables import leases as _leases
from stores.state.tables import loads as _loads
from stores.state.tables import meta as _meta
from stores.state.tables import metadata as _metadata
from stores.state.tables import partitions as _partitions
from stores.state.tables import routes as _routes
from stores.state.tables import sweeps as _sweeps
from stores.state.tables import wishes as _wishes
from stores.throttling.backoff import Backoff

_SCHEMA_VERSION = "2"
_BUSY_MS = 30_000
_BEGUN = (_routes, _sweeps)
_STOP = -1
"""Stands where partitions are wished for."""


class State:
    """The state of every route of one plan; safe to share between threads."""

    def __init__(self, url: str, plan: str, lease_s: float = 60) -> None:
        """Open the database, making its file and tables where absent; raises PlanError if it cannot be used."""
        self._plan = plan
        self._lease_s = lease_s
        self._engine = _open(url)

    def close(self) -> None:
        """Release connections."""
        self._engine.dispose()

    # --- leases -------------------------------------------------------------------------------------------------------

    def acquire(self, route: str) -> Lease:
        """Return this run's lease on the route; raises TransientError E-LEASE-HELD while another run holds it.

        A lease is free when it was released, has expired, or its process on this machine is gone.
        """
        owner = owner_of_this_process()
        where = self.where(_leases, route)
        with self.writing() as db:
            held = db.execute(sa.select(_leases).where(where)).one_or_none()
            now = time.time()
            free = held is None or not held.owner or held.expires <= now or is_gone(held.owner)
            if free:  # What an earlier run wished of its workers is void.
                db.execute(sa.delete(_wishes).where(self.where(_wishes, route)))
            if held is None:
                db.execute(
                    sa.insert(_leases).values(**self.key(route), owner=owner, fence=1, expires=now + self._lease_s)
                )
                return Lease(self._plan, route, owner, 1)
            if not free:
                raise TransientError(
                    "E-LEASE-HELD",
                    f"route {route}: another run ({held.owner.partition(' ')[0]}) is at work on it; wait for it, or"
                    f" stop it and run again (its lease expires in {held.expires - now:.0f} s if it is dead)",
                )
            fence = held.fence + 1
            db.execute(sa.update(_leases).where(where).values(owner=owner, fence=fence, expires=now + self._lease_s))
            return Lease(self._plan, route, owner, fence)

    def renew(self, lease: Lease) -> None:
        """The lease lasts another full term; raises LeaseLost if another run has taken it over."""
        with self.writing() as db:
            changed = db.execute(
                sa.update(_leases).where(self._mine(lease)).values(expires=time.time() + self._lease_s)
            ).rowcount
        if not changed:
            raise self._lost(lease)

    def release(self, lease: Lease) -> None:
        """The route is free at once; nothing happens if another run has taken it over."""
        with self.writing() as db:
            db.execute(sa.update(_leases).where(self._mine(lease)).values(owner="", expires=0.0))

    def ensure(self, lease: Lease) -> None:
        """Return only while this run may write: the lease is ours and has not expired; raises LeaseLost otherwise."""
        with self.reading() as db:
            expires = db.execute(sa.select(_leases.c.expires).where(self._mine(lease))).scalar_one_or_none()
        if expires is None or expires <= time.time():
            raise self._lost(lease)

    def holder(self, route: str) -> str:
        """Return who holds the route now, "" for nobody."""
        with self.reading() as db:
            held = db.execute(sa.select(_leases).where(self.where(_leases, route))).one_or_none()
        alive = held is not None and held.owner and held.expires > time.time() and not is_gone(held.owner)
        return str(held.owner).partition(" ")[0] if held is not None and alive else ""

    def journal(self, lease: Lease, *, documents: bool = False) -> Journal:
        """Return the route's checkpoints and rejects as the run that holds this lease may write them.

        With `documents` those that are rejected are kept.
        """
        return Journal(self, lease, documents)

    # --- routes and partitions ----------------------------------------------------------------------------------------

    def route(self, route: str) -> RouteState | None:
        """Return what is remembered of a route, None before its first run."""
        with self.reading() as db:
            row = db.execute(sa.select(_routes).where(self.where(_routes, route))).one_or_none()
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
        partitions: Sequence[Partition],
    ) -> None:
        """The route's run is on record with its partitions, all or nothing; a resumed run never splits again."""
        with self.fenced(lease) as db:
            db.execute(
                sa.insert(_routes).values(
                    **self.key(lease.route),
                    fingerprint=json.dumps(fingerprint, sort_keys=True),
                    source_identity=source_identity,
                    target_identity=target_identity,
                    started=time.time(),
                )
            )
            rows = [
                self.key(lease.route) | {"number": part.number, "lower": part.lower, "upper": part.upper}
                for part in partitions
            ]
            db.execute(sa.insert(_partitions), rows)

    def forget(self, lease: Lease) -> None:
        """Nothing is remembered of the route but its lease: the next run begins anew.

        And what the route left in its target is to be swept, once what takes its place is there.
        """
        with self.fenced(lease) as db:
            begun = any(db.execute(sa.select(one).where(self.where(one, lease.route))).first() for one in _BEGUN)
            for table in _metadata.tables.values():
                if "route" in table.c and table is not _leases:
                    db.execute(sa.delete(table).where(self.where(table, lease.route)))
            if begun:
                db.execute(sa.insert(_sweeps).values(**self.key(lease.route)))

    def load(self, route: str) -> Mapping[str, Any]:
        """Return what a target remembers of the load of a route, nothing before it was begun."""
        with self.reading() as db:
            kept = db.execute(sa.select(_loads.c.memory).where(self.where(_loads, route))).scalar_one_or_none()
        memory: Mapping[str, Any] = {} if kept is None else json.loads(kept)
        return memory

    def keep_load(self, lease: Lease, memory: Mapping[str, Any]) -> None:
        """What a target remembers of the route's load is on record; raises LeaseLost if the route was taken over."""
        with self.fenced(lease) as db:
            db.execute(sa.delete(_loads).where(self.where(_loads, lease.route)))
            db.execute(sa.insert(_loads).values(**self.key(lease.route), memory=json.dumps(memory)))

    def design(self, route: str, fingerprint: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """Return the design the route's place follows; None where it has none, or none made for this fingerprint."""
        where = self.where(_designs, route)
        if fingerprint is not None:
            where = sa.and_(where, _designs.c.fingerprint == json.dumps(fingerprint, sort_keys=True))
        with self.reading() as db:
            kept = db.execute(sa.select(_designs.c.design).where(where)).scalar_one_or_none()
        return None if kept is None else json.loads(kept)

    def keep_design(self, lease: Lease, fingerprint: Mapping[str, Any], design: Mapping[str, Any] | None) -> None:
        """The route's design is on record, or that it has none: resuming and verifying follow it."""
        made_for = json.dumps(fingerprint, sort_keys=True)
        with self.fenced(lease) as db:
            db.execute(sa.delete(_designs).where(self.where(_designs, lease.route)))
            if design is not None:
                row = {**self.key(lease.route), "fingerprint": made_for, "design": json.dumps(design)}
                db.execute(sa.insert(_designs).values(**row))

    def partitions(self, route: str) -> list[PartitionState]:
        """Return the route's partitions in order."""
        with self.reading() as db:
            rows = db.execute(
                sa.select(_partitions).where(self.where(_partitions, route)).order_by(_partitions.c.number)
            ).all()
        return [
            PartitionState(
                Partition(row.number, row.lower, row.upper), row.position, row.done, Tally.from_json(row.tally)
            )
            for row in rows
        ]

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
        """The partition stands at `position`, with its batch's counts and rejects: all of it or nothing (R131).

        Call only when every record up to `position` is acknowledged; with `documents` those of the rejects are kept.
        Raises LeaseLost, leaving everything as it was,
        if another run has taken the route over.
        """
        where = sa.and_(self.where(_partitions, lease.route), _partitions.c.number == number)
        with self.fenced(lease) as db:
            kept = Tally.from_json(db.execute(sa.select(_partitions.c.tally).where(where)).scalar_one())
            kept.add(tally)
            values: dict[str, Any] = {"tally": kept.to_json(), "done": done}
            if position is not None:
                values["position"] = position
            db.execute(sa.update(_partitions).where(where).values(**values))
            keep(db, self.key(lease.route), rejects, documents=documents)

    def wish(self, lease: Lease, wanted: int) -> None:
        """So many more partitions of the route are wanted, for workers that have nothing to do."""
        where = self.where(_wishes, lease.route)
        with self.fenced(lease) as db:
            if not db.execute(sa.update(_wishes).where(where).values(wanted=wanted)).rowcount:
                db.execute(sa.insert(_wishes).values(**self.key(lease.route), wanted=wanted))

    def wished(self, route: str) -> bool:
        """Whether another partition of the route is wanted."""
        with self.reading() as db:
            wanted = db.execute(sa.select(_wishes.c.wanted).where(self.where(_wishes, route))).scalar_one_or_none()
        return wanted is not None and wanted > 0

    def stop(self, routes: Iterable[str]) -> None:
        """Workers elsewhere stop at their next checkpoint of these routes, until the next `wish`."""
        with self.writing() as db:
            for route in routes:
                db.execute(sa.delete(_wishes).where(self.where(_wishes, route)))
                db.execute(sa.insert(_wishes).values(**self.key(route), wanted=_STOP))

    def stopped(self, route: str) -> bool:
        """Whether workers of the route are to stop."""
        with self.reading() as db:
            wanted = db.execute(sa.select(_wishes.c.wanted).where(self.where(_wishes, route))).scalar_one_or_none()
        return wanted == _STOP

    def split(self, lease: Lease, number: int, at: bytes) -> Partition | None:
        """The partition ends before `at` and a new one goes on from there, all or nothing; returns what is left of it.

        None, and nothing changes, if none is wanted any more. Call only as the one who copies it, while nothing at or
        past `at` was read: what the new partition counts, nobody has counted.
        """
        where = sa.and_(self.where(_partitions, lease.route), _partitions.c.number == number)
        wishes = self.where(_wishes, lease.route)
        with self.fenced(lease) as db:
            if not db.execute(
                sa.update(_wishes).where(wishes, _wishes.c.wanted > 0).values(wanted=_wishes.c.wanted - 1)
            ).rowcount:
                return None
            row = db.execute(sa.select(_partitions).where(where)).one()
            every = sa.select(sa.func.max(_partitions.c.number)).where(self.where(_partitions, lease.route))
            new = {"number": db.execute(every).scalar_one() + 1, "lower": at, "upper": row.upper}
            db.execute(sa.insert(_partitions).values(**self.key(lease.route), **new))
            db.execute(sa.update(_partitions).where(where).values(upper=at))
        return Partition(number, row.lower, at)

    def finished(self, lease: Lease, seconds: float, outcome: Mapping[str, Any] | None) -> None:
        """The time spent copying is added and the last outcome kept, for `status`."""
        with self.fenced(lease) as db:
            values: dict[str, Any] = {"backfill_s": _routes.c.backfill_s + seconds}
            if outcome is not None:
                values["outcome"] = json.dumps(outcome)
            db.execute(sa.update(_routes).where(self.where(_routes, lease.route)).values(**values))

    def rejects(self, route: str) -> Iterator[Reject]:
        """Yield the route's rejects in order of id, those a person accepted among them; see `Rejects` for more."""
        for kept in Rejects(self).kept(route):
            yield Reject(kept.id, kept.stage, kept.code, kept.field, kept.reason)

    # --- for the rooms of a state: tables of their own, with the columns `plan` and `route` ---------------------------

    def key(self, route: str) -> dict[str, Any]:
        """Return the columns that name the route in every table."""
        return {"plan": self._plan, "route": route}

    def where(self, table: sa.Table, route: str) -> sa.ColumnElement[bool]:
        """Return what picks the route's rows of a table."""
        return sa.and_(table.c.plan == self._plan, table.c.route == route)

    def _mine(self, lease: Lease) -> sa.ColumnElement[bool]:
        return sa.and_(self.where(_leases, lease.route), _leases.c.owner == lease.owner, _leases.c.fence == lease.fence)

    def _lost(self, lease: Lease) -> LeaseLost:
        return LeaseLost(
            "E-LEASE-LOST",
            f"route {lease.route}: this run's lease (fence {lease.fence}) has expired or was taken over; it stopped"
            " writing. Run the same command again once no other run is at work",
        )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that writes, all of it or nothing."""
        with _translated(), self._engine.execution_options(writes=True).begin() as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that reads."""
        with _translated(), self._engine.connect() as db:
            yield db

    @contextmanager
    def fenced(self, lease: Lease) -> Iterator[Connection]:
        """Give a transaction that writes as the holder of the lease; raises LeaseLost if the route was taken over."""
        with self.writing() as db:
            if db.execute(sa.select(_leases.c.fence).where(self._mine(lease))).scalar_one_or_none() is None:
                raise self._lost(lease)
            yield db


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise TransientError("E-STATE-BUSY", f"the state database does not answer: {error.orig}") from error
    except DatabaseError as error:
        raise PermanentError("E-STATE-BROKEN", f"the state database cannot be used: {error.orig}") from error


def _open(url: str) -> Engine:
    path, parsed = _path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(path)
        engine = sa.create_engine(parsed)
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
        # One write transaction: of several runs that start together one makes the tables, and a file that is refused
        # stays as it was.
        with engine.execution_options(writes=True).begin() as db:
            _metadata.create_all(db)
            version = db.execute(sa.select(_meta.c.value).where(_meta.c.key == "schema")).scalar_one_or_none()
            if version is None:
                db.execute(sa.insert(_meta).values(key="schema", value=_SCHEMA_VERSION))
            elif version != _SCHEMA_VERSION:
                raise PlanError(
                    "E-STATE-VERSION",
                    f"state {str(path)!r} has format {version}; this release reads {_SCHEMA_VERSION}. Finish with the"
                    " release that began it, or give another state",
                )
    except (OSError, SQLAlchemyError) as error:
        reason = str(error) if isinstance(error, OSError) else getattr(error, "orig", None) or type(error).__name__
        raise PlanError(
            "E-STATE-OPEN", f"state {str(path)!r} cannot be used: {reason}; name a file that can be written"
        ) from error
    return engine


def _make(path: Path) -> None:
    """The file is there and nobody else's to read: ids may be personal data; SQLite's journal takes its mode (R145)."""
    # A file that is there is not opened: closing it would drop the locks this process has on it by other connections
    # (POSIX), and the next process to close the state would delete the journal they go on writing to.
    with suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if not path.is_file():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.chmod(0o600)


def _path(url: str) -> tuple[Path, URL]:
    """Return the SQLite file of a state URL; raises PlanError for any other database."""
    wanted = "write sqlite:///path/to/state.db, or sqlite:////absolute/path/to/state.db"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise PlanError("E-STATE-URL", f"state is no database URL; {wanted}") from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise PlanError("E-STATE-URL", f"state is of {parsed.drivername!r}; allowed is an SQLite file: {wanted}")
    if parsed.host or parsed.query or not parsed.database or parsed.database.startswith((":memory:", "file:")):
        raise PlanError("E-STATE-URL", f"state names no plain file; {wanted}")
    return Path(parsed.database), parsed


def _on_connect(connection: Any, _record: Any) -> None:
    # pysqlite would begin transactions late and on its own; with None, _on_begin decides.
    connection.isolation_level = None
    cursor = connection.cursor()
    # WAL with FULL: a committed checkpoint survives a power cut (R130).
    backoff = Backoff(_BUSY_MS / 1000)
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                # Of several that give a new file its journal at once SQLite refuses some, whatever the timeout.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not backoff.wait():
                    raise
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: no transaction of ours fails half-way for another's sake.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


@dataclass(frozen=True, slots=True)
class Journal:
    """`stores.contract.Journal` and `Mending` on this state, for the run that holds the lease."""

    state: State
    lease: Lease
    documents: bool = False
    """Whether rejected documents are kept: they are personal data, like as not."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise."""
        self.state.ensure(self.lease)

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        """The partition stands at `position`, with its counts and rejects: all of it or nothing."""
        self.state.checkpoint(self.lease, number, position, tally, rejects, done=done, documents=self.documents)

    def mend(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        """Of the documents with these ids exactly these rejects are on record: all of it or nothing."""
        Rejects(self.state).mend(self.lease, ids, rejects, documents=self.documents)
