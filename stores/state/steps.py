"""The step that a run takes with each route, such as its check: for a person who waits, and for nobody's decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import leases as leases_table
from stores.state.tables import steps


class Steps:
    """The steps of a plan's routes."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases of the runs that take steps."""
        self._database = database
        self._leases = leases

    def record(self, begun: Mapping[str, str], leases: Iterable[Lease]) -> None:
        """The steps that were begun, by route, are on record for those of these leases, in one transaction."""
        fences = {lease.route: lease.fence for lease in leases}
        rows = [
            self._database.key(route) | {"fence": fences[route], "step": step}
            for route, step in begun.items()
            if route in fences
        ]
        if rows:
            with self._database.writing() as db:
                self._database.upsert(db, steps, rows)

    def of_route(self, route: str) -> str:
        """Return the step that the run at work on the route has begun last, "" if no run is or it has begun none."""
        if not self._leases.holder(route):
            return ""
        same = sa.and_(steps.c.plan == leases_table.c.plan, steps.c.route == leases_table.c.route)
        current = sa.select(steps.c.step).join(leases_table, sa.and_(same, steps.c.fence == leases_table.c.fence))
        with self._database.reading() as db:
            step = db.execute(current.where(self._database.where(steps, route))).scalar_one_or_none()
        return str(step or "")
