"""The room of a state for what was copied again after a backfill: by reject retry and by repair, each action (R155)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stores.state.database import State
from stores.state.leases import Lease
from stores.state.tables import mendings, pass_parts, passes, routes
from stores.state.verification import address_bytes, address_text


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done to a target after its backfill."""

    command: str
    """retry or repair."""
    done: str
    """copied, deleted, rejected (the document is no record's) or left (it could not be mended)."""
    kind: str = ""
    """Of a repair, what the verification had found: missing, differs or extra."""
    address: str = ""
    """Of a repair."""
    id: str = ""
    """The typed text of the document's `_id`, where it is known."""
    at: float = 0.0
    """When, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How often something was done to a route."""

    command: str
    done: str
    kind: str
    count: int
    last: float
    """When for the last time, in seconds since 1970."""


class Mendings:
    """What was done to each route of one plan since its backfill; what writes needs the route's lease."""

    def __init__(self, state: State) -> None:
        """Take the state whose tables they are."""
        self._state = state

    def begin(self, lease: Lease) -> None:
        """Nothing is verified of the route any more, and what copying recorded of it is history (R156).

        Called before the first write, so that whatever kills the command leaves no verdict behind.
        """
        with self._state.fenced(lease) as db:
            for table in (passes, pass_parts):
                db.execute(sa.delete(table).where(self._state.where(table, lease.route)))
            here = self._state.where(routes, lease.route)
            db.execute(sa.update(routes).where(here).values(recopied=True, outcome=None))

    def note(self, lease: Lease, actions: Sequence[Action]) -> None:
        """These actions are on record."""
        if not actions:
            return
        now = time.time()
        here = self._state.where(mendings, lease.route)
        with self._state.fenced(lease) as db:
            last = db.execute(sa.select(sa.func.max(mendings.c.number)).where(here)).scalar_one() or 0
            rows = [
                {
                    **self._state.key(lease.route),
                    "number": number,
                    "command": one.command,
                    "done": one.done,
                    "kind": one.kind,
                    "address": address_bytes(one.address),
                    "id": one.id,
                    "at": now,
                }
                for number, one in enumerate(actions, last + 1)
            ]
            db.execute(sa.insert(mendings), rows)

    def recopied(self, route: str) -> bool:
        """Whether documents of the route were copied again, by other than sync, since its backfill began."""
        with self._state.reading() as db:
            query = sa.select(routes.c.recopied).where(self._state.where(routes, route))
            return bool(db.execute(query).scalar_one_or_none())

    def actions(self, route: str) -> Iterator[Action]:
        """Yield what was done, in order."""
        query = sa.select(mendings).where(self._state.where(mendings, route)).order_by(mendings.c.number)
        with self._state.reading() as db:
            for row in db.execute(query):
                yield Action(row.command, row.done, row.kind, address_text(row.address), row.id, row.at)

    def sums(self, route: str) -> list[Sum]:
        """Return how often each thing was done."""
        what = (mendings.c.command, mendings.c.done, mendings.c.kind)
        query = (
            sa.select(*what, sa.func.count(), sa.func.max(mendings.c.at))
            .where(self._state.where(mendings, route))
            .group_by(*what)
            .order_by(*what)
        )
        with self._state.reading() as db:
            return [Sum(*row) for row in db.execute(query).tuples()]
