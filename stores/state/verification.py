"""The room of a state for verification: how far a pass has come, and what the last ones found."""

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
"""What is kept of one pass over a route, each with its address; beyond it is only counted."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass over one route that has begun and not ended."""

    id: str
    began: float
    """When, in seconds since 1970."""
    resumed: int
    """How often it was gone on with."""


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
    """So many bytes of its log count; what follows them was noted after the checkpoint."""


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """One address at which a pass found the target wrong."""

    kind: str
    """missing, differs, extra or collides; unsettled or inconclusive where nothing is proven."""
    address: str
    position: bytes | None = None
    """BSON ``{"_id": id}`` of the source's document; None where nobody expects the address."""
    id: str = ""
    """The typed text of that `_id`."""
    pass_id: str = ""


class Verification:
    """The passes and findings of every route of one plan; safe to share between threads."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    # --- passes -------------------------------------------------------------------------------------------------------

    def resume(self, lease: Lease, scope: Mapping[str, Any]) -> Pass | None:
        """Return the pass under way that is about the same, counted as gone on with; None if there is none."""
        where = sa.and_(self._database.where(passes, lease.route), passes.c.scope == _json(scope))
        with self._leases.fenced(lease) as db:
            if not db.execute(sa.update(passes).where(where).values(resumed=passes.c.resumed + 1)).rowcount:
                return None
        return self.under_way(lease.route)

    def begin(self, lease: Lease, scope: Mapping[str, Any], shares: int, partitions: Sequence[Partition]) -> Pass:
        """A new pass is on record with its parts, in place of any other: shares of the listing, then partitions."""
        begun = Pass(uuid4().hex, time.time(), 0)
        rows: list[dict[str, Any]] = [
            {"number": number, "stage": "list", "lower": None, "upper": None} for number in range(shares)
        ]
        rows += [
            {"number": shares + at, "stage": "compare", "lower": part.lower, "upper": part.upper}
            for at, part in enumerate(partitions)
        ]
        with self._leases.fenced(lease) as db:
            self._end(db, lease.route)
            key = self._database.key(lease.route)
            db.execute(sa.insert(passes).values(**key, id=begun.id, began=begun.began, scope=_json(scope)))
            db.execute(sa.insert(pass_parts), [key | row for row in rows])
        return begun

    def under_way(self, route: str) -> Pass | None:
        """Return the pass of a route that has begun and not ended."""
        with self._database.reading() as db:
            row = db.execute(sa.select(passes).where(self._database.where(passes, route))).one_or_none()
        return None if row is None else Pass(row.id, row.began, row.resumed)

    def parts(self, route: str) -> list[PassPart]:
        """Return the parts of the route's pass in order."""
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
        """The part stands at `position`, with all it has seen so far and so many bytes of its log.

        Call only when those bytes are on disk. Raises LeaseLost, leaving everything as it was, if another run has
        taken the route over.
        """
        where = sa.and_(self._database.where(pass_parts, lease.route), pass_parts.c.number == number)
        values = {"position": position, "tally": tally.to_json(), "size": size, "done": done}
        with self._leases.fenced(lease) as db:
            db.execute(sa.update(pass_parts).where(where).values(**values))

    def abandon(self, lease: Lease) -> None:
        """No pass of the route is under way and no verdict stands: its target is about to be written to (R156)."""
        with self._leases.fenced(lease) as db:
            self._end(db, lease.route)
            db.execute(sa.update(routes).where(self._database.where(routes, lease.route)).values(outcome=None))

    # --- findings -----------------------------------------------------------------------------------------------------

    def end(self, lease: Lease, pass_id: str, found: Sequence[StoredFinding], *, whole: bool = True) -> None:
        """The route's findings are these, and its pass has ended; all of it or nothing.

        A pass that did not look at everything (not `whole`) adds to what is known.
        """
        rows = [
            {
                **self._database.key(lease.route),
                "kind": one.kind,
                "address": address_bytes(one.address),
                "position": one.position,
                "id": one.id,
                "pass": pass_id,
            }
            for one in found[:MOST_FINDINGS]
        ]
        with self._leases.fenced(lease) as db:
            if whole:
                db.execute(sa.delete(findings).where(self._database.where(findings, lease.route)))
            if rows:
                db.execute(sa.insert(findings).prefix_with("OR REPLACE"), rows)
            if whole:
                self._end(db, lease.route)

    def findings(self, route: str, kinds: Sequence[str] = ()) -> Iterator[StoredFinding]:
        """Yield what the last verification of the route found, of these kinds or of all, in order of address."""
        query = sa.select(findings).where(self._database.where(findings, route))
        if kinds:
            query = query.where(findings.c.kind.in_(kinds))
        with self._database.reading() as db:
            for row in db.execute(query.order_by(findings.c.address, findings.c.kind)):
                yield StoredFinding(row.kind, address_text(row.address), row.position, row.id, row._mapping["pass"])

    def remove_findings(self, lease: Lease, addresses: Sequence[str]) -> None:
        """Nothing is found at these addresses any more, as whoever repaired them has verified."""
        with self._leases.fenced(lease) as db:
            for address in addresses:
                where = self._database.where(findings, lease.route)
                db.execute(sa.delete(findings).where(where, findings.c.address == address_bytes(address)))

    def _end(self, db: sa.Connection, route: str) -> None:
        for table in (passes, pass_parts):
            db.execute(sa.delete(table).where(self._database.where(table, route)))


def folder(state_url: str, plan: str, route: str) -> Path:
    """Return where the logs of a route's passes lie: beside the state, so that they last as long as it does."""
    file = Path(make_url(state_url).database or "")
    name = blake2b(f"{plan}\0{route}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return file.with_name(f"{file.name}.verification") / name


def _json(scope: Mapping[str, Any]) -> str:
    return json.dumps(scope, sort_keys=True)


def address_bytes(address: str) -> bytes:
    """Return the address as bytes: a store's own keys may be any, and none must stop a pass."""
    try:
        return address.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return address.encode("utf-8", "surrogatepass")


def address_text(address: bytes) -> str:
    """Return the address that `address_bytes` encoded."""
    return address.decode("utf-8", "surrogateescape")
