"""The runs of a plan stay on record, whatever else is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from states import execute

from stores.contract.source import Partition
from stores.state.runs import MOST_RUNS
from stores.state.state import State


def test_a_run_is_on_record_from_its_begin_and_outlives_a_restart(opened: Callable[..., State]) -> None:
    state = opened()
    runs = state.runs
    first = runs.begin("backfill", "host/1 x")
    runs.begin("verify", "host/2 y")
    runs.end(first, b'{"odd": "\\udc80"}')
    opened("other").runs.begin("backfill", "host/1 x")
    lease = state.leases.acquire("orders")
    state.partitions.begin(lease, {}, "", "", [Partition(0)])
    state.partitions.forget(lease)
    kept = runs.latest_first()
    assert [(run.command, run.report, run.owner) for run in kept] == [
        ("verify", None, "host/2 y"),
        ("backfill", b'{"odd": "\\udc80"}', "host/1 x"),
    ]
    assert [run.digest for run in kept] == ["", sha256(b'{"odd": "\\udc80"}').hexdigest()]


def test_only_the_latest_are_kept(state: State) -> None:
    began = [state.runs.begin("verify", "host/1") for _ in range(MOST_RUNS + 5)]
    assert [run.began for run in state.runs.latest_first()] == began[:4:-1]


def test_a_run_is_later_than_one_that_began_by_a_clock_that_was_ahead(state: State, url: str) -> None:
    state.runs.begin("verify", "host/1")
    execute(url, "UPDATE runs SET began = '2199-12-31T23:59:59.999999+00:00'")
    later = [state.runs.begin("verify", "host/1") for _ in range(2)]
    assert later == ["2200-01-01T00:00:00.000000+00:00", "2200-01-01T00:00:00.000001+00:00"]
    execute(url, "DELETE FROM runs WHERE began > '2199-12-31T23:59:59.999999+00:00'")
    execute(url, "UPDATE runs SET began = '1999-12-31T23:59:59.999999+00:00'")
    assert state.runs.begin("verify", "host/1")[:4] not in ("1999", "2200")
