"""The retry of rejects as a Prefect flow (entrypoint ``flows.reject_retry.reject_retry``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.orchestration.artifacts import show_table
from flows.orchestration.ending import Ending, end_flow, ending_of
from flows.orchestration.plan_source import find_plan, name_run, open_plan
from flows.orchestration.summary import known_codes
from flows.orchestration.waiting import wait_for_routes
from flows.quantities import counted
from flows.repair.retry_rejects import Retried, left_open, retry
from stores.contract.stop import Stop
from stores.errors import PlanError
from stores.state.rejects import RejectFilter


@flow(name="offramp retry", flow_run_name=name_run, persist_result=False, log_prints=False)
def reject_retry(
    plan: str,
    routes: list[str] | None = None,
    code: str = "",
    stage: Literal["", "decode", "transform", "map", "write"] = "",
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 0,
) -> State[Any]:
    """Read the rejected documents of a plan from its source again, map and write them; clear those that succeed.

    The flow run fails while a route has a reject left that nobody accepted. There is no parameter for an `_id`:
    Prefect would keep it.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        code: Only rejects with this code, such as E-MAP-VALUE.
        stage: Only rejects of this stage.
        wait_minutes: Wait up to so long for another run at work on these routes, such as a sync, before failing.
    """

    def work(stop: Stop) -> Ending[Sequence[Retried]]:
        loaded = open_plan(find_plan(plan))
        chosen = loaded.chosen(routes or ())
        wanted = RejectFilter("", code, stage, False)
        outcomes: Sequence[Retried] = ()
        try:
            outcomes = wait_for_routes(lambda: retry(loaded, chosen, wanted, stop), wait_minutes)
        except PlanError as error:
            if error.code != "E-REJECTS-NONE":
                raise
        left = left_open(loaded, chosen)
        codes = known_codes(outcome.failure for outcome in outcomes)
        message = (
            f"{sum(outcome.chosen for outcome in outcomes)} tried again, {sum(outcome.cleared for outcome in outcomes)}"
            f" copied, {counted(left, 'rejected document')} left{'; failed: ' + ', '.join(codes) if codes else ''}"
        )
        show_table(loaded.name, "retry", list(map(_row, outcomes)), message)
        return ending_of(outcomes, message, is_clean=not left)

    return end_flow(work)


def _row(outcome: Retried) -> dict[str, str]:
    names = ("chosen", "cleared", "gone", "rejected", "nameless")
    failed = ", ".join(known_codes([outcome.failure])) or ("yes" if outcome.failure else "no")
    return {"route": outcome.route, **{name: str(getattr(outcome, name)) for name in names}, "failed": failed}
