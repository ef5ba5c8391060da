"""`offramp report`: the last run's report again, in any form, from the state alone."""

from __future__ import annotations

from pathlib import Path

import click

from flows.cli.options import PLAN
from flows.terminal import echo, stdout_width
from stores.errors import PlanError


@click.command()
@PLAN
@click.option(
    "--format",
    "forms",
    type=click.Choice(("html", "md", "json")),
    multiple=True,
    help="Write only this form; may be repeated. [default: all three]",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go. [default: .offramp/reports/<plan> beside the plan]",
)
@click.option("--open", "opening", is_flag=True, help="Open the HTML report in a browser.")
def report(plan_path: Path, forms: tuple[str, ...], folder: Path | None, opening: bool) -> None:
    """Write the last run's report of PLAN again and list its runs, from its state alone; no store is asked."""
    from flows.connect.stores import open_state
    from flows.plan.load import load
    from flows.reporting.files import FORMS, default_folder, unwritable, write
    from flows.reporting.model import Report
    from flows.reporting.text import as_lines, history_table
    from flows.run.history import last_report, past_runs

    plan = load(plan_path)
    with open_state(plan) as state:
        kept, runs = last_report(plan, state), past_runs(plan, state)
    if kept is None:
        raise PlanError(
            "E-REPORT-NONE", f"no run of the plan {plan.name!r} has ended yet; run backfill or verify first"
        )
    found = Report.from_bytes(kept)
    with open_state(plan) as state:
        # A sync, a retry or a repair that wrote since leaves no verdict standing (R156).
        since = [
            row.route for row in found.routes if (known := state.partitions.route(row.route)) and known.outcome is None
        ]
    chosen = folder or default_folder(plan)
    try:
        written = write(
            found, chosen, [*(forms or FORMS), *(["html"] if opening and forms and "html" not in forms else [])]
        )
    except OSError as error:
        raise unwritable(chosen, error, "--out") from error
    echo(*as_lines(found, stdout_width()))
    if since:
        echo("", f"verify again; written to since this report: {', '.join(since)}")
    echo("", *history_table(runs, stdout_width()), "")
    echo(f"report: {', '.join(map(str, written))}")
    if opening:
        import webbrowser

        webbrowser.open(next(path for path in written if path.suffix == ".html").absolute().as_uri())
