"""What the commands share that run a plan: options, the run itself, and its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from flows.cli.options import ReportFolder
from flows.cli.signals import FLOW_STOP_WITHIN_S, interruptible, leave
from flows.terminal import echo, print_json, stdout_on_stderr, stdout_width

if TYPE_CHECKING:
    from flows.plan.model import Plan
    from flows.reporting.files import Folder
    from flows.reporting.model import Report
    from flows.run.workers import Run


REPORT = click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=ReportFolder(),
    help="Where report.json, report.md and report.html go: a folder, or s3://bucket/prefix."
    " [default: .offramp/reports/<plan> beside the plan]",
)
VALUES = click.option(
    "--show-values",
    is_flag=True,
    help="Show the differing values in the samples of the report's files; they may be personal data.",
)
PREFECT = click.option(
    "--prefect", is_flag=True, help="Run as a Prefect flow; the default where PREFECT_API_URL is set."
)


def run(plan: Plan, routes: Sequence[str], quiet: bool, work: Callable[[Run], Report]) -> Report:
    """Return the report of this work on the chosen routes, with progress on standard error unless quiet."""
    from flows.run.console import display
    from flows.run.processes import local_workers
    from flows.run.workers import Run

    chosen = plan.chosen(routes)
    # A mapper of the user's own may print; standard output is the report's.
    with (
        interruptible() as stop,
        display(quiet) as observer,
        stdout_on_stderr(),
        local_workers(plan, observer, stop) as workers,
    ):
        return work(Run(plan, chosen, workers, stop, observer))


def run_flow(work: Callable[[], Report]) -> Report:
    """Return the report of a flow that runs in this process; a signal stops it at a checkpoint."""
    from flows.orchestration.ending import mark_stopped

    with interruptible(FLOW_STOP_WITHIN_S, mark_stopped), stdout_on_stderr():
        return work()


def needs_prefect(plan: Plan) -> bool:
    """Whether the plan's runs are flows without being asked: by their environment, or for workers Prefect leads to."""
    return bool(os.environ.get("PREFECT_API_URL")) or plan.run.runner in ("dask", "ray")


def opened_plan(plan_path: Path, folder: Folder | None) -> tuple[Plan, Folder]:
    """Return the plan and where the report goes, which can be written.

    Raises PlanError before any work is done if it cannot.
    """
    from flows.plan.load import load
    from flows.reporting.files import default_folder, refuse_unwritable

    plan = load(plan_path)
    chosen = folder or default_folder(plan)
    refuse_unwritable(chosen)
    return plan, chosen


def conclude(report: Report, folder: Folder | None, as_json: bool) -> NoReturn:
    """Print the report, write it to the folder if there is one, and exit with its code."""
    from flows.reporting.files import write
    from flows.reporting.text import as_lines

    if as_json:
        print_json(report.as_json())
    else:
        echo(*as_lines(report, stdout_width()))
    if folder is None:
        leave(report.exit_code)
    try:
        written = write(report, folder)
    except OSError as error:
        echo(f"offramp: the report was not written to {str(folder)!r}: {error.strerror}", err=True)
    else:
        echo(f"report: {', '.join(written)}", err=as_json)
    leave(report.exit_code)
