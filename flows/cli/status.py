"""`offramp status`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from flows.cli.options import JSON, PLAN
from flows.quantities import counted, seconds
from flows.terminal import echo, print_json, stdout_width


@click.command()
@PLAN
@JSON
def status(plan_path: Path, as_json: bool) -> None:
    """Show how far each route of PLAN has come, from its state alone; no store is asked."""
    from flows.plan.load import load
    from flows.reporting.columns import cell
    from flows.reporting.model import COPY_FIGURES
    from flows.reporting.text import table
    from flows.run import stages

    rows = stages.status(load(plan_path))
    if as_json:
        print_json({"routes": rows})
        return
    shown = {
        **{name: name for name in ("route", "stage", "partitions", "read", "dropped", "rejected", "records")},
        "lag_s": "behind",
        "synced_to": "synced to",
        "verdict": "verdict",
        "at_work": "run at work",
    }
    # What a sync or a repair has overtaken is no figure of what the target holds.
    known = [
        row
        | ({"stage": f"{row['stage']}: {row['step']}"} if row["step"] else {})
        | (dict.fromkeys(COPY_FIGURES) if row["figures"] == "past" else {})
        for row in rows
    ]
    cells = [{heading: cell(row[name]) for name, heading in shown.items()} for row in known]
    left = ("route", "stage", "synced to", "verdict", "run at work")
    spare = ("run at work", "synced to", "dropped", "partitions", "records")
    echo(*table(cells, left=left, width=stdout_width(), spare=spare))
    ends = {row["at_work"]: row["lease_ends_in_s"] for row in rows if row["at_work"]}
    for name, left_s in ends.items():
        echo(f"a run is at work ({name}); if it was killed, its lease ends in {seconds(left_s)}")
    for row in rows:
        if row["figures"] == "past":
            echo(f"{row['route']}: {_since(row)}; offramp verify counts what the target holds")
        if row["halted"]:
            echo(f"{row['route']}: halted: its collection {row['halted']}")
        for reject in row["rejects"]:
            where = f" {reject['field']}" if reject["field"] else ""
            echo(f"{row['route']}: {reject['id']}: {reject['stage']}: {reject['code']}{where}: {reject['reason']}")
        if row["stopped"]:
            echo(f"{row['route']}: {row['stopped']}")
        if (more := row["rejected"] - row["accepted"] - len(row["rejects"])) > 0:
            echo(f"{row['route']}: {counted(more, 'more reject')}; see offramp rejects list")
        if row["accepted"]:
            accepted = counted(row["accepted"], "reject is", "rejects are")
            echo(f"{row['route']}: {accepted} accepted; see offramp rejects list --accepted")


def _since(row: Mapping[str, Any]) -> str:
    """Return what was done to the target since its backfill."""
    sync = row["sync"]
    if sync is None:
        return "repaired since its backfill"
    from flows.reporting.wording import changes_text

    return f"synced since its backfill: {changes_text(sync['events'], sync['applied'], sync['deleted'])}"
