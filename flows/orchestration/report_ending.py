"""How a flow run ends that makes a report: the report in its folder, and what Prefect is shown of it."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger

from flows.orchestration.artifacts import show, show_sync
from flows.orchestration.ending import Ending
from flows.orchestration.summary import findings, headline
from flows.reporting.files import write
from flows.reporting.model import Report


def end_with_report(report: Report, folder: Path | None, *, lag_minutes: float | None = None) -> Ending[Report]:
    """The report is in the folder and its summary in Prefect; returns the ending, clean where a command exits with 0.

    A report with `lag_minutes` is of a sync: a route further behind than that is shown as lagging. A folder that cannot
    be written to is said in the log and in the message: the report is in the state too.
    """
    log = get_run_logger()
    message = headline(report)
    files: list[Path] = []
    if folder is not None:
        try:
            files = write(report, folder)
        except OSError as error:
            message += f"; the report was not written: {error.strerror}"
    for route in report.routes:
        for finding in findings(route):
            log.warning("%s: %s", route.route, finding)
    if files:
        log.info("report: %s", ", ".join(str(path.absolute()) for path in files))
    if lag_minutes is None:
        show(report, files)
    else:
        show_sync(report, 60 * lag_minutes)
    return Ending(report, message, is_clean=report.exit_code == 0)
