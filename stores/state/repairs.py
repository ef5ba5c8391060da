"""What reject retry and repair did to a target after its backfill, action by action (R155)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import PASS_TABLES, repairs, routes
from stores.state.verification import address_bytes, address_text


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done to a target after its backfill."""

    command: str
    """retry or repair."""
    done: str
    """copied, deleted, gone (from the source), rejected (the document has no record) or left (it is wrong still)."""
    kind: str = ""
    """What the verification had found, of a repair: missing, differs or extra; "" of a retry."""
    address: str = ""
    """Where it was done, of a repair; "" of a retry."""
    id: str = ""
    """The typed text of the document's `_id`, where it is known."""
    at: float = 0.0
    """When, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class ActionCount:
    """Of how many documents, or addresses, of a route a thing was the last that a command did to them."""

    command: str
    done: str
    kind: str
    count: int
    last: float
    """When it was done for the last time, in seconds since 1970."""


class Repairs:
    """What was done to each route of one plan since its backfill.

    A method that takes a lease raises LeaseLost, and writes nothing, if another run has taken the route over.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def begin(self, lease: Lease) -> None:
        """The route has no verdict and no pass under way, and is marked as copied again (R156).

        Call before the first write, so that a command that is killed leaves no verdict behind.
        """
        with self._leases.fenced(lease) as db:
            for table in PASS_TABLES:
                db.execute(sa.delete(table).where(self._database.where(table, lease.route)))
            here = self._database.where(routes, lease.route)
            db.execute(sa.update(routes).where(here).values(recopied=True, outcome=None))

    def record(self, lease: Lease, actions: Sequence[Action]) -> None:
        """These actions are on record."""
        if not actions:
            return
        now = time.time()
        here = self._database.where(repairs, lease.route)
        with self._leases.fenced(lease) as db:
            # Whoever else records something of the route waits here, so that no number is given twice.
            db.execute(sa.select(routes.c.started).where(self._database.where(routes, lease.route)).with_for_update())
            last = db.execute(sa.select(sa.func.max(repairs.c.number)).where(here)).scalar_one() or 0
            rows = [
                {
                    **self._database.key(lease.route),
                    "number": number,
                    "command": action.command,
                    "done": action.done,
                    "kind": action.kind,
                    "address": address_bytes(action.address),
                    "id": action.id,
                    "at": now,
                }
                for number, action in enumerate(actions, last + 1)
            ]
            db.execute(sa.insert(repairs), rows)

    def recopied(self, route: str) -> bool:
        """Return whether retry or repair has copied documents of the route since its backfill began."""
        with self._database.reading() as db:
            query = sa.select(routes.c.recopied).where(self._database.where(routes, route))
            return bool(db.execute(query).scalar_one_or_none())

    def actions(self, route: str) -> Iterator[Action]:
        """Yield the actions on the route in order of time."""
        query = sa.select(repairs).where(self._database.where(repairs, route)).order_by(repairs.c.number)
        with self._database.reading() as db:
            for row in db.execute(query):
                yield Action(row.command, row.done, row.kind, address_text(row.address), row.id, row.at)

    def counts(self, route: str) -> list[ActionCount]:
        """Return to how many documents or addresses each thing was done last, by each command by itself.

        A document that was retried three times counts once, as what became of it in the end.
        """
        here = self._database.where(repairs, route)
        last = sa.select(sa.func.max(repairs.c.number)).where(here)
        last = last.group_by(repairs.c.command, repairs.c.id, repairs.c.address)
        group = (repairs.c.command, repairs.c.done, repairs.c.kind)
        query = (
            sa.select(*group, sa.func.count(), sa.func.max(repairs.c.at))
            .where(here, repairs.c.number.in_(last))
            .group_by(*group)
            .order_by(*group)
        )
        with self._database.reading() as db:
            return [ActionCount(*row) for row in db.execute(query).tuples()]
