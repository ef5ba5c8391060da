"""What a job records is the work of the worker that claimed it last: of another it records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan
from pymongo.database import Database

from flows.connect.progress import Silent
from flows.connect.stores import open_source, open_state
from flows.plan.load import load
from flows.plan.model import Plan
from flows.run.jobs import CopyJob, Job
from flows.verifier.job import VerifyJob, VerifyOptions
from stores.contract.source import Partition
from stores.contract.stop import NEVER
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.state import State

pytestmark = pytest.mark.server


class Overtaking(Silent):
    """Lets another worker claim the job when this one begins to copy or to compare."""

    def __init__(self, state: State, job: Job[Any]) -> None:
        self._state, self._job = state, job
        self.others = ExitStack()

    def began(self, _route: str, _stage: str, _documents: int) -> None:
        self.others.enter_context(self._state.claims.claimed(self._job.lease, *self._job.claim))


@pytest.fixture
def plan(stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Plan:
    database.things.insert_many([{"_id": number} for number in range(50)])
    kinds = {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}}
    return load(write_plan(tmp_path, stores, database.name, kinds))


@pytest.fixture
def state(plan: Plan) -> Iterator[State]:
    with open_state(plan) as opened:
        yield opened


@pytest.fixture
def lease(plan: Plan, state: State) -> Lease:
    route = plan.routes["things"]
    lease = state.leases.acquire("things")
    with open_source(plan) as source:
        identity = route.source(source).identity()
    state.partitions.begin(lease, route.fingerprint(), identity, "", [Partition(0)])
    return lease


def overtaken(plan: Plan, state: State, job: Job[Any]) -> None:
    """See the job end as one whose worker was overtaken."""
    observer = Overtaking(state, job)
    with observer.others, pytest.raises(LeaseLost) as lost:
        job.run(plan, observer, NEVER)
    assert lost.value.code == "E-PARTITION-TAKEN"


def test_a_copy_whose_partition_another_has_claimed_counts_nothing(plan: Plan, state: State, lease: Lease) -> None:
    overtaken(plan, state, CopyJob("things", 0, lease))
    (part,) = state.partitions.of_route("things")
    assert (part.tally.read, part.position, part.done) == (0, None, False)
    CopyJob("things", 0, lease).run(plan)
    (part,) = state.partitions.of_route("things")
    assert (part.tally.read, part.done) == (50, True)


def test_a_verification_whose_part_another_has_claimed_records_nothing(plan: Plan, state: State, lease: Lease) -> None:
    CopyJob("things", 0, lease).run(plan)
    job = VerifyJob("things", VerifyOptions("sample"), lease)
    overtaken(plan, state, job)
    sampled = job.run(plan).sampled
    assert sampled is not None
