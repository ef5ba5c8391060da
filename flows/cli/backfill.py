"""`offramp backfill`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from flows import exit_codes
from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.running import PREFECT, REPORT, VALUES, conclude, needs_prefect, opened_plan, run, run_flow
from flows.cli.signals import interruptible, leave
from flows.terminal import echo, print_json, stdout_on_stderr

if TYPE_CHECKING:
    from flows.reporting.files import Folder
    from flows.run.restart_preview import Preview
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
    " no document maps to any more and the route can have made.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="With --restart: show how much it would delete from each target, and write to no store.",
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
    dry_run: bool,
    show_values: bool,
    folder: Folder | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Copy the collections of PLAN, from the last checkpoint on, then verify and report."""
    from flows.verifier.job import VerifyOptions

    if dry_run:
        if not restart:
            raise click.UsageError("--dry-run shows what --restart would delete; add --restart, or run check")
        if prefect:
            raise click.UsageError("--dry-run is not a Prefect flow; remove --prefect")
        _show_preview(plan_path, routes, as_json)
    plan, folder = opened_plan(plan_path, folder)
    if prefect or needs_prefect(plan):
        from flows import backfill as flow

        report = run_flow(
            lambda: flow.run(plan_path, routes, level, restart=restart, folder=folder, show_values=show_values)
        )
    else:
        from flows.run.backfill import backfill as engine

        options = VerifyOptions(level, show_values=show_values)
        report = run(plan, routes, as_json, lambda work: engine(work, options, restart=restart))
    conclude(report, folder, as_json)


def _show_preview(plan_path: Path, routes: Sequence[str], as_json: bool) -> NoReturn:
    from flows.plan.load import load
    from flows.run.console import display
    from flows.run.restart_preview import preview_restart

    plan = load(plan_path)
    with interruptible() as stop, display(as_json) as observer, stdout_on_stderr():
        previews = preview_restart(plan, plan.chosen(routes), stop=stop, observer=observer)
    if as_json:
        print_json({"dry_run": True, "routes": [preview.as_json() for preview in previews]})
    else:
        for preview in previews:
            echo(*(f"{preview.route}: {line}" for line in _preview_lines(preview)))
        echo("nothing was written")
    leave(exit_codes.of_outcomes(failed=any(preview.failure for preview in previews), left=False))


def _preview_lines(preview: Preview) -> Sequence[str]:
    from flows.reporting.wording import swept_lines

    if preview.failure:
        return [preview.failure]
    if preview.is_first:
        return ["nothing would be deleted, as no run of this plan has copied it"]
    if preview.remakes:
        return ["its empty place has another key than the plan, and would be removed and made anew"]
    if preview.swept is None:
        return ["its target cannot list what it holds, so nothing would be deleted"]
    return swept_lines(preview.swept, dry_run=True)
