"""Jobs handed out: so many at a time, more while somebody is idle, none left behind when it ends by a signal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from flows.orchestration.plan_source import PlanSource
from flows.orchestration.worker_entry import run_job
from flows.plan.load import load
from flows.run.jobs import CopyJob
from flows.run.workers import hand_out
from stores.contract.source import Partition
from stores.errors import TransientError
from stores.state.state import State


def test_no_more_jobs_run_at_once_than_asked_and_each_outcome_is_its_jobs() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.005)
        with lock:
            running -= 1
        if number == 5:
            raise TransientError("E-X", "five")
        return number * number

    with ThreadPoolExecutor(8) as pool:
        outcomes = hand_out([*range(20)], 3, lambda number: pool.submit(work, number))
    assert most == 3
    assert isinstance(outcomes.pop(5)[1], TransientError)
    assert outcomes == [(number, number * number) for number in range(20) if number != 5]


def test_more_jobs_are_asked_for_while_somebody_is_idle_and_once_at_the_end() -> None:
    asked: list[int] = []

    def more(idle: int) -> Sequence[int]:
        asked.append(idle)
        return {1: [10], 2: [20]}.get(len(asked), [])

    with ThreadPoolExecutor(2) as pool:
        found = hand_out([1], 2, lambda number: pool.submit(int, number), more)
    assert [number for number, _ in found] == [1, 10, 20]
    assert asked[-1] == 0


def test_a_signal_tells_the_workers_to_stop_and_waits_for_them() -> None:
    told, wrote = threading.Event(), threading.Event()

    def work(number: int) -> int:
        assert told.wait(20)
        threading.Event().wait(0.1)  # A last batch is on its way.
        wrote.set()
        return number

    def more(_: int) -> Sequence[int]:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            hand_out([1], 2, lambda number: pool.submit(work, number), more, told.set)
        assert wrote.is_set()


def test_a_task_elsewhere_stops_at_a_checkpoint_where_the_state_says_so(
    mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(10)])
    path = tmp_path / "plan.yaml"
    path.write_text(
        f"source: {{uri: '{mongodb_url}', database: {database.name}}}\n"
        f"targets: {{redis: {{url: '{redis_url}'}}}}\n"
        f"routes: {{things: {{use_case: session, key: '{unique}:{{{{_id}}}}'}}}}\n"
    )
    plan = load(path)
    state = State(plan.state, plan.name)
    lease = state.leases.acquire("things")
    state.partitions.begin(lease, {}, "", "", [Partition(0)])
    state.work_requests.stop([lease])
    run_job(PlanSource(path), CopyJob("things", 0, lease))
    assert [(part.done, part.tally.read) for part in state.partitions.of_route("things")] == [(False, 0)]
    state.work_requests.request(lease, 1)
    run_job(PlanSource(path), CopyJob("things", 0, lease))
    assert [(part.done, part.tally.read) for part in state.partitions.of_route("things")] == [(False, 0)]
    state.leases.release(lease)
    lease = state.leases.acquire("things")
    run_job(PlanSource(path), CopyJob("things", 0, lease))
    assert [(part.done, part.tally.read) for part in state.partitions.of_route("things")] == [(True, 10)]
    state.close()
