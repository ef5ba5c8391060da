"""The runs of a plan stay on record, whatever else is forgotten."""

from __future__ import annotations

from hashlib import sha256

from stores.contract.source import Partition
from stores.state.runs import MOST_RUNS
from stores.state.state import State


def test_a_run_is_on_record_from_its_begin_and_outlives_a_restart(url: str) -> None:
    state = State(url, "shop")
    runs = state.runs
    runs.begin("backfill", "2026-01-01T00:00:00.000001+00:00")
    runs.begin("verify", "2026-01-02T00:00:00.000001+00:00")
    runs.end("2026-01-01T00:00:00.000001+00:00", b'{"odd": "\\udc80"}')
    other = State(url, "other")
    other.runs.begin("backfill", "2026-01-03T00:00:00.000001+00:00")
    other.close()
    lease = state.leases.acquire("orders")
    state.partitions.begin(lease, {}, "", "", [Partition(0)])
    state.partitions.forget(lease)
    kept = runs.latest_first()
    assert [(run.command, run.report) for run in kept] == [("verify", None), ("backfill", b'{"odd": "\\udc80"}')]
    assert [run.digest for run in kept] == ["", sha256(b'{"odd": "\\udc80"}').hexdigest()]
    state.close()


def test_only_the_latest_are_kept(url: str) -> None:
    state = State(url, "shop")
    runs = state.runs
    for number in range(MOST_RUNS + 5):
        runs.begin("verify", f"2026-01-01T00:00:00.{number:06d}+00:00")
    assert [run.began[-10:-6] for run in runs.latest_first()] == [
        f"{number:04d}" for number in range(MOST_RUNS + 4, 4, -1)
    ]
    state.close()
