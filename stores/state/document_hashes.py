"""What a rescan remembers of each document: a hash of its bytes, and in which pass it was last there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stores.state.database import State
from stores.state.leases import Lease
from stores.state.tables import scans

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Scans:
    """The documents that rescans of a plan's routes have seen; what writes needs the route's lease."""

    state: State

    def last(self, route: str) -> int:
        """Return the number of the last pass that saw a document, 0 before the first."""
        with self.state.reading() as db:
            query = sa.select(sa.func.max(scans.c.pass_)).where(self.state.where(scans, route))
            return db.execute(query).scalar_one() or 0

    def known(self, route: str, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return the hashes remembered for these ids."""
        found: dict[bytes, bytes] = {}
        with self.state.reading() as db:
            for first in range(0, len(ids), _AT_ONCE):
                where = sa.and_(self.state.where(scans, route), scans.c.id.in_(ids[first : first + _AT_ONCE]))
                found.update(db.execute(sa.select(scans.c.id, scans.c.hash).where(where)).tuples().all())
        return found

    def keep(self, lease: Lease, seen: Sequence[tuple[bytes, bytes]], number: int) -> None:
        """These documents were there in this pass; call once their records are acknowledged."""
        if not seen:
            return
        rows = [{**self.state.key(lease.route), "id": at, "hash": content, "pass_": number} for at, content in seen]
        with self.state.fenced(lease) as db:
            for first in range(0, len(rows), _AT_ONCE):
                ids = [row["id"] for row in rows[first : first + _AT_ONCE]]
                db.execute(sa.delete(scans).where(self.state.where(scans, lease.route), scans.c.id.in_(ids)))
            db.execute(sa.insert(scans), rows)

    def gone(self, route: str, number: int) -> Iterator[Sequence[bytes]]:
        """Yield the ids that were not there in this pass, some at a time; call only at its end."""
        last = b""
        while True:
            where = sa.and_(self.state.where(scans, route), scans.c.pass_ < number, scans.c.id > last)
            with self.state.reading() as db:
                query = sa.select(scans.c.id).where(where).order_by(scans.c.id).limit(_AT_ONCE)
                some = [bytes(at) for at in db.execute(query).scalars()]
            if not some:
                return
            yield some
            last = some[-1]

    def drop(self, lease: Lease, ids: Sequence[bytes]) -> None:
        """Nothing is remembered of these ids; call once none of their records is held."""
        with self.state.fenced(lease) as db:
            for first in range(0, len(ids), _AT_ONCE):
                some = scans.c.id.in_(ids[first : first + _AT_ONCE])
                db.execute(sa.delete(scans).where(self.state.where(scans, lease.route), some))
