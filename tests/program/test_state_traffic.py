"""What a copy asks of its state: so much a second and so much for each partition, and nothing for each batch."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from plans import Stores, write_plan
from scripted_mongodb import serving_any
from state_traffic import Traffic, counted_transactions

from benchmarks.replay import DATABASE, Collection, Server
from flows.connect.session import open_session
from flows.orchestration.plan_source import plan_for_workers
from flows.orchestration.worker_entry import run_job
from flows.plan.load import load
from flows.run.backfill import backfill
from flows.run.jobs import CopyJob
from flows.run.workers import Run, Threads
from flows.verifier.job import Stage, VerifyJob, VerifyOptions
from flows.verifier.part_ledger import Shape
from stores.contract.source import Partition

BATCHES = 120
DOCUMENTS = BATCHES * 900  # A batch has at most 1 MB, which is about a thousand of these documents.
WORKER_PER_S = 1.5
"""A checkpoint in two seconds, and a look in one at what is asked of the workers."""
WORKER_PER_PARTITION = 16
"""To load the plan, claim the partition, look how far it has come, open the route, and end."""
RUN_PER_ROUTE = 60
"""To lease, check, design, prepare, begin, conclude and report."""


@pytest.fixture
def plan(tmp_path: Path, stores: Stores) -> Iterator[Path]:
    server = Server({"events": Collection.of(1, DOCUMENTS)})
    with serving_any(server) as port:
        replaying = Stores(f"mongodb://127.0.0.1:{port}/", stores.redis, stores.dynamodb, stores.elasticsearch)
        route = {"collection": "events", "target": "redis", "mapper": "string", "key": f"{tmp_path.name}:{{_id}}"}
        yield write_plan(tmp_path, replaying, DATABASE, {"events": route}, run={"runner": "processes", "workers": 2})


def test_a_worker_asks_the_state_by_the_second_and_never_by_the_batch(plan: Path) -> None:
    loaded = load(plan)
    with open_session(loaded, loaded.chosen(())) as session:
        lease = session.leases["events"]
        session.state.partitions.begin(lease, {}, "", "", [Partition(number) for number in range(4000)])
        # As it comes to another process, which does not renew it.
        job = pickle.loads(pickle.dumps(CopyJob("events", 2000, lease)))
        registered = plan_for_workers(loaded)
        began = time.monotonic()
        with counted_transactions() as traffic:
            run_job(registered, job)
        elapsed_s = time.monotonic() - began
        copied = session.state.partitions.one("events", 2000)
    assert copied is not None
    assert (copied.done, copied.tally.read) == (True, DOCUMENTS)
    assert traffic.total <= WORKER_PER_PARTITION + WORKER_PER_S * elapsed_s < BATCHES, traffic.statements
    assert_one_partition_at_a_time(traffic)


def test_a_worker_that_compares_one_part_of_thousands_reads_no_other(plan: Path) -> None:
    loaded = load(plan)
    assert backfill(Run(loaded, loaded.chosen(()), Threads(loaded)), "none").routes[0].read == DOCUMENTS
    with open_session(loaded, loaded.chosen(())) as session:
        lease, verification = session.leases["events"], session.state.verification
        shape = Shape.first(DOCUMENTS, listed=True).to_json()
        verification.begin(lease, {}, 1, [Partition(number) for number in range(1000)], shape)
        registered = plan_for_workers(loaded)
        jobs: Sequence[tuple[Stage, int]] = (("list", 0), ("compare", 500))
        for stage, number in jobs:
            job = pickle.loads(pickle.dumps(VerifyJob("events", VerifyOptions(), lease, stage=stage, number=number)))
            began = time.monotonic()
            with counted_transactions() as traffic:
                run_job(registered, job)
            part = verification.part("events", number)
            assert part is not None
            assert part.done
            assert traffic.total <= WORKER_PER_PARTITION + WORKER_PER_S * (time.monotonic() - began), traffic.statements
            read = [text for text in traffic.statements if "pass_parts" in text and text.startswith("SELECT")]
            assert read
            assert all(re.search(r"pass_parts\.(number|stage) =", text) for text in read), read


def test_a_run_asks_the_state_a_fixed_number_of_times_beside_its_workers(plan: Path) -> None:
    loaded = load(plan)
    began = time.monotonic()
    with counted_transactions() as traffic:
        report = backfill(Run(loaded, loaded.chosen(()), Threads(loaded)), "none")
    elapsed_s = time.monotonic() - began
    assert report.routes[0].read == DOCUMENTS
    bound = RUN_PER_ROUTE + WORKER_PER_PARTITION + (WORKER_PER_S + 1) * elapsed_s
    assert traffic.total <= bound < BATCHES, traffic.statements


def assert_one_partition_at_a_time(traffic: Traffic) -> None:
    """No statement reads the partitions of the whole route: that would be the square of their number in all."""
    asked = [text for text in traffic.statements if " partitions" in text and text.startswith("SELECT")]
    assert asked
    assert all("partitions.number =" in text for text in asked), asked
