"""What a rescan records of each document: a hash of its bytes, and the last pass that saw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import document_hashes as hashes
from stores.throttling.batches import cut

_AT_ONCE = 500


class DocumentHashes:
    """The documents that rescans of a plan's routes have seen.

    A method that takes a lease raises LeaseLost, and writes nothing, if another run has taken the route over.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def last_pass(self, route: str) -> int:
        """Return the number of the last pass that saw a document, 0 before the first."""
        with self._database.reading() as db:
            query = sa.select(sa.func.max(hashes.c.pass_)).where(self._database.where(hashes, route))
            return db.execute(query).scalar_one() or 0

    def known(self, route: str, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return the hashes on record by id, of those ids that have one."""
        known: dict[bytes, bytes] = {}
        with self._database.reading() as db:
            for where in self._by_ids(route, ids):
                known.update(db.execute(sa.select(hashes.c.id, hashes.c.hash).where(where)).tuples().all())
        return known

    def save(self, lease: Lease, seen: Sequence[tuple[bytes, bytes]], number: int) -> None:
        """The ids have these hashes and were seen in this pass; call once their records are acknowledged."""
        if not seen:
            return
        rows = [{**self._database.key(lease.route), "id": id_, "hash": hash_, "pass_": number} for id_, hash_ in seen]
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, hashes, rows)

    def missing(self, route: str, number: int) -> Iterator[Sequence[bytes]]:
        """Yield the ids that this pass did not see, up to 500 at a time; call only at its end."""
        last, key = b"", self._database.key_of(hashes.c.id)
        while True:
            where = sa.and_(self._database.where(hashes, route), hashes.c.pass_ < number, key > last)
            with self._database.reading() as db:
                rows = db.execute(sa.select(hashes.c.id, key).where(where).order_by(key).limit(_AT_ONCE)).all()
            if not rows:
                return
            yield [bytes(row[0]) for row in rows]
            last = bytes(rows[-1][1])

    def delete(self, lease: Lease, ids: Sequence[bytes]) -> None:
        """Nothing is on record of these ids; call once all their records are deleted."""
        with self._leases.fenced(lease) as db:
            for where in self._by_ids(lease.route, ids):
                db.execute(sa.delete(hashes).where(where))

    def _by_ids(self, route: str, ids: Sequence[bytes]) -> Iterator[sa.ColumnElement[bool]]:
        """Yield conditions that pick the rows of these ids, a number of ids that SQLite takes at a time."""
        for batch in cut(ids, _AT_ONCE):
            yield sa.and_(self._database.where(hashes, route), self._database.among(hashes.c.id, batch))
