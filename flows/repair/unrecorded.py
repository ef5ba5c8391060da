"""What a verification found and the state does not keep: it has room for a number of findings of each route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flows.reporting.others import read_report
from stores.state.state import State
from stores.state.verification import MOST_FINDINGS


def unrecorded(state: State, routes: Iterable[str]) -> Mapping[str, int]:
    """Return how many findings of each route's last full verification the state did not keep.

    A repair cannot know where they are, whatever it has repaired since: only another full verification tells.
    """
    found = dict.fromkeys(routes, 0)
    unknown = set(found)
    for run in state.runs.latest_first():
        if not unknown:
            break
        if (report := read_report(run)) is None:
            continue
        for row in report.routes:
            if row.route not in unknown:
                continue
            if row.verified == "full":
                findings = sum(number or 0 for number in (row.missing, row.differs, row.extra, row.collides))
                found[row.route] = max(0, findings - MOST_FINDINGS)
                unknown.remove(row.route)
            elif report.command == "backfill" and row.swept is not None:  # It was copied anew.
                unknown.remove(row.route)
    return found
