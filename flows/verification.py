"""The verification of a plan as a Prefect flow (entrypoint ``flows.verification.verification``) and for --prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prefect import flow

from flows.books import Level, Report
from flows.plan import load
from flows.report import default_folder
from flows.running import Run
from flows.tasks import NotClean, concluded, prefect_workers


@flow(name="offramp verification", persist_result=False)
def verification(
    plan: str,
    routes: list[str] | None = None,
    level: Literal["counts", "full"] = "full",
    report: str | None = None,
    show_values: bool = False,
) -> Report:
    """Compare what the targets hold with what the source says now, and report; no target is written.

    The flow run fails unless the verdict is clean, and at once if a backfill is at work on one of the routes.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory.
        routes: Only these routes of the plan; all of them unless given.
        level: counts compares only how many records there are; full compares every document, in both directions.
        report: Folder for report.json, .md and .html; .offramp/reports/<plan> beside the plan unless given.
        show_values: Show values in samples of differences; they may be personal data.
    """
    loaded = load(Path(plan))
    chosen = loaded.chosen(routes or ())
    with prefect_workers(loaded) as workers:
        found = Run(loaded, chosen, workers, show_values=show_values).verification(level)
    return concluded(found, Path(report) if report else default_folder(loaded))


def run(
    plan_path: Path, routes: Sequence[str], level: Level, *, folder: Path | None = None, show_values: bool = False
) -> Report:
    """The flow has run here and Prefect has its record; returns the report, clean or not.

    An OfframpError, such as a plan at fault, propagates as itself; raises ValueError for the level none.
    """
    if level == "none":
        raise ValueError("level is none, which verifies nothing; give counts or full")
    load(plan_path).chosen(routes)  # Before a temporary server is started only to hear that the plan is wrong.
    try:
        return verification(
            plan=str(plan_path),
            routes=list(routes),
            level=level,
            report=str(folder) if folder else None,
            show_values=show_values,
        )
    except NotClean as unclean:
        return unclean.report
