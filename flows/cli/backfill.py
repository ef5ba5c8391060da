"""`offramp backfill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.running import PREFECT, REPORT, VALUES, conclude, needs_prefect, opened_plan, run

if TYPE_CHECKING:
    from flows.verifier.job import Level


@click.command()
@PLAN
@ROUTES
@click.option(
    "--verify",
    "level",
    type=click.Choice(("none", "counts", "sample", "full")),
    default="full",
    show_default=True,
    help="How thoroughly to verify the targets afterwards.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Start these routes over: forget their checkpoints, copy everything again, and delete from their targets what"
    " no document maps to any more.",
)
@VALUES
@REPORT
@JSON
@PREFECT
def backfill(
    plan_path: Path,
    routes: tuple[str, ...],
    level: Level,
    restart: bool,
    show_values: bool,
    folder: Path | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Copy the collections of PLAN, from the last checkpoint on, then verify and report."""
    from flows.verifier.job import VerifyOptions

    plan, folder = opened_plan(plan_path, folder)
    if prefect or needs_prefect(plan):
        from flows import backfill as flow

        report = flow.run(plan_path, routes, level, restart=restart, folder=folder, show_values=show_values)
    else:
        from flows.run.backfill import backfill as engine

        options = VerifyOptions(level, show_values=show_values)
        report = run(plan, routes, as_json, lambda work: engine(work, options, restart=restart))
    conclude(report, folder, as_json)
