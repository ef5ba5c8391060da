"""`offramp check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, PLAN, ROUTES, ReportFolder
from flows.cli.signals import interruptible, leave
from flows.terminal import echo, print_json, stdout_on_stderr, stdout_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.plan.model import Plan, Route
    from flows.reporting.files import Folder
    from flows.run.check import PlanCheck


@click.command()
@PLAN
@ROUTES
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=ReportFolder(),
    help="Folder of a run's report, to find its faults. [default: .offramp/reports/<plan> beside the plan]",
)
@click.option(
    "--probe",
    is_flag=True,
    help="Instead, try on the source what each kind of server can do, and print a table of it; writes nothing.",
)
@JSON
def check(plan_path: Path, routes: tuple[str, ...], folder: Folder | None, probe: bool, as_json: bool) -> None:
    """Find every fault of PLAN, its source, targets, state and report folder; writes nothing."""
    from flows import exit_codes
    from flows.plan.load import load
    from flows.reporting.files import default_folder
    from flows.run.check import check_plan
    from flows.run.check_text import as_lines
    from flows.run.console import display

    plan = load(plan_path)
    if probe:
        _probe(plan, plan.chosen(routes), as_json)
        return
    # A mapper of the user's own may print values of documents; standard output is the answer's.
    with interruptible() as stop, display(as_json) as observer, stdout_on_stderr():
        checked = check_plan(plan, plan.chosen(routes), folder or default_folder(plan), stop, observer.stepped)
    error = checked.error
    if as_json:
        print_json(_as_json(checked, error))
    else:
        echo(*as_lines(checked, stdout_width()))
        if error is None:
            echo("", f"no fault found; next: offramp backfill {plan_path}")
    if error is not None:
        first, *rest = error.lines
        echo(f"offramp: {first}", *rest, err=True)
        leave(exit_codes.of_error(error))


def _probe(plan: Plan, routes: Sequence[Route], as_json: bool) -> None:
    from flows.run import source_probe

    with interruptible():
        probed = source_probe.probe_source(plan, routes)
    if as_json:
        print_json(source_probe.as_json(probed, plan))
    else:
        echo(*source_probe.as_lines(probed, stdout_width()))


def _as_json(checked: PlanCheck, error: Exception | None) -> dict[str, object]:
    from dataclasses import asdict

    from stores.errors import OfframpError

    shown: dict[str, object] = {
        "plan": checked.plan,
        "routes": [asdict(route) for route in checked.routes],
        "source": checked.source,
        "state": checked.state,
        "report": checked.report,
        "notes": list(checked.notes),
    }
    if isinstance(error, OfframpError):
        shown["error"] = {"code": error.code, "message": error.message}
    return shown
