"""What a list of runs says of each is what its report says."""

from __future__ import annotations

import json

import pytest
import reports

from flows.connect.progress import Throughput
from flows.run.kept_runs import past_run
from stores.state.runs import StoredRun


def listed(*series: Throughput, command: str = "backfill") -> float | None:
    report = reports.whole(reports.row("r", throughput=list(series)))
    kept = StoredRun(command, "2026-11-23T09:00:00.000000", json.dumps(report.as_json()).encode())
    return past_run(kept).fastest


@pytest.mark.parametrize(
    ("series", "fastest"),
    [
        # Batches that end in the same quarter of a second; the second of the third is one of theirs too.
        (Throughput("copy", 100.0, 0.25, [0, 22_000, 0, 1_000, 8_000]), 23_000),
        (Throughput("copy", 100.75, 0.25, [4_000, 3_000]), 4_000),
        (Throughput("copy", 100.0, 1.0, [4_000, 3_000]), 4_000),
        (Throughput("copy", 100.0, 2.0, [4_000, 3_000]), 2_000),
    ],
)
def test_the_most_documents_a_second_are_those_of_a_whole_second(series: Throughput, fastest: float) -> None:
    assert listed(series) == fastest


def test_a_run_that_copied_nothing_has_no_most() -> None:
    assert listed(Throughput("verify", 100.0, 1.0, [5])) is None
    assert listed(Throughput("copy", 100.0, 1.0, [5]), command="verify") is None
