"""What a rescan remembers of each document: a hash of its bytes, and in which pass it was last there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import document_hashes

_AT_ONCE = 500


class DocumentHashes:
    """The documents that rescans of a plan's routes have seen; what writes needs the route's lease."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def last_pass(self, route: str) -> int:
        """Return the number of the last pass that saw a document, 0 before the first."""
        with self._database.reading() as db:
            query = sa.select(sa.func.max(document_hashes.c.pass_)).where(self._database.where(document_hashes, route))
            return db.execute(query).scalar_one() or 0

    def known(self, route: str, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return the hashes remembered for these ids."""
        found: dict[bytes, bytes] = {}
        with self._database.reading() as db:
            for first in range(0, len(ids), _AT_ONCE):
                where = sa.and_(
                    self._database.where(document_hashes, route),
                    document_hashes.c.id.in_(ids[first : first + _AT_ONCE]),
                )
                found.update(
                    db.execute(sa.select(document_hashes.c.id, document_hashes.c.hash).where(where)).tuples().all()
                )
        return found

    def save(self, lease: Lease, seen: Sequence[tuple[bytes, bytes]], number: int) -> None:
        """These documents were there in this pass; call once their records are acknowledged."""
        if not seen:
            return
        rows = [{**self._database.key(lease.route), "id": at, "hash": content, "pass_": number} for at, content in seen]
        with self._leases.fenced(lease) as db:
            for first in range(0, len(rows), _AT_ONCE):
                ids = [row["id"] for row in rows[first : first + _AT_ONCE]]
                db.execute(
                    sa.delete(document_hashes).where(
                        self._database.where(document_hashes, lease.route), document_hashes.c.id.in_(ids)
                    )
                )
            db.execute(sa.insert(document_hashes), rows)

    def missing(self, route: str, number: int) -> Iterator[Sequence[bytes]]:
        """Yield the ids that were not there in this pass, some at a time; call only at its end."""
        last = b""
        while True:
            where = sa.and_(
                self._database.where(document_hashes, route),
                document_hashes.c.pass_ < number,
                document_hashes.c.id > last,
            )
            with self._database.reading() as db:
                query = sa.select(document_hashes.c.id).where(where).order_by(document_hashes.c.id).limit(_AT_ONCE)
                some = [bytes(at) for at in db.execute(query).scalars()]
            if not some:
                return
            yield some
            last = some[-1]

    def delete(self, lease: Lease, ids: Sequence[bytes]) -> None:
        """Nothing is remembered of these ids; call once none of their records is held."""
        with self._leases.fenced(lease) as db:
            for first in range(0, len(ids), _AT_ONCE):
                some = document_hashes.c.id.in_(ids[first : first + _AT_ONCE])
                db.execute(sa.delete(document_hashes).where(self._database.where(document_hashes, lease.route), some))
