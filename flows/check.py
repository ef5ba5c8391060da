"""The check of a plan as a Prefect flow (entrypoint ``flows.check.check``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.connect import preflight
from flows.connect.preflight import RouteCheck
from flows.orchestration.artifacts import show_table
from flows.orchestration.ending import Ending, end_flow
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.quantities import number


@flow(name="offramp check", flow_run_name=name_run, persist_result=False, log_prints=False)
def check(plan: str, routes: list[str] | None = None) -> State[Any]:
    """Find every fault of a plan, its source and its targets where the worker is; nothing is written.

    The flow run fails if there is one. Its state has the fault's code; the worker's output has the whole text.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
    """

    def work() -> Ending[Sequence[RouteCheck]]:
        loaded = open_plan(find_plan(plan))
        checks = preflight.check(loaded, loaded.chosen(routes or ()))
        rows = [
            {
                "route": checked.route,
                "collection": checked.collection,
                "target": checked.target,
                "documents": f"about {number(checked.documents)}",
                "notes": str(len(checked.notes)),
            }
            for checked in checks
        ]
        message = f"no fault found in {len(checks)} of {len(loaded.routes)} routes"
        show_table(loaded.name, "check", rows, message)
        return Ending(checks, message, is_clean=True)

    return end_flow(work)
