"""`offramp repair`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows import exit_codes
from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.signals import interruptible, leave
from flows.quantities import number
from flows.terminal import echo, print_json, stdout_on_stderr, stdout_width
from stores.errors import PlanError

if TYPE_CHECKING:
    from flows.repair.repair import Repaired


@click.command()
@PLAN
@ROUTES
@click.option(
    "--only",
    "kinds",
    type=click.Choice(("missing", "differs", "extra")),
    multiple=True,
    help="Only mismatches of this kind; may be repeated. [default: missing and differs]",
)
@click.option("--delete-extras", is_flag=True, help="Also delete records that no document maps to.")
@click.option("--dry-run", is_flag=True, help="Compare the mismatches again, and write to no target.")
@click.option(
    "--all", "everything", is_flag=True, help="Repair even where so much is wrong that there must be a common cause."
)
@JSON
def repair(
    plan_path: Path,
    routes: tuple[str, ...],
    kinds: tuple[str, ...],
    delete_extras: bool,
    dry_run: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Copy again, or delete, exactly what the last verification of PLAN found wrong; then compare it again.

    Exits with 1 while a mismatch is left. The earlier verdict no longer counts: verify again.
    """
    from flows.plan.load import load
    from flows.repair.repair import is_left, wanted_kinds
    from flows.repair.repair import repair as repair_routes
    from flows.run.console import display

    try:
        wanted = wanted_kinds(kinds, delete_extras=delete_extras, dry_run=dry_run)
    except PlanError as error:
        raise click.UsageError(error.message) from None
    plan = load(plan_path)
    chosen = plan.chosen(routes)
    with interruptible() as stop, display(as_json) as observer, stdout_on_stderr():
        outcomes = repair_routes(
            *(plan, chosen, wanted), dry_run=dry_run, everything=everything, stop=stop, observer=observer
        )
    left = is_left(outcomes, wanted)
    if as_json:
        print_json({"dry_run": dry_run, "routes": [outcome.as_json() for outcome in outcomes]})
    else:
        _print_repaired(outcomes, wanted, dry_run=dry_run)
        if dry_run:
            echo("nothing was written")
        elif any(outcome.copied or outcome.deleted for outcome in outcomes):
            echo("only the addresses above were compared; for a verdict run: offramp verify")
    leave(exit_codes.of_outcomes(failed=any(outcome.failure for outcome in outcomes), left=left))


def _print_repaired(outcomes: Sequence[Repaired], wanted: Sequence[str], *, dry_run: bool) -> None:
    from flows.copying.own_records import INDISTINCT, NOT_OF_THE_ROUTE
    from flows.quantities import some_of
    from flows.reporting.columns import cell
    from flows.reporting.text import table

    rows = [
        {
            "route": outcome.route,
            **{name: cell(outcome.wrong.get(name, 0)) for name in ("missing", "differs", "extra")},
            **{name: cell(getattr(outcome, name)) for name in ("copied", "deleted")},
            "corrected": cell(outcome.corrected),
            "left": cell(sum(outcome.left.values())),
        }
        for outcome in outcomes
    ]
    echo(*table(rows, left=("route",), width=stdout_width()))
    for outcome in outcomes:
        if outcome.failure:
            echo(f"{outcome.route}: {outcome.failure}")
        for why, count in outcome.kept.items():
            named = f": {some_of(outcome.not_of_route, count)}" if why == NOT_OF_THE_ROUTE else ""
            echo(f"{outcome.route}: {number(count)} extra {'would not be' if dry_run else 'not'} deleted: {why}{named}")
        if outcome.indistinct:
            echo(f"{outcome.route}: {INDISTINCT}")
        for kind in (kind for kind in ("missing", "differs", "extra") if kind not in wanted):
            if found := outcome.found.get(kind):
                option = "--delete-extras" if kind == "extra" else f"--only {kind}"
                echo(f"{outcome.route}: found and not repaired: {number(found)} {kind}; to repair them add {option}")
        if collides := outcome.found.get("collides"):
            echo(
                f"{outcome.route}: {number(collides)} collide: two documents have the same address; correct the key in"
                " the plan"
            )
        if outcome.unrecorded:
            echo(
                f"{outcome.route}: {number(outcome.unrecorded)} more mismatches were found than the state keeps, and"
                " nothing was looked at there; verify again, then repair again"
            )
        elif not any(outcome.found.values()):
            echo(f"{outcome.route}: no mismatch is on record")
