"""The routes of a plan that a run was not about: what an earlier run found of each, and whether that still stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from flows.plan.model import Plan
from flows.reporting.model import OtherRoute, Report
from stores.state.runs import StoredRun
from stores.state.state import State


def other_routes(
    plan: Plan, state: State, chosen: Collection[str], runs: Iterable[StoredRun] | None = None
) -> list[OtherRoute]:
    """Return the plan's routes that are not chosen, each as the last of the runs found it, in the plan's order.

    `runs` are the latest first, all that are on record unless given. A verdict stands until something writes to the
    route's target, or its plan changes.
    """
    wanted = [name for name in plan.routes if name not in chosen]
    found: dict[str, OtherRoute] = {}
    if runs is None:
        runs = state.runs.latest_first() if wanted else ()
    for run in runs:
        if len(found) == len(wanted):
            break
        if (report := read_report(run)) is None:
            continue
        finished = report.finished.isoformat(timespec="seconds")
        seen = [OtherRoute(row.route, row, report.command, finished) for row in report.routes]
        for other in (*seen, *(other for other in report.others if other.report is not None)):
            if other.route in wanted:
                found.setdefault(other.route, other)
    return [replace(found.get(name, OtherRoute(name)), void=_void(plan, state, name, found)) for name in wanted]


def read_report(run: StoredRun) -> Report | None:
    """Return the report of a run on record, None where there is none that this release can read."""
    try:
        return None if run.report is None else Report.from_bytes(run.report)
    except ValueError:
        return None


def _void(plan: Plan, state: State, route: str, found: Collection[str]) -> str:
    known = state.partitions.route(route)
    if known is None:
        return "not backfilled"
    if known.outcome is None:
        return "written to since its last verdict" if route in found else "never verified"
    if known.fingerprint != plan.routes[route].fingerprint():
        return "the plan has changed since"
    return "" if route in found else "its last report is not on record any more"
