"""The columns of a report: each one's name, heading, meaning and value, and the places that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.quantities import number, seconds
from flows.reporting.model import RouteReport

Place = Literal["terminal", "markdown", "html", "mismatches", "event", "sync", "docs"]
"""Where a column is shown: the table on the terminal, in report.md and Prefect, the routes' table of report.html, its
table of mismatches, the payload of a Prefect event, the table of a sync in Prefect, and docs/report.md."""
Value = str | int | float | None

NOT_CHECKED = "-"
"""Stands for None in a table: not checked, which is never 0."""
SPARE = ("backfill", "verify", "target", "expired", "dropped", "changes since the backfill", "read", "records")
"""The headings of the columns without which a verdict is still understood, that of the least use first."""


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a route, wherever it is shown."""

    name: str
    """The key in report.json and in an event."""
    meaning: str
    shown: frozenset[Place]
    heading: str
    value: Callable[[RouteReport], Value]
    is_text: bool
    """Whether its cells are words, which are aligned to the left."""

    def cell(self, route: RouteReport) -> str:
        """Return the value as text."""
        return cell(self.value(route))


def cell(value: object) -> str:
    """Return a value as a cell: whole numbers with spaces between thousands, others as seconds, `-` for an unknown."""
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    if isinstance(value, float):
        return seconds(value)
    return NOT_CHECKED if value in (None, "") else str(value)


def columns(place: Place) -> list[Column]:
    """Return the columns that are shown at this place, in their order."""
    return [column for column in COLUMNS if place in column.shown]


def cells(route: RouteReport, place: Place) -> dict[str, str]:
    """Return the route's row of the table at this place: each cell as text, by its heading."""
    return {column.heading: column.cell(route) for column in columns(place)}


def total_cells(routes: Sequence[RouteReport], place: Place) -> dict[str, str]:
    """Return a row of sums over the routes for the table at this place; a sum of an unknown figure is unknown.

    Times have no sum. The verdict is the number of routes that are clean.
    """
    clean = sum(route.verdict == "clean" for route in routes)
    words = {"route": "total", "verdict": f"{number(clean)} of {number(len(routes))} clean"}
    cells = {}
    for column in columns(place):
        values = [column.value(route) for route in routes]
        cells[column.heading] = words.get(column.name, "")
        if not column.is_text and not any(isinstance(value, float) for value in values):
            sum_ = total(values)
            cells[column.heading] = NOT_CHECKED if sum_ is None else number(sum_)
    return cells


def total(values: Sequence[Value]) -> int | None:
    """Return the sum of whole numbers; None if any is unknown."""
    whole = [value for value in values if isinstance(value, int)]
    return sum(whole) if len(whole) == len(values) else None


def text_headings(place: Place) -> list[str]:
    """Return the headings of the columns of words at this place."""
    return [column.heading for column in columns(place) if column.is_text]


def _column(
    name: str,
    meaning: str,
    *shown: Place,
    heading: str = "",
    value: Callable[[RouteReport], Value] | None = None,
    is_text: bool = False,
) -> Column:
    """Return a column whose value and heading are the report's field of its name unless they are given."""

    def field(route: RouteReport) -> Value:
        content: Value = route.figure(name)
        return content

    return Column(name, meaning, frozenset(shown), heading or name, value or field, is_text)


COLUMNS = (
    _column("route", "", "terminal", "markdown", "sync", is_text=True),
    _column("target", "", "terminal", "markdown", "sync", is_text=True),
    _column("documents", "the source's own count when the run ended", "terminal", "markdown", "html", "docs"),
    _column("read", "documents that the copy read", "terminal", "markdown", "html", "event", "docs"),
    _column("dropped", "documents for which the mapper returned no record, on purpose", "terminal", "markdown", "docs"),
    _column("copied", "documents that became records", "sync"),
    _column(
        "rejected",
        "documents that could not be mapped or that the target refused; `offramp rejects list PLAN` shows why",
        *("terminal", "markdown", "html", "event", "sync", "docs"),
    ),
    _column("records", "records that the target acknowledged", "terminal", "markdown", "html", "docs"),
    _column(
        "held",
        "expected addresses at which the target holds a record",
        *("terminal", "markdown", "event", "docs"),
    ),
    _column(
        "expired",
        "records whose expiry has passed and that are gone, as they should be",
        *("terminal", "markdown", "docs"),
    ),
    _column(
        "missing",
        "expected addresses at which the target holds no record",
        *("terminal", "markdown", "html", "mismatches", "event", "docs"),
    ),
    _column(
        "differs",
        "addresses whose record is not what the document maps to",
        *("terminal", "markdown", "html", "mismatches", "event", "docs"),
    ),
    _column(
        "extra",
        "records in the route's table, keys or index that no document maps to",
        *("terminal", "markdown", "html", "mismatches", "event", "docs"),
    ),
    _column(
        "collides",
        "records whose address another document's record claims too",
        *("terminal", "markdown", "html", "mismatches", "docs"),
    ),
    _column(
        "unsettled",
        "records that seemed wrong, but their document kept changing, or its change was still to be synced",
        "mismatches",
    ),
    _column("inconclusive", "records for which the target did not answer", "mismatches"),
    _column(
        "losses",
        "values that the target cannot hold exactly, by kind in report.json; the verdict is `mismatches` unless"
        " `accept_loss` names them",
        *("terminal", "markdown", "docs"),
        value=lambda route: sum(route.losses.values()),
    ),
    _column(
        "synced_to",
        "the time in the source up to which everything is in the target",
        "sync",
        heading="synced to",
        value=lambda route: route.sync.position if route.sync else None,
        is_text=True,
    ),
    _column(
        "behind_s",
        "how far the target is behind the source at the time of the report",
        *("event", "sync"),
        heading="behind",
        value=lambda route: round(route.sync.age_s, 1) if route.sync else None,
    ),
    _column(
        "window_s",
        "for how long the source keeps its changes",
        "event",
        value=lambda route: route.sync.window_s if route.sync else None,
    ),
    _column(
        "events",
        "documents that changed since the route was first copied",
        "sync",
        heading="changes since the backfill",
        value=lambda route: route.sync.events if route.sync else None,
    ),
    _column("backfill_s", "seconds spent on copying", "terminal", "markdown", heading="backfill"),
    _column("verify_s", "seconds spent on verifying", "terminal", "markdown", heading="verify"),
    _column("verdict", "", "terminal", "markdown", "event", "sync", is_text=True),
)
"""Every column, in the order in which a table shows them."""
