"""The runs of a plan: when each began, and the report it ended with; they outlive `--restart`."""

from __future__ import annotations

import datetime as dt
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
    owner: str | None = None
    """The owner of its leases; None where an earlier release began it."""

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

    def begin(self, command: str, owner: str) -> str:
        """The run is on record as one that has begun; returns when it did, by the database's clock, which names it.

        It is later than every run before it. `owner` is that of the run's leases. Of more than 50 runs the oldest are
        forgotten.
        """
        with self._database.writing() as db:
            latest = db.execute(sa.select(sa.func.max(runs.c.began)).where(self._here)).scalar_one_or_none()
            began = _after(latest, dt.datetime.fromtimestamp(self._database.now(db), dt.UTC))
            new = {"plan": self._database.plan, "began": began, "command": command, "report": None, "owner": owner}
            self._database.upsert(db, runs, [new])
            query = sa.select(runs.c.began).where(self._here).order_by(runs.c.began.desc())
            old = db.execute(query.offset(MOST_RUNS)).scalars().all()
            if old:
                db.execute(sa.delete(runs).where(self._here, runs.c.began.in_(old)))
        return began

    def end(self, began: str, report: bytes) -> None:
        """The run has ended with this report.json."""
        with self._database.writing() as db:
            db.execute(sa.update(runs).where(self._here, runs.c.began == began).values(report=report))

    def latest_first(self) -> list[StoredRun]:
        """Return the runs, the latest first."""
        query = sa.select(runs).where(self._here).order_by(runs.c.began.desc())
        with self._database.reading() as db:
            return [StoredRun(row.command, row.began, row.report, row.owner) for row in db.execute(query)]


def _after(latest: str | None, now: dt.datetime) -> str:
    """Return the time as a run's name: now, or the next microsecond after the latest run, if that is later.

    A state may come from a machine whose clock was ahead.
    """
    began = now.isoformat(timespec="microseconds")
    if latest is None or latest < began:
        return began
    return (dt.datetime.fromisoformat(latest) + dt.timedelta(microseconds=1)).isoformat(timespec="microseconds")
