"""How far the verification pass of each route has come, and what the last passes found."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import findings, pass_parts, passes, routes

MOST_FINDINGS = 100_000
"""Findings of one pass over a route that are on record; any beyond are only counted."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass over one route that has begun and not ended."""

    id: str
    began: float
    """When it began, in seconds since 1970."""
    resumed: int
    """How often it was resumed."""


@dataclass(frozen=True, slots=True)
class PassPart:
    """One piece of a pass: a range of the source to compare, or a share of the target to list."""

    number: int
    stage: str
    """list or compare."""
    partition: Partition
    position: bytes | None
    done: bool
    tally: Tally
    size: int
    """The bytes of its log that belong to the checkpoint; any beyond were written after it."""


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """An address at which a pass found the target wrong."""

    kind: str
    """missing, differs, extra or collides; unsettled or inconclusive where nothing is proven."""
    address: str
    position: bytes | None = None
    """BSON ``{"_id": id}`` of the source's document; None where no document maps to the address."""
    id: str = ""
    """The typed text of that `_id`."""
    pass_id: str = ""


class Verification:
    """The passes and findings of every route of one plan; safe to share between threads.

    A method that takes a lease raises LeaseLost, and writes nothing, if another run has taken the route over.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    # --- passes -------------------------------------------------------------------------------------------------------

    def resume(self, lease: Lease, scope: Mapping[str, Any]) -> Pass | None:
        """Return the pass under way of this scope, counted as resumed once more; None if there is none."""
        where = sa.and_(self._database.where(passes, lease.route), passes.c.scope == _json(scope))
        with self._leases.fenced(lease) as db:
            if not db.execute(sa.update(passes).where(where).values(resumed=passes.c.resumed + 1)).rowcount:
                return None
        return self.under_way(lease.route)

    def begin(self, lease: Lease, scope: Mapping[str, Any], shares: int, partitions: Sequence[Partition]) -> Pass:
        """A new pass is on record in place of any other; its parts are shares of the listing, then the partitions."""
        new = Pass(uuid4().hex, time.time(), 0)
        rows: list[dict[str, Any]] = [
            {"number": number, "stage": "list", "lower": None, "upper": None} for number in range(shares)
        ]
        rows += [
            {"number": shares + at, "stage": "compare", "lower": part.lower, "upper": part.upper}
            for at, part in enumerate(partitions)
        ]
        with self._leases.fenced(lease) as db:
            self._delete_pass(db, lease.route)
            key = self._database.key(lease.route)
            db.execute(sa.insert(passes).values(**key, id=new.id, began=new.began, scope=_json(scope)))
            db.execute(sa.insert(pass_parts), [key | row for row in rows])
        return new

    def under_way(self, route: str) -> Pass | None:
        """Return the pass of a route that has begun and not ended, None if there is none."""
        with self._database.reading() as db:
            row = db.execute(sa.select(passes).where(self._database.where(passes, route))).one_or_none()
        return None if row is None else Pass(row.id, row.began, row.resumed)

    def parts(self, route: str) -> list[PassPart]:
        """Return the parts of the route's pass in order of number."""
        with self._database.reading() as db:
            rows = db.execute(
                sa.select(pass_parts).where(self._database.where(pass_parts, route)).order_by(pass_parts.c.number)
            ).all()
        return [
            PassPart(
                row.number,
                row.stage,
                Partition(row.number, row.lower, row.upper),
                row.position,
                row.done,
                Tally.from_json(row.tally),
                row.size,
            )
            for row in rows
        ]

    def checkpoint(
        self, lease: Lease, number: int, position: bytes | None, tally: Tally, size: int, *, done: bool = False
    ) -> None:
        """The part has come to `position`, with all it has counted so far and this many bytes of its log.

        Call only when those bytes are on disk.
        """
        where = sa.and_(self._database.where(pass_parts, lease.route), pass_parts.c.number == number)
        values = {"position": position, "tally": tally.to_json(), "size": size, "done": done}
        with self._leases.fenced(lease) as db:
            db.execute(sa.update(pass_parts).where(where).values(**values))

    def abandon(self, lease: Lease) -> None:
        """The route has no pass under way and no verdict: call before its target is written to (R156)."""
        with self._leases.fenced(lease) as db:
            self._delete_pass(db, lease.route)
            db.execute(sa.update(routes).where(self._database.where(routes, lease.route)).values(outcome=None))

    # --- findings -----------------------------------------------------------------------------------------------------

    def end(self, lease: Lease, pass_id: str, found: Sequence[StoredFinding], *, whole: bool = True) -> None:
        """The route's findings are these in place of the last ones, and its pass has ended: all of it or nothing.

        With `whole=False`, for a pass over a sample, the findings are added and no pass ends.
        """
        rows = [
            {
                **self._database.key(lease.route),
                "kind": finding.kind,
                "address": address_bytes(finding.address),
                "position": finding.position,
                "id": finding.id,
                "pass": pass_id,
            }
            for finding in found[:MOST_FINDINGS]
        ]
        with self._leases.fenced(lease) as db:
            if whole:
                db.execute(sa.delete(findings).where(self._database.where(findings, lease.route)))
            self._database.upsert(db, findings, rows)
            if whole:
                self._delete_pass(db, lease.route)

    def findings(self, route: str, kinds: Sequence[str] = ()) -> Iterator[StoredFinding]:
        """Yield what the last verification of the route found, of these kinds or of every kind, in order of address."""
        query = sa.select(findings).where(self._database.where(findings, route))
        if kinds:
            query = query.where(findings.c.kind.in_(kinds))
        with self._database.reading() as db:
            for row in db.execute(query.order_by(findings.c.address, findings.c.kind)):
                yield StoredFinding(row.kind, address_text(row.address), row.position, row.id, row._mapping["pass"])

    def remove_findings(self, lease: Lease, addresses: Sequence[str]) -> None:
        """No finding is on record at these addresses; call once they have been repaired and compared again."""
        with self._leases.fenced(lease) as db:
            for address in addresses:
                where = self._database.where(findings, lease.route)
                db.execute(sa.delete(findings).where(where, findings.c.address == address_bytes(address)))

    def _delete_pass(self, db: sa.Connection, route: str) -> None:
        for table in (passes, pass_parts):
            db.execute(sa.delete(table).where(self._database.where(table, route)))


def log_folder(state_url: str, plan: str, route: str) -> Path:
    """Return the folder of the logs of a route's passes: beside the state, so that they last as long as it does."""
    file = Path(make_url(state_url).database or "")
    digest = blake2b(f"{plan}\0{route}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return file.with_name(f"{file.name}.verification") / digest


def _json(scope: Mapping[str, Any]) -> str:
    return json.dumps(scope, sort_keys=True)


def address_bytes(address: str) -> bytes:
    """Return the address as bytes; never fails, as a store's own keys may be any bytes."""
    try:
        return address.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return address.encode("utf-8", "surrogatepass")


def address_text(address: bytes) -> str:
    """Return the address that `address_bytes` encoded."""
    return address.decode("utf-8", "surrogateescape")
