"""How far the verification pass of each route has come, and what the last passes found."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import (
    PASS_TABLES,
    findings,
    pass_findings,
    pass_parts,
    pass_suspects,
    pass_vectors,
    passes,
    routes,
)

_log = logging.getLogger(__name__)

_ALL = -1
"""In place of a part's number: of all parts that are done."""
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
    shape: Mapping[str, Any] = field(default_factory=dict)
    """How its addresses are sketched."""
    sums: Mapping[str, Any] | None = None
    """What came of its slices that have ended; None in the first."""
    suspects: bytes | None = None
    """The hashes of the addresses to look into; None until they are known."""


@dataclass(frozen=True, slots=True)
class PassPart:
    """One piece of a pass: a range of the source to compare, or a share of the target to list."""

    number: int
    stage: str
    """list or compare; reread or relist for a piece that looks into suspects."""
    partition: Partition
    position: bytes | None
    done: bool
    tally: Tally
    sums: Mapping[str, Any]
    """What its worker has counted up to the position."""


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


@dataclass(frozen=True, slots=True)
class Suspect:
    """The records that documents of one part expect at an address that is looked into."""

    hash: bytes
    address: str
    counts: Mapping[str, int]
    """Records by finding."""
    position: bytes = b""
    """BSON ``{"_id": id}`` of the document with the least finding, b"" where it is not known."""
    other: bytes = b""
    """The same of the last document beside the first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the worker of a part has seen."""

    sums: Mapping[str, Any] = field(default_factory=dict)
    """All it has counted, as JSON data."""
    vectors: Mapping[str, bytes] = field(default_factory=dict)
    """All addresses it has seen, sketched."""
    found: Sequence[StoredFinding] = ()
    """What it found since its last checkpoint."""
    suspects: Sequence[Suspect] = ()
    """The suspects that changed since its last checkpoint."""


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
        """Return the pass under way of this scope, counted as resumed once more; None if there is none.

        A pass of an earlier release, which kept what it saw beside the state, is none.
        """
        where = sa.and_(self._database.where(passes, lease.route), passes.c.scope == _json(scope))
        current = sa.and_(where, passes.c.shape.is_not(None))
        with self._leases.fenced(lease) as db:
            if not db.execute(sa.update(passes).where(current).values(resumed=passes.c.resumed + 1)).rowcount:
                if db.execute(sa.select(passes.c.id).where(where)).first() is not None:
                    _log.warning(
                        "%s: the verification that an earlier release began cannot be resumed, and begins anew",
                        lease.route,
                    )
                return None
        return self.under_way(lease.route)

    def begin(
        self,
        lease: Lease,
        scope: Mapping[str, Any],
        shares: int,
        partitions: Sequence[Partition],
        shape: Mapping[str, Any],
    ) -> Pass:
        """A new pass is on record in place of any other; its parts are shares of the listing, then the partitions."""
        new = Pass(uuid4().hex, time.time(), 0, shape)
        rows: list[dict[str, Any]] = [
            {"number": number, "stage": "list", "lower": None, "upper": None} for number in range(shares)
        ]
        rows += [
            {"number": shares + at, "stage": "compare", "lower": part.lower, "upper": part.upper}
            for at, part in enumerate(partitions)
        ]
        key = self._database.key(lease.route)
        with self._leases.fenced(lease) as db:
            self._delete_pass(db, lease.route)
            values = {"id": new.id, "began": new.began, "scope": _json(scope), "shape": _json(shape)}
            db.execute(sa.insert(passes).values(**key, **values))
            db.execute(sa.insert(pass_parts), [key | row for row in rows])
        return new

    def suspect(self, lease: Lease, hashes: bytes, stages: Sequence[str]) -> None:
        """The pass is to look into these addresses: it has further parts, for each of its first ones one of a stage.

        `stages` has reread, after which parts of the source are compared again, and relist, after which it lists again.
        """
        here = self._database.where(pass_parts, lease.route)
        again = {"reread": "compare", "relist": "list"}
        with self._leases.fenced(lease) as db:
            db.execute(sa.update(passes).where(self._database.where(passes, lease.route)).values(suspects=hashes))
            parts = db.execute(sa.select(pass_parts).where(here).order_by(pass_parts.c.number)).all()
            rows = [
                {"stage": stage, "lower": part.lower, "upper": part.upper}
                for stage in stages
                for part in parts
                if part.stage == again[stage]
            ]
            key = self._database.key(lease.route)
            db.execute(sa.insert(pass_parts), [key | {"number": len(parts) + at} | row for at, row in enumerate(rows)])

    def begin_anew(
        self,
        lease: Lease,
        shape: Mapping[str, Any],
        sums: Mapping[str, Any] | None = None,
        found: Sequence[StoredFinding] = (),
    ) -> None:
        """The pass lists and compares again, with another shape: all or nothing.

        `sums` and `found` are what came of the slices that have ended, None and nothing if none counts.
        """
        where = self._database.where
        with self._leases.fenced(lease) as db:
            values = {"shape": _json(shape), "sums": None if sums is None else json.dumps(sums), "suspects": None}
            db.execute(sa.update(passes).where(where(passes, lease.route)).values(**values))
            for table in (pass_vectors, pass_suspects, pass_findings):
                db.execute(sa.delete(table).where(where(table, lease.route)))
            self._keep_found(db, lease.route, _ALL, found)
            here = where(pass_parts, lease.route)
            db.execute(sa.delete(pass_parts).where(here, pass_parts.c.stage.in_(("reread", "relist"))))
            anew = {"position": None, "done": False, "tally": "{}", "sums": "{}"}
            db.execute(sa.update(pass_parts).where(here).values(**anew))

    def under_way(self, route: str) -> Pass | None:
        """Return the pass of a route that has begun and not ended, None if there is none."""
        with self._database.reading() as db:
            row = db.execute(sa.select(passes).where(self._database.where(passes, route))).one_or_none()
        if row is None:
            return None
        sums = json.loads(row.sums) if row.sums else None
        return Pass(row.id, row.began, row.resumed, json.loads(row.shape or "{}"), sums, row.suspects)

    def parts(self, route: str) -> list[PassPart]:
        """Return the parts of the route's pass in order of number.

        There may be thousands: whoever works on one of them asks for that one.
        """
        with self._database.reading() as db:
            rows = db.execute(
                sa.select(pass_parts).where(self._database.where(pass_parts, route)).order_by(pass_parts.c.number)
            ).all()
        return [_part(row) for row in rows]

    def part(self, route: str, number: int) -> PassPart | None:
        """Return the part of the route's pass with this number, None where there is none."""
        where = sa.and_(self._database.where(pass_parts, route), pass_parts.c.number == number)
        with self._database.reading() as db:
            row = db.execute(sa.select(pass_parts).where(where)).one_or_none()
        return None if row is None else _part(row)

    def numbers(self, route: str, stage: str) -> list[int]:
        """Return the numbers of the parts of the route's pass that are of this stage, in order."""
        where = sa.and_(self._database.where(pass_parts, route), pass_parts.c.stage == stage)
        with self._database.reading() as db:
            return list(db.execute(sa.select(pass_parts.c.number).where(where).order_by(pass_parts.c.number)).scalars())

    def compared(self, route: str) -> int | None:
        """Return how many documents the route's pass has compared, by its checkpoints; None without a pass."""
        here = sa.and_(self._database.where(pass_parts, route), pass_parts.c.stage == "compare")
        with self._database.reading() as db:
            tallies = db.execute(sa.select(pass_parts.c.tally).where(here)).scalars().all()
        return sum(json.loads(tally).get("read", 0) for tally in tallies) if tallies else None

    def vectors(self, route: str, number: int | None = None) -> Mapping[str, bytes]:
        """Return what the part has sketched up to its position; without a number what all parts that are done have."""
        part = _ALL if number is None else number
        with self._database.reading() as db:
            where = self._database.where(pass_vectors, route)
            rows = db.execute(sa.select(pass_vectors).where(where, pass_vectors.c.part == part)).all()
        return {row.name: row.cells for row in rows}

    def suspects(self, route: str, number: int | None = None) -> Iterator[Suspect]:
        """Yield what documents expect at the addresses that are looked into; with a number those of this part."""
        query = sa.select(pass_suspects).where(self._database.where(pass_suspects, route))
        if number is not None:
            query = query.where(pass_suspects.c.part == number)
        with self._database.reading() as db:
            for row in db.execute(query.order_by(pass_suspects.c.part)):
                counts = json.loads(row.counts)
                yield Suspect(row.hash, address_text(row.address), counts, row.position or b"", row.other or b"")

    def found(self, route: str) -> Sequence[StoredFinding]:
        """Return what the pass under way has found so far."""
        query = sa.select(pass_findings).where(self._database.where(pass_findings, route))
        with self._database.reading() as db:
            rows = db.execute(query.order_by(pass_findings.c.part, pass_findings.c.number)).all()
        return [StoredFinding(row.kind, address_text(row.address), row.position) for row in rows]

    def checkpoint(
        self,
        lease: Lease,
        number: int,
        position: bytes | None,
        tally: Tally,
        seen: Seen | None = None,
        *,
        done: bool = False,
        add: Callable[[bytes, bytes], bytes] = lambda _, added: added,
    ) -> None:
        """The part has come to `position`, with all that its worker has counted and seen so far: all or nothing.

        When it is done its vectors are added to those of the parts that are done, by `add`, and its own are forgotten.
        Raises LeaseLost for a part that is done already: another worker did it.
        """
        seen = seen or Seen()
        here = sa.and_(self._database.where(pass_parts, lease.route), pass_parts.c.number == number)
        key = self._database.key(lease.route)
        with self._leases.fenced(lease) as db:
            values = {"position": position, "tally": tally.to_json(), "sums": json.dumps(seen.sums), "done": done}
            going = sa.and_(here, pass_parts.c.done == sa.false())
            if not db.execute(sa.update(pass_parts).where(going).values(**values)).rowcount:
                raise LeaseLost(
                    "E-LEASE-LOST",
                    f"route {lease.route}: part {number} of its verification was done by another worker, or is gone;"
                    " run the same command again",
                )
            self._keep_vectors(db, lease.route, number, seen.vectors, add if done else None)
            self._keep_found(db, lease.route, number, seen.found)
            rows = [
                {
                    **key,
                    "part": number,
                    "hash": suspect.hash,
                    "address": address_bytes(suspect.address),
                    "counts": json.dumps(suspect.counts),
                    "position": suspect.position or None,
                    "other": suspect.other or None,
                }
                for suspect in seen.suspects
            ]
            self._database.upsert(db, pass_suspects, rows)

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

    def _keep_vectors(
        self,
        db: sa.Connection,
        route: str,
        number: int,
        vectors: Mapping[str, bytes],
        add: Callable[[bytes, bytes], bytes] | None,
    ) -> None:
        where = self._database.where(pass_vectors, route)
        db.execute(sa.delete(pass_vectors).where(where, pass_vectors.c.part == number))
        part = number
        if add is not None:
            part = _ALL
            # Parts that end at the same time wait for one another, or one would undo what another has added.
            db.execute(sa.select(passes.c.id).where(self._database.where(passes, route)).with_for_update())
            for row in db.execute(sa.select(pass_vectors).where(where, pass_vectors.c.part == _ALL)).all():
                if row.name in vectors:
                    vectors = {**vectors, row.name: add(row.cells, vectors[row.name])}
        key = self._database.key(route) | {"part": part}
        rows = [key | {"name": name, "cells": cells} for name, cells in vectors.items()]
        self._database.upsert(db, pass_vectors, rows)

    def _keep_found(self, db: sa.Connection, route: str, number: int, found: Sequence[StoredFinding]) -> None:
        if not found:
            return
        where = self._database.where(pass_findings, route)
        room = MOST_FINDINGS - db.execute(sa.select(sa.func.count()).where(where)).scalar_one()
        last = sa.select(sa.func.max(pass_findings.c.number)).where(where, pass_findings.c.part == number)
        first = (db.execute(last).scalar_one_or_none() or 0) + 1
        rows = [
            {
                **self._database.key(route),
                "part": number,
                "number": first + at,
                "kind": finding.kind,
                "address": address_bytes(finding.address),
                "position": finding.position,
            }
            for at, finding in enumerate(found[: max(0, room)])
        ]
        if rows:
            db.execute(sa.insert(pass_findings), rows)

    def _delete_pass(self, db: sa.Connection, route: str) -> None:
        for table in PASS_TABLES:
            db.execute(sa.delete(table).where(self._database.where(table, route)))


def former_log_folder(state_url: str, plan: str, route: str) -> Path | None:
    """Return where an earlier release kept what a pass over the route saw, beside an SQLite file; else None."""
    url = make_url(state_url)
    if not url.drivername.startswith("sqlite"):
        return None
    file = Path(url.database or "")
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


def _part(row: sa.Row[Any]) -> PassPart:
    return PassPart(
        row.number,
        row.stage,
        Partition(row.number, row.lower, row.upper),
        row.position,
        row.done,
        Tally.from_json(row.tally),
        json.loads(row.sums),
    )
