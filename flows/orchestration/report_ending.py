"""How a flow run ends that makes a report: the report in its folder, and what Prefect is shown of it."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger

from flows.orchestration.artifacts import show, show_sync
from flows.orchestration.ending import Ending
from flows.orchestration.summary import findings, headline, skipped_routes, sync_headline
from flows.reporting.files import Folder, write
from flows.reporting.model import Report
from stores.contract.stop import STOPPED


def end_with_report(report: Report, folder: Folder | None, *, lag_minutes: float | None = None) -> Ending[Report]:
    """The report is in the folder and its summary in Prefect; returns the ending, clean where a command exits with 0.

    A report with `lag_minutes` is of a sync: a route further behind than that is shown as lagging. It is clean too
    where other runs are at work on some of its routes, which the next sync catches up. A folder that cannot be written
    to is said in the log and in the message: the report is in the state too.
    """
    log = get_run_logger()
    skipped = skipped_routes(report) if lag_minutes is not None else []
    others_clean = all(route.verdict == "clean" for route in report.routes if route.route not in skipped)
    passed = bool(skipped) and others_clean
    summary = sync_headline(report, skipped) if passed else headline(report)
    message = summary
    files: list[str] = []
    if folder is not None:
        try:
            files = write(report, folder.absolute() if isinstance(folder, Path) else folder)
        except OSError as error:
            message += f"; the report was not written: {error.strerror}"
    for route in report.routes:
        for finding in findings(route) if route.route not in skipped else ():
            log.warning("%s: %s", route.route, finding)
    if files:
        log.info("report: %s", ", ".join(files))
    if lag_minutes is None:
        show(report, files)
    else:
        show_sync(report, 60 * lag_minutes, summary, skipped)
    stopped = any(STOPPED in route.codes for route in report.routes)
    return Ending(report, message, is_clean=report.exit_code == 0 or passed, is_stopped=stopped)
