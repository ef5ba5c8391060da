"""`offramp check`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.signals import interruptible
from flows.terminal import echo, print_json, stdout_width


@click.command()
@PLAN
@ROUTES
@JSON
def check(plan_path: Path, routes: tuple[str, ...], as_json: bool) -> None:
    """Find every fault of PLAN, its source and its targets; writes nothing."""
    from dataclasses import asdict

    from flows.connect import preflight
    from flows.connect.field_check import unknown_field_notes
    from flows.plan.load import load
    from flows.quantities import number
    from flows.replication.forecast import sync_notes
    from flows.reporting.text import table
    from flows.run.console import display

    plan = load(plan_path)
    chosen = plan.chosen(routes)
    with interruptible() as stop, display(as_json) as observer:
        checks = preflight.check(plan, chosen, stop=stop, observer=observer.stepped)
        documents = {checked.route: checked.documents for checked in checks}
        notes = sync_notes(plan, chosen, documents, stop=stop, observer=observer.stepped)
        fields = unknown_field_notes(plan, chosen, stop=stop, observer=observer.stepped)
    checks = [
        replace(checked, notes=[*checked.notes, *notes[checked.route], *fields[checked.route]]) for checked in checks
    ]
    if as_json:
        print_json({"plan": plan.name, "routes": [asdict(checked) for checked in checks]})
        return
    echo(
        *table(
            [
                {
                    "route": checked.route,
                    "collection": checked.collection,
                    "target": checked.target,
                    "mapper": checked.mapper,
                    "documents": f"~{number(checked.documents)}",
                }
                for checked in checks
            ],
            left=("route", "collection", "target", "mapper"),
            width=stdout_width(),
        )
    )
    for checked in checks:
        for note in checked.notes:
            echo(f"{checked.route}: {note}")
    echo("", f"no fault found; next: offramp backfill {plan_path}")
