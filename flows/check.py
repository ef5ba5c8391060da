"""The check of a plan as a Prefect flow (entrypoint ``flows.check.check``)."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.orchestration.artifacts import show_table
from flows.orchestration.ending import Ending, end_flow
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.orchestration.summary import error_line
from flows.quantities import counted, number
from flows.reporting.files import default_folder, named_folder
from flows.run.check import PlanCheck, check_plan
from flows.run.check_text import as_lines
from flows.run.console import display
from flows.terminal import echo, stdout_width
from stores.contract.stop import Stop


@flow(name="offramp check", flow_run_name=name_run, persist_result=False, log_prints=False)
def check(plan: str, routes: list[str] | None = None, report: str | None = None) -> State[Any]:
    """Find every fault of a plan, its stores, its state and its report folder where the worker is; writes nothing.

    The flow run fails if there is one. Its state has the fault's code; the worker's output has the whole text.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        report: Folder of the reports; .offramp/reports/<plan> beside the plan unless given.
    """

    def work(stop: Stop) -> Ending[PlanCheck]:
        loaded = open_plan(find_plan(plan))
        folder = named_folder(report) if report else default_folder(loaded)
        with display(quiet=False) as observer:
            checked = check_plan(loaded, loaded.chosen(routes or ()), folder, stop, observer.stepped)
        echo(*as_lines(checked, stdout_width()))
        message = f"no fault found in {number(len(checked.routes))} of {counted(len(loaded.routes), 'route')}"
        rows = [
            {
                "route": route.route,
                "collection": route.collection,
                "target": route.target,
                "documents": "-" if route.documents is None else f"about {number(route.documents)}",
                "notes": str(len(route.notes)),
            }
            for route in checked.routes
        ]
        show_table(loaded.name, "check", rows, message if checked.error is None else error_line(checked.error))
        if checked.error is not None:
            raise checked.error
        return Ending(checked, message, is_clean=True)

    return end_flow(work)
