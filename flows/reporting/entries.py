"""The routes that a report shows: those of its run, and the other routes of the plan as they were last found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.reporting.model import VERDICTS, OtherRoute, Report, RouteReport


@dataclass(frozen=True, slots=True)
class Entry:
    """A route with its figures."""

    key: str
    """The place of its figures in report.json, such as routes.0."""
    row: RouteReport
    found: str = ""
    """By which run and when the figures were found, for a route that this run was not about."""


def entries(report: Report) -> list[Entry]:
    """Return every route of the plan whose verdict stands, the worst first, else in the order of the report."""
    found = [Entry(f"routes.{at}", row) for at, row in enumerate(report.routes)]
    for at, other in enumerate(report.others):
        if other.report is not None and not other.void:
            when = f"{other.finished[:19].replace('T', ' ')} UTC"
            text = f"not in this run: as {other.command or 'a run'} found it on {when}"
            found.append(Entry(f"others.{at}.report", other.report, text))
    return sorted(found, key=lambda entry: -VERDICTS.index(entry.row.verdict))


def without_verdict(report: Report) -> Sequence[OtherRoute]:
    """Return the routes of the plan of which no verdict stands."""
    return [other for other in report.others if other.report is None or other.void]
