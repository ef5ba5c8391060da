"""The places that runs of a plan made themselves, by the identity that the target gave; they outlive `--restart`."""

from __future__ import annotations

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import made_places


class MadePlaces:
    """The places that runs of one plan made."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard it."""
        self._database = database
        self._leases = leases

    def add(self, lease: Lease, identity: str) -> None:
        """The place is on record as made by a run of this plan; raises LeaseLost as `Leases.fenced`."""
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, made_places, [{"plan": self._database.plan, "identity": identity}], {})

    def has(self, identity: str) -> bool:
        """Return whether a run of this plan made the place."""
        with self._database.reading() as db:
            return db.execute(sa.select(made_places).where(self._is(identity))).first() is not None

    def _is(self, identity: str) -> sa.ColumnElement[bool]:
        return sa.and_(made_places.c.plan == self._database.plan, made_places.c.identity == identity)
