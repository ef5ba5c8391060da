"""`offramp check`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from flows.cli.options import JSON, PLAN, ROUTES, print_json


@click.command()
@PLAN
@ROUTES
@JSON
def check(plan_path: Path, routes: tuple[str, ...], as_json: bool) -> None:
    """Find every fault of PLAN, its source and its targets; writes nothing."""
    from dataclasses import asdict

    from flows.connect import preflight
    from flows.plan.load import load
    from flows.replication.forecast import sync_notes
    from flows.reporting import text as report

    plan = load(plan_path)
    found = preflight.check(plan, plan.chosen(routes))
    notes = sync_notes(plan, plan.chosen(routes), {one.route: one.documents for one in found})
    found = [replace(one, notes=[*one.notes, *notes[one.route]]) for one in found]
    if as_json:
        print_json({"plan": plan.name, "routes": [asdict(one) for one in found]})
        return
    print(
        report.table(
            [
                {
                    "route": one.route,
                    "collection": one.collection,
                    "target": one.target,
                    "mapper": one.mapper,
                    "documents": f"~{one.documents}",
                }
                for one in found
            ],
            left=("route", "collection", "target", "mapper"),
        )
    )
    for one in found:
        for note in one.notes:
            print(f"{one.route}: {note}")
    print(f"\nno fault found; next: offramp backfill {plan_path}")
