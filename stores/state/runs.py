"""The runs of a plan: when each began, and the report it ended with; they outlive `--restart`."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa

from stores.state.database import Database
from stores.state.tables import runs

MOST_RUNS = 50
"""Runs of a plan that are kept."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run on record."""

    command: str
    began: str
    """ISO 8601, to the microsecond: the name of the run."""
    report: bytes | None
    """report.json as it was written; None where the run never ended."""

    @property
    def digest(self) -> str:
        """The SHA-256 of its report.json, "" where there is none."""
        return sha256(self.report).hexdigest() if self.report is not None else ""


class Runs:
    """The runs of one plan."""

    def __init__(self, database: Database) -> None:
        """Take the database; a run may have several routes, so no lease guards it."""
        self._database = database
        self._here = runs.c.plan == database.plan

    def begin(self, command: str, began: str) -> None:
        """The run is on record as one that has begun; of more than 50 runs the oldest are forgotten."""
        with self._database.writing() as db:
            new = {"plan": self._database.plan, "began": began, "command": command, "report": None}
            self._database.upsert(db, runs, [new])
            query = sa.select(runs.c.began).where(self._here).order_by(runs.c.began.desc())
            old = db.execute(query.offset(MOST_RUNS)).scalars().all()
            if old:
                db.execute(sa.delete(runs).where(self._here, runs.c.began.in_(old)))

    def end(self, began: str, report: bytes) -> None:
        """The run has ended with this report.json."""
        with self._database.writing() as db:
            db.execute(sa.update(runs).where(self._here, runs.c.began == began).values(report=report))

    def latest_first(self) -> list[StoredRun]:
        """Return the runs, the latest first."""
        query = sa.select(runs).where(self._here).order_by(runs.c.began.desc())
        with self._database.reading() as db:
            return [StoredRun(row.command, row.began, row.report) for row in db.execute(query)]
