"""Documents that a request may have changed in the target after the lease of its run was over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import late_writes
from stores.throttling.batches import cut

_AT_ONCE = 500


class LateWrite(NamedTuple):
    """A document whose records may be older than what its route's present run wrote."""

    number: int
    """Names the entry; a later entry of the same document has another."""
    position: bytes
    """BSON ``{"_id": id}``."""


class LateWrites:
    """The late writes of a plan's routes, until their documents are copied again."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is removed from it."""
        self._database = database
        self._leases = leases

    def note(self, route: str, positions: Sequence[bytes]) -> None:
        """These documents are on record. No lease is needed: the run that calls has lost its own."""
        if positions:
            key = self._database.key(route)
            with self._database.writing() as db:
                db.execute(sa.insert(late_writes), [{**key, "position": position} for position in positions])

    def of_route(self, route: str) -> list[LateWrite]:
        """Return the entries of the route, the oldest first."""
        query = sa.select(late_writes.c.number, late_writes.c.position).where(self._database.where(late_writes, route))
        with self._database.reading() as db:
            return [LateWrite(*row) for row in db.execute(query.order_by(late_writes.c.number))]

    def remove(self, lease: Lease, numbers: Sequence[int]) -> None:
        """These entries are gone; raises LeaseLost if another run has taken the route over."""
        with self._leases.fenced(lease) as db:
            for batch in cut(numbers, _AT_ONCE):
                db.execute(sa.delete(late_writes).where(late_writes.c.number.in_(batch)))
