"""`offramp sync`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from flows.cli.options import JSON, PLAN, ROUTES, interruptible
from flows.cli.running import conclude, opened_plan


@click.command()
@PLAN
@ROUTES
@click.option("--follow", is_flag=True, help="Stay, and go on with what changes, until a signal.")
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write report.json, report.md and report.html there too.",
)
@JSON
def sync(plan_path: Path, routes: tuple[str, ...], follow: bool, folder: Path | None, as_json: bool) -> None:
    """Bring the targets of PLAN up to what its source is now: what changed since the backfill, deletes too.

    It ends once it has come to the time at which it began, unless it is to stay; nothing is compared. A route's first
    sync goes on from the position that its backfill noted before it read the first document.
    """
    from flows.plan.load import load
    from flows.replication.sync import sync as engine
    from flows.run.console import sync_display

    plan = load(plan_path) if folder is None else opened_plan(plan_path, folder)[0]
    with interruptible() as stop, sync_display(as_json) as watching, redirect_stdout(sys.stderr):
        report = engine(plan, plan.chosen(routes), follow=follow, stop=stop, watching=watching)
    conclude(report, folder, as_json)
