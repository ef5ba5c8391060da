"""`offramp report`: the report of any run again, in any form, from the state alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, PLAN, ReportFolder
from flows.quantities import counted
from flows.terminal import echo, print_json, stdout_width

if TYPE_CHECKING:
    from flows.reporting.files import Folder


@click.command()
@PLAN
@click.option(
    "--run",
    "wanted",
    metavar="RUN",
    help="The run: its number in the list of runs, 1 for the latest, or the time at which it began."
    " [default: the last run that has ended]",
)
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
    type=ReportFolder(),
    help="Where the files go: a folder, or s3://bucket/prefix. [default: .offramp/reports/<plan> beside the plan]",
)
@click.option("--open", "opening", is_flag=True, help="Open the HTML report in a browser.")
@JSON
def report(
    plan_path: Path, wanted: str | None, forms: tuple[str, ...], folder: Folder | None, opening: bool, as_json: bool
) -> None:
    """Write the report of a run of PLAN again and list the runs, from the state alone; no store is asked.

    Of PLAN only `name` and `state` are read: this may be any machine that reaches the state.
    """
    from flows.plan.load import load_state_place
    from flows.reporting.files import FORMS, default_folder, unwritable, write
    from flows.reporting.text import as_lines, history_table
    from flows.run.kept_runs import chosen_run, kept_runs, open_state_of

    place = load_state_place(plan_path)
    chosen_folder = folder or default_folder(place)
    if opening and not isinstance(chosen_folder, Path):
        raise click.UsageError("--open shows a file of this machine; remove it, or name a folder with --out")
    with open_state_of(place) as state:
        runs = kept_runs(state)
        chosen, found = chosen_run(place.name, runs, wanted)
        # A sync, a retry or a repair that wrote since leaves no verdict standing (R156).
        since = [
            row.route for row in found.routes if (known := state.partitions.route(row.route)) and known.outcome is None
        ]
    wanted_forms = [*(forms or FORMS), *(["html"] if opening and forms and "html" not in forms else [])]
    try:
        written = write(found, chosen_folder, wanted_forms)
    except OSError as error:
        raise unwritable(chosen_folder, error, "--out") from error
    if as_json:
        print_json(found.as_json())
    else:
        echo(*as_lines(found, stdout_width()))
        if since:
            echo("", f"verify again; written to since this report: {', '.join(since)}")
        echo("", *history_table([(each.past, each.verdict) for each in runs], stdout_width()), "")
        echo(*(each.note for each in runs if each.note))
        if later := [each for each in runs[: chosen.number - 1] if each.run.report is not None]:
            echo(f"this is the report of run {chosen.number}; {counted(len(later), 'later run')} ended too")
    echo(f"report: {', '.join(written)}", err=as_json)
    if opening:
        import webbrowser

        webbrowser.open(next(Path(name) for name in written if name.endswith(".html")).absolute().as_uri())
