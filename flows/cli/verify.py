"""`offramp verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.running import PREFECT, REPORT, VALUES, conclude, needs_prefect, opened_plan, run, run_flow

if TYPE_CHECKING:
    from flows.reporting.files import Folder
    from flows.verifier.job import Level, VerifyOptions


@click.command()
@PLAN
@ROUTES
@click.option(
    "--level",
    type=click.Choice(("counts", "sample", "full")),
    default="full",
    show_default=True,
    help="counts: numbers only, per partition and type of _id; sample: random documents, and the bound that they"
    " prove;"
    " full: every document and every record, resuming where an earlier run stopped.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), help="How many documents --level sample compares. [default: 30000]"
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the bound that a sample proves.",
)
@click.option(
    "--at-most",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Compare as many as prove, if none differs, that at most this share of all documents does, such as 0.001.",
)
@click.option("--restart", is_flag=True, help="Start a full verification over in place of resuming one.")
@click.option(
    "--canary",
    is_flag=True,
    help="First plant known damage in a scratch area of each target, and check that it is found.",
)
@VALUES
@REPORT
@JSON
@PREFECT
def verify(
    plan_path: Path,
    routes: tuple[str, ...],
    level: Level,
    sample: int | None,
    confidence: float,
    at_most: float | None,
    restart: bool,
    canary: bool,
    show_values: bool,
    folder: Folder | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Compare the targets of PLAN with its source as it is now, and report; writes no record."""
    plan, folder = opened_plan(plan_path, folder)
    options = replace(
        _options(level, sample, confidence, at_most), restart=restart, canary=canary, show_values=show_values
    )
    if prefect or needs_prefect(plan):
        from flows import verification as flow

        report = run_flow(lambda: flow.run(plan_path, routes, options, folder=folder))
    else:
        from flows.run.verify import verify as engine

        report = run(plan, routes, as_json, lambda work: engine(work, options))
    conclude(report, folder, as_json)


def _options(level: Level, sample: int | None, confidence: float, at_most: float | None) -> VerifyOptions:
    from flows.verifier.job import VerifyOptions
    from flows.verifier.sample import DOCUMENTS, needed

    if sample is not None and at_most is not None:
        raise click.UsageError("found --sample and --at-most; give one of them")
    if level != "sample" and (sample is not None or at_most is not None):
        raise click.UsageError(f"{'--sample' if at_most is None else '--at-most'} needs --level sample")
    documents = sample or (needed(at_most, confidence) if at_most is not None else DOCUMENTS)
    return VerifyOptions(level, documents, confidence)
