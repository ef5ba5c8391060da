"""Of the runs that were skipped one an hour stays on record; what a person cancelled stays."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import uuid4

from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Failed

from flows.orchestration.skipped_runs import LIMIT_REACHED, SKIPPED, superfluous

NOON: Any = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


def run(minute: int, name: str = SKIPPED, message: str = "", *, cancelled: bool = True) -> FlowRun:
    state: State[Any] = Cancelled(name=name, message=message) if cancelled else Failed(message=message)
    return FlowRun(flow_id=uuid4(), expected_start_time=NOON + dt.timedelta(minutes=minute), state=state)


def test_the_newest_skipped_run_of_each_hour_stays() -> None:
    newest = run(70)
    runs = [newest, run(65), run(60, "Cancelled", LIMIT_REACHED), run(55), run(0, "Cancelled", LIMIT_REACHED)]
    assert list(superfluous(runs)) == [runs[1].id, runs[2].id, runs[4].id]


def test_runs_that_were_cancelled_for_another_reason_or_ended_otherwise_stay() -> None:
    by_hand, failed = run(8, "Cancelled", "by hand"), run(7, message=LIMIT_REACHED + " or so", cancelled=False)
    completed = FlowRun(flow_id=uuid4(), expected_start_time=NOON, state=Completed())
    waiting = FlowRun(flow_id=uuid4(), expected_start_time=NOON, state=None)
    assert list(superfluous([run(9), by_hand, failed, completed, waiting])) == []
