"""The sync of a plan as a Prefect flow, for deployments (entrypoint ``flows.sync.sync``)."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.orchestration.artifacts import catching_up_shown
from flows.orchestration.ending import Ending, end_flow
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.orchestration.report_ending import end_with_report
from flows.orchestration.skipped_runs import remove_skipped_runs
from flows.replication.sync import sync as run_sync
from flows.reporting.files import named_folder, refuse_unwritable
from flows.reporting.model import Report
from stores.contract.stop import Stop


@flow(name="offramp sync", flow_run_name=name_run, persist_result=False, log_prints=False)
def sync(
    plan: str,
    routes: list[str] | None = None,
    report: str | None = None,
    lag_minutes: Annotated[float, Field(gt=0)] = 15,
) -> State[Any]:
    """Copy or delete in the targets what changed in the source, up to the time at which the run began.

    The flow run fails unless every route got there. It is cancelled where other runs, such as a verification, are at
    work on all of the routes, and completed without those that have one: the next one catches up.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        report: Folder for report.json, .md and .html, or s3://bucket/prefix; none are written unless given.
        lag_minutes: A route that is further behind its source when the run ends is shown as lagging.
    """

    def work(stop: Stop) -> Ending[Report]:
        loaded = open_plan(find_plan(plan))
        folder = named_folder(report) if report else None
        if folder is not None:
            refuse_unwritable(folder)
        chosen = loaded.chosen(routes or ())
        with catching_up_shown(loaded) as watching:
            made = run_sync(loaded, chosen, stop=stop, watching=watching)
        return end_with_report(made, folder, lag_minutes=lag_minutes)

    state = end_flow(work, skip_held=True)
    remove_skipped_runs(state)
    return state
