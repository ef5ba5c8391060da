"""`offramp sync`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, PLAN, ROUTES, ReportFolder
from flows.cli.running import conclude, opened_plan
from flows.cli.signals import interruptible
from flows.terminal import stdout_on_stderr

if TYPE_CHECKING:
    from flows.reporting.files import Folder


@click.command()
@PLAN
@ROUTES
@click.option("--follow", is_flag=True, help="Keep syncing until a signal stops it.")
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=ReportFolder(),
    help="Folder for report.json, report.md and report.html, or s3://bucket/prefix. [default: none is written]",
)
@JSON
def sync(plan_path: Path, routes: tuple[str, ...], follow: bool, folder: Folder | None, as_json: bool) -> None:
    """Bring the targets of PLAN up to date with its source: all changes since the backfill, with deletes.

    It ends when it has reached the time at which it began, unless --follow is given; nothing is compared. A route's
    first sync begins at the position that its backfill saved before it read the first document.
    """
    from flows.plan.load import load
    from flows.replication.sync import sync as sync_routes
    from flows.run.console import sync_display

    plan = load(plan_path) if folder is None else opened_plan(plan_path, folder)[0]
    chosen = plan.chosen(routes)
    with interruptible() as stop, sync_display(as_json) as display, stdout_on_stderr():
        report = sync_routes(plan, chosen, follow=follow, stop=stop, watching=display, observer=display)
    conclude(report, folder, as_json)
