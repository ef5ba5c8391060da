"""What a run reports of a route that failed in several ways at once: all of it, whichever came first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from plans import Stores, write_plan
from pymongo.database import Database

from flows.plan.load import load
from flows.run.backfill import backfill
from flows.run.jobs import CopyJob, Job
from flows.run.workers import More, Run, Threads, answer
from stores.errors import OverBudget, TransientError

AWAY = TransientError("E-RDS-AWAY", "the target went away")


@dataclass(frozen=True)
class FirstCopiesSecondLosesItsStore(Threads):
    """Workers that copy a route's first partition, and of the second report that the store went away."""

    lost_first: bool = False

    def run(self, jobs: Sequence[Job[Any]], _: More[Any] | None = None, /) -> Sequence[tuple[Job[Any], Any]]:
        """Copy the first partition only."""
        if not jobs:
            return []
        first, second = sorted(jobs, key=lambda job: cast(CopyJob, job).number)
        outcomes: list[tuple[Job[Any], Any]] = [
            (first, answer(lambda: first.run(self.plan, self.observer, self.stop))),
            (second, AWAY),
        ]
        assert isinstance(outcomes[0][1], OverBudget)
        return outcomes[::-1] if self.lost_first else outcomes


@pytest.mark.parametrize("lost_first", [False, True])
def test_a_route_over_its_budget_whose_store_also_went_away_reports_both_and_has_failed(
    mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path, lost_first: bool
) -> None:
    database.things.insert_many([{"_id": number} for number in range(200)])
    route = {"use_case": "cache", "key": f"{unique}:{{name}}:{{_id}}", "partitions": 2, "rejects": {"in_a_row": 5}}
    plan = load(write_plan(tmp_path, Stores(mongodb_url, redis_url, "", ""), database.name, {"things": route}))
    workers = FirstCopiesSecondLosesItsStore(plan, lost_first=lost_first)
    report = backfill(Run(plan, [*plan.routes.values()], workers), "none")
    [row] = report.routes
    reasons = "\n".join(row.reasons)
    assert "documents in a row were rejected (limit: rejects.in_a_row 5)" in reasons
    assert str(AWAY) in reasons
    assert (row.verdict, report.exit_code) == ("failed", 3)
