"""What a verification found and the state does not keep: it has room for a number of findings of each route."""

from __future__ import annotations

from flows.reporting.others import read_report
from stores.state.state import State
from stores.state.verification import MOST_FINDINGS


def unrecorded(state: State, route: str) -> int:
    """Return how many findings of the route's last full verification the state did not keep.

    A repair cannot know where they are, whatever it has repaired since: only another full verification tells.
    """
    for run in state.runs.latest_first():
        report = read_report(run)
        row = next((row for row in report.routes if row.route == route), None) if report is not None else None
        if report is None or row is None:
            continue
        if row.verified == "full":
            found = (row.missing, row.differs, row.extra, row.collides)
            return max(0, sum(number or 0 for number in found) - MOST_FINDINGS)
        if report.command == "backfill" and row.swept is not None:  # It was copied anew.
            return 0
    return 0
