"""The verification of a plan as a Prefect flow (entrypoint ``flows.verification.verification``) and for --prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.orchestration.artifacts import verifying_shown
from flows.orchestration.ending import Ending, call_flow, end_flow
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.orchestration.report_ending import end_with_report
from flows.orchestration.tasks import prefect_workers
from flows.orchestration.waiting import wait_for_routes
from flows.plan.load import load
from flows.reporting.files import Folder, default_folder, named_folder, refuse_unwritable
from flows.reporting.model import Report
from flows.run.verify import verify
from flows.run.workers import Run
from flows.verifier.job import Level, VerifyOptions
from flows.verifier.sample import DOCUMENTS
from stores.contract.stop import Stop


@flow(name="offramp verification", flow_run_name=name_run, persist_result=False, log_prints=False)
def verification(
    plan: str,
    routes: list[str] | None = None,
    level: Literal["counts", "sample", "full"] = "full",
    report: str | None = None,
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 0,
    sample: int = DOCUMENTS,
    confidence: float = 0.95,
    restart: bool = False,
    canary: bool = False,
    show_values: bool = False,
) -> State[Any]:
    """Compare what the targets hold with what the source says now, and report; no target is written.

    The flow run fails unless the verdict is clean, and if another run is still at work on one of the routes when
    `wait_minutes` are over.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        level: counts compares only how many records there are; sample compares documents drawn at random; full compares
            every document, in both directions, and goes on where an earlier run stopped.
        report: Folder for report.json, .md and .html, or s3://bucket/prefix; .offramp/reports/<plan> beside the plan
            unless given.
        wait_minutes: Wait up to so long for another run at work on these routes, such as a sync, before failing.
        sample: How many documents `sample` draws.
        confidence: The confidence of the bound that a sample gives.
        restart: Begin a full pass anew where one could go on.
        canary: First plant known damage in a scratch area of each target, and check that it is found.
        show_values: Show the differing values in samples; they may be personal data.
    """

    def work(stop: Stop) -> Ending[Report]:
        source = find_plan(plan)
        loaded = open_plan(source)
        folder = named_folder(report) if report else default_folder(loaded)
        refuse_unwritable(folder)
        chosen = loaded.chosen(routes or ())
        options = VerifyOptions(level, sample, confidence, restart, canary, show_values)
        with prefect_workers(loaded, source, stop) as workers, verifying_shown(loaded, chosen):
            made = wait_for_routes(lambda: verify(Run(loaded, chosen, workers, stop), options), wait_minutes)
        return end_with_report(made, folder)

    return end_flow(work)


def run(
    plan_path: Path, routes: Sequence[str], wanted: Level | VerifyOptions, *, folder: Folder | None = None
) -> Report:
    """The flow has run here and Prefect has its record; returns the report, clean or not.

    An OfframpError, such as a plan at fault, propagates as itself; raises ValueError for the level none.
    """
    options = VerifyOptions.of(wanted)
    if options.level == "none":
        raise ValueError("level is none, which verifies nothing; allowed: counts, sample, full")
    load(plan_path).chosen(routes)  # Before a temporary server is started only to hear that the plan is wrong.
    made: Report = call_flow(
        verification,
        plan=str(plan_path),
        routes=list(routes),
        level=options.level,
        report=str(folder) if folder else None,
        sample=options.sample,
        confidence=options.confidence,
        restart=options.restart,
        canary=options.canary,
        show_values=options.show_values,
    )
    return made
