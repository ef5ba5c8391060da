"""The runs of a plan: when each was, and the report it ended with; they outlive `--restart`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa

from stores.state.database import State
from stores.state.tables import rejects as _rejects
from stores.state.tables import runs as _runs

KEPT = 50
"""Runs remembered of a plan."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run: what was asked for, when it began, and report.json as it was written, None where it never ended."""

    command: str
    began: str
    """ISO 8601, to the microsecond: what names the run."""
    report: bytes | None

    @property
    def digest(self) -> str:
        """The SHA-256 of its report.json, "" where there is none."""
        return sha256(self.report).hexdigest() if self.report is not None else ""


class Runs:
    """The runs of one plan in its state."""

    def __init__(self, state: State, plan: str) -> None:
        """Look at the state of the plan of this name."""
        self._state = state
        self._plan = plan

    def began(self, command: str, began: str) -> None:
        """The run is on record as one that has begun; the oldest beyond 50 are forgotten."""
        with self._state.writing() as db:
            db.execute(sa.delete(_runs).where(_runs.c.plan == self._plan, _runs.c.began == began))
            db.execute(sa.insert(_runs).values(plan=self._plan, began=began, command=command))
            query = sa.select(_runs.c.began).where(_runs.c.plan == self._plan).order_by(_runs.c.began.desc())
            old = db.execute(query.offset(KEPT)).scalars().all()
            if old:
                db.execute(sa.delete(_runs).where(_runs.c.plan == self._plan, _runs.c.began.in_(old)))

    def ended(self, began: str, report: bytes) -> None:
        """The run has ended with this report.json."""
        where = sa.and_(_runs.c.plan == self._plan, _runs.c.began == began)
        with self._state.writing() as db:
            db.execute(sa.update(_runs).where(where).values(report=report))

    def kept(self) -> list[KeptRun]:
        """Return the runs, the latest first."""
        query = sa.select(_runs).where(_runs.c.plan == self._plan).order_by(_runs.c.began.desc())
        with self._state.reading() as db:
            return [KeptRun(row.command, row.began, row.report) for row in db.execute(query)]

    def reject_codes(self, route: str) -> Mapping[str, int]:
        """Return how many rejects of the route are on record, by their code."""
        query = (
            sa.select(_rejects.c.code, sa.func.count())
            .where(self._state.where(_rejects, route))
            .group_by(_rejects.c.code)
            .order_by(_rejects.c.code)
        )
        with self._state.reading() as db:
            return dict(db.execute(query).tuples().all())
