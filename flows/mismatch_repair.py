"""The repair of mismatches as a Prefect flow (entrypoint ``flows.mismatch_repair.mismatch_repair``)."""

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
from flows.repair.repair import KINDS, Repaired, is_left, repair, wanted_kinds
from stores.contract.stop import Stop


@flow(name="offramp repair", flow_run_name=name_run, persist_result=False, log_prints=False)
def mismatch_repair(
    plan: str,
    routes: list[str] | None = None,
    kinds: list[Literal["missing", "differs", "extra"]] | None = None,
    delete_extras: bool = False,
    dry_run: bool = False,
    everything: bool = False,
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 0,
) -> State[Any]:
    """Copy again, or delete, exactly what the last verification of a plan found wrong; then compare it again.

    The flow run fails while a mismatch is left. The earlier verdict no longer counts: verify again.

    Args:
        plan: Path of the plan's YAML file, absolute or relative to the run's working directory, or block:NAME.
        routes: Only these routes of the plan; all of them unless given.
        kinds: Only mismatches of these kinds; missing and differs unless given, and extra with delete_extras.
        delete_extras: Also delete records that no document maps to.
        dry_run: Compare the mismatches again, and write to no target.
        everything: Repair even where so much is wrong that there must be a common cause.
        wait_minutes: Wait up to so long for another run at work on these routes, such as a sync, before failing.
    """

    def work(stop: Stop) -> Ending[Sequence[Repaired]]:
        wanted = wanted_kinds(kinds or (), delete_extras=delete_extras, dry_run=dry_run)
        loaded = open_plan(find_plan(plan))
        chosen = loaded.chosen(routes or ())
        outcomes = wait_for_routes(
            lambda: repair(loaded, chosen, wanted, dry_run=dry_run, everything=everything, stop=stop), wait_minutes
        )
        message = _message(outcomes, dry_run=dry_run)
        show_table(loaded.name, "repair", list(map(_row, outcomes)), message)
        return ending_of(outcomes, message, is_clean=not is_left(outcomes, wanted))

    return end_flow(work)


def _row(outcome: Repaired) -> dict[str, str]:
    return {
        "route": outcome.route,
        **{kind: str(outcome.wrong.get(kind, 0)) for kind in KINDS},
        "copied": str(outcome.copied),
        "deleted": str(outcome.deleted),
        "corrected": str(outcome.corrected),
        "left": str(sum(outcome.left.values())),
        "failed": ", ".join(known_codes([outcome.failure])) or ("yes" if outcome.failure else "no"),
    }


def _message(outcomes: Sequence[Repaired], *, dry_run: bool) -> str:
    codes = known_codes(outcome.failure for outcome in outcomes)
    unrecorded = sum(outcome.unrecorded for outcome in outcomes)
    figures = [
        f"{sum(outcome.copied for outcome in outcomes)} copied again",
        f"{sum(outcome.deleted for outcome in outcomes)} deleted",
        f"{sum(sum(outcome.left.values()) for outcome in outcomes)} left",
        *([f"{unrecorded} more were found than are on record"] if unrecorded else []),
        *(["nothing was written"] if dry_run else []),
        *([f"failed: {', '.join(codes)}"] if codes else []),
    ]
    return ", ".join(figures)
