"""What a target was given for a route: the design of the route's place, and what it remembers of loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import designs, loads


class Designs:
    """The designs and load states of a plan's routes."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def get(self, route: str, fingerprint: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """Return the design of the route's place; None where it has none, or none made for this fingerprint."""
        where = self._database.where(designs, route)
        if fingerprint is not None:
            where = sa.and_(where, designs.c.fingerprint == json.dumps(fingerprint, sort_keys=True))
        with self._database.reading() as db:
            text = db.execute(sa.select(designs.c.design).where(where)).scalar_one_or_none()
        return None if text is None else json.loads(text)

    def save(self, lease: Lease, fingerprint: Mapping[str, Any], design: Mapping[str, Any] | None) -> None:
        """The route's design is on record, or that it has none: resuming and verifying follow it.

        Raises LeaseLost if another run has taken the route over.
        """
        row = {**self._database.key(lease.route), "fingerprint": json.dumps(fingerprint, sort_keys=True)}
        with self._leases.fenced(lease) as db:
            if design is None:
                db.execute(sa.delete(designs).where(self._database.where(designs, lease.route)))
            else:
                self._database.upsert(db, designs, [row | {"design": json.dumps(design)}])

    def load_state(self, route: str) -> Mapping[str, Any]:
        """Return what a target remembers of the load of a route, nothing before it was begun."""
        with self._database.reading() as db:
            query = sa.select(loads.c.memory).where(self._database.where(loads, route))
            text = db.execute(query).scalar_one_or_none()
        memory: Mapping[str, Any] = {} if text is None else json.loads(text)
        return memory

    def save_load_state(self, lease: Lease, memory: Mapping[str, Any]) -> None:
        """What a target remembers of the route's load is on record; raises LeaseLost if the route was taken over."""
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, loads, [self._database.key(lease.route) | {"memory": json.dumps(memory)}])
