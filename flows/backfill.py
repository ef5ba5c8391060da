"""The backfill of a plan as a Prefect flow, for deployments (entrypoint ``flows.backfill.backfill``) and --prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.orchestration.artifacts import copying_shown, verifying_shown
from flows.orchestration.ending import Ending, call_flow, end_flow
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.orchestration.report_ending import end_with_report
from flows.orchestration.tasks import prefect_workers
from flows.orchestration.waiting import wait_for_routes
from flows.plan.load import load
from flows.reporting.files import Folder, default_folder, named_folder, refuse_unwritable
from flows.reporting.model import Report
from flows.run.backfill import backfill as run_backfill
from flows.run.workers import Run
from flows.verifier.job import Level, VerifyOptions
from stores.contract.stop import Stop


@flow(name="offramp backfill", flow_run_name=name_run, persist_result=False, log_prints=False)
def backfill(
    plan: str,
    routes: list[str] | None = None,
    verify: Literal["none", "counts", "sample", "full"] = "full",
    restart: bool = False,
    report: str | None = None,
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 0,
    show_values: bool = False,
) -> State[Any]:
    """Copy the collections of a plan, from the last checkpoint on, then verify and report.

    The flow run fails unless the verdict is clean. Runs of the same routes exclude each other, whoever starts them.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        verify: How to compare the targets afterwards: none, counts, sample, or full (every document, both directions).
        restart: Start these routes over: forget their checkpoints, copy everything again, and delete what no document
            maps to any more.
        report: Folder for report.json, .md and .html, or s3://bucket/prefix; .offramp/reports/<plan> beside the plan
            unless given.
        wait_minutes: Wait up to so long for another run at work on these routes, such as a sync, before failing.
        show_values: Show the differing values in samples; they may be personal data.
    """

    def work(stop: Stop) -> Ending[Report]:
        source = find_plan(plan)
        loaded = open_plan(source)
        folder = named_folder(report) if report else default_folder(loaded)
        refuse_unwritable(folder)
        chosen = loaded.chosen(routes or ())
        options = VerifyOptions(verify, show_values=show_values)
        with (
            prefect_workers(loaded, source, stop) as workers,
            copying_shown(loaded, chosen),
            verifying_shown(loaded, chosen),
        ):
            made = wait_for_routes(
                lambda: run_backfill(Run(loaded, chosen, workers, stop), options, restart=restart), wait_minutes
            )
        return end_with_report(made, folder)

    return end_flow(work)


def run(
    plan_path: Path,
    routes: Sequence[str],
    level: Level,
    *,
    restart: bool = False,
    folder: Folder | None = None,
    show_values: bool = False,
) -> Report:
    """The flow has run here and Prefect has its record; returns the report, clean or not.

    An OfframpError, such as a plan at fault, propagates as itself.
    """
    load(plan_path).chosen(routes)  # Before a temporary server is started only to hear that the plan is wrong.
    made: Report = call_flow(
        backfill,
        plan=str(plan_path),
        routes=list(routes),
        verify=level,
        restart=restart,
        report=str(folder) if folder else None,
        show_values=show_values,
    )
    return made
