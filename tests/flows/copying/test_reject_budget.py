"""Too many rejects stop a route at a checkpoint; few stop nothing (R140, R142)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from flows.copying.partition import copy_partition
from flows.copying.projection import Projection
from flows.copying.reject_budget import Budget, BudgetTracker
from mappers.contract import Document, Losses, MappingError
from mappers.redis.records import String
from stores import memory
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.contract.target import Rejected
from stores.errors import OverBudget
from stores.memory import MemorySource, MemoryTarget
from stores.state.leases import Lease
from stores.state.owners import owner_of_this_process
from stores.state.rejects import RejectFilter
from stores.state.state import State

ROUTE = "things"


def strings(document: Document) -> Iterator[String]:
    if document["wish"] == "reject":
        raise MappingError("E-MAP-VALUE", "wish", "as it says")
    yield String(f"n:{document['_id']}", document["wish"].encode())


class Picky(MemoryTarget):
    """Memory that refuses what says so, and that answers once so many later writes have begun, as long as any come."""

    later = 0
    _begun = 0
    _changed = threading.Condition()

    def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
        with self._changed:
            self._begun += 1
            last = self._begun + self.later
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._begun >= last, timeout=1)
        refused = [index for index, record in enumerate(records) if record.value == b"refuse"]
        super().write([record for index, record in enumerate(records) if index not in refused])
        return [Rejected(index, "E-MEM-REFUSED", "as it says") for index in refused]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(f"sqlite:///{tmp_path / 'state.db'}", "plan")
    yield opened
    opened.close()


Copy = Callable[..., bool]


@pytest.fixture
def copy(state: State) -> Copy:
    """Copy a partition of these wishes from where it stands, within a budget."""
    lease = state.leases.acquire(ROUTE)
    state.partitions.begin(lease, {}, "", "", [Partition(0), Partition(1)])
    memory.forget(ROUTE)
    target = Picky(MemoryTarget.Connection(), MemoryTarget.Placement(), ROUTE)
    target.prepare()

    def copy(
        wishes: Sequence[str], budget: Budget, *, number: int = 0, batch: int = 10, first: int = 0, window: int = 1
    ) -> bool:
        target.later = window - 1
        documents = [{"_id": first + at, "wish": wish} for at, wish in enumerate(wishes)]
        at = state.partitions.of_route(ROUTE)[number]
        return copy_partition(
            MemorySource(documents, batch_documents=batch),
            Projection(strings, Losses(), (String,)),
            target,
            state.journal(lease),
            Partition(number),
            after=at.position,
            budget=BudgetTracker(state, lease, budget),
            window=window,
        )

    return copy


def state_lease(state: State) -> Lease:
    """The lease this process holds already."""
    return Lease("plan", ROUTE, owner_of_this_process(), 1)


def tally(state: State) -> Tally:
    return state.partitions.of_route(ROUTE)[0].tally


def test_a_row_of_rejects_stops_at_a_checkpoint_and_goes_on_once_more_are_allowed(state: State, copy: Copy) -> None:
    wishes = ["keep"] * 8 + ["reject"] * 4 + ["refuse"] * 5 + ["keep"] * 100
    with pytest.raises(OverBudget, match=r"9 documents in a row .*in_a_row 9.*most often write: E-MEM-REFUSED") as over:
        copy(wishes, Budget(in_a_row=9))
    assert over.value.code == "E-REJECTS-BUDGET"
    stopped = tally(state)
    assert 17 <= stopped.read < len(wishes)
    assert (stopped.read, stopped.rejected) == (stopped.dropped + stopped.rejected + stopped.copied, 9)
    # Whoever else is at work on the route stops too: at its next checkpoint after a second, or before it begins.
    other = BudgetTracker(state, state_lease(state), Budget())
    until(other.exceeded, "the other worker's stop")
    with pytest.raises(OverBudget):
        copy(["keep"] * 30, Budget(), number=1, first=1_000)
    state.rejects.lift_halt(state_lease(state))
    assert copy(wishes, Budget(in_a_row=10))
    assert (tally(state).read, tally(state).rejected, len(memory.held(ROUTE))) == (117, 9, 108 + 10)


def test_a_row_goes_on_over_batches_and_is_broken_by_one_good_document(state: State, copy: Copy) -> None:
    rows = (["reject"] * 7 + ["keep"]) * 20
    assert copy(rows, Budget(in_a_row=8), batch=3)
    assert tally(state).rejected == 140
    with pytest.raises(OverBudget, match=r"7 documents in a row were rejected \(limit: rejects.in_a_row 7\)"):
        copy(rows, Budget(in_a_row=7), batch=3, number=1, first=1_000)


def test_rejects_beyond_the_most_allowed_stop_and_accepted_ones_do_not_count(state: State, copy: Copy) -> None:
    wishes = ["keep", "reject"] * 50
    with pytest.raises(
        OverBudget, match=r"documents were rejected \(limit: rejects.most 20\); most often map: E-MAP-VALUE"
    ):
        copy(wishes, Budget(most=20), batch=42)
    assert 20 < tally(state).rejected < 50
    lease = state_lease(state)
    state.rejects.lift_halt(lease)
    with pytest.raises(OverBudget):
        BudgetTracker(state, lease, Budget(most=20)).judge()
    state.rejects.lift_halt(lease)
    state.rejects.accept(lease, RejectFilter(), "anna", "test data")
    BudgetTracker(state, lease, Budget(most=20)).judge()
    BudgetTracker(state, lease, Budget(most=0)).judge()
    assert copy(wishes, Budget(most=50))
    assert tally(state).rejected == 50


def test_the_first_batch_beyond_the_most_allowed_stops_the_route(state: State, copy: Copy) -> None:
    """However little time it took: 3,000 documents are copied before a checkpoint is due."""
    wishes = (["keep"] * 3 + ["reject"]) * 750
    with pytest.raises(OverBudget, match=r"stopped: 205 documents were rejected \(limit: rejects.most 200\)"):
        copy(wishes, Budget(most=200), batch=20)
    assert (tally(state).read, tally(state).rejected) == (820, 205)
    assert tally(state).records == len(memory.held(ROUTE)) == 615


def test_the_error_counts_the_batches_that_were_in_flight(state: State, copy: Copy) -> None:
    wishes = (["keep"] * 3 + ["reject"]) * 750
    with pytest.raises(OverBudget, match=r"rejects.most 200") as over:
        copy(wishes, Budget(most=200), batch=20, window=4)
    stopped = tally(state)
    assert f"stopped: {stopped.rejected} documents" in str(over.value)
    assert 205 < stopped.rejected <= 205 + 4 * 5
    assert stopped.records == len(memory.held(ROUTE)) == 3 * stopped.rejected


def test_partitions_copied_at_once_share_the_budget(state: State, copy: Copy) -> None:
    together = threading.Barrier(2)

    def run(number: int) -> str:
        together.wait(20)
        with pytest.raises(OverBudget) as over:
            copy(["keep", "reject"] * 400, Budget(most=100), batch=10, number=number, first=1_000 * number)
        return str(over.value)

    with ThreadPoolExecutor(2) as pool:
        said = {*pool.map(run, range(2))}
    parts = state.partitions.of_route(ROUTE)
    rejected = sum(part.tally.rejected for part in parts)
    assert rejected == state.rejects.count(ROUTE).open
    # Each partition stops at its own first batch after the limit is exceeded.
    assert 105 <= rejected <= 110
    stated = [int(number) for message in said for number in re.findall(r"stopped: (\d+) documents", message)]
    assert stated
    assert all(105 <= number <= rejected for number in stated)
    assert sum(part.tally.records for part in parts) == len(memory.held(ROUTE))


def test_the_error_states_the_whole_row_and_the_limit(state: State, copy: Copy) -> None:
    wishes = ["reject"] * 150 + ["keep"] + ["reject"] * 120 + ["keep"] * 600
    with pytest.raises(
        OverBudget, match=r"stopped: 150 documents in a row were rejected \(limit: rejects.in_a_row 100"
    ):
        copy(wishes, Budget(), batch=300)
    assert tally(state).read == 300


def test_a_share_is_judged_of_a_fair_number_only(state: State, copy: Copy) -> None:
    wishes = ["reject"] * 5 + ["keep"] * 95
    budget = Budget(share=0.04)
    assert copy(wishes, budget)
    with pytest.raises(OverBudget, match=r"5 of 100 documents were rejected \(limit: rejects.share 0.04\)"):
        BudgetTracker(state, state_lease(state), budget, fair=100).judge()
    state.rejects.lift_halt(state_lease(state))
    BudgetTracker(state, state_lease(state), Budget(share=0.05), fair=100).judge()


@pytest.mark.parametrize(("documents", "refused", "stops"), [(100, 21, True), (100, 20, False), (99, 60, False)])
def test_a_batch_of_which_the_target_refuses_much_is_no_fault_of_its_documents(
    copy: Copy, documents: int, refused: int, stops: bool
) -> None:
    """R142: more than 20 % of a batch is systemic; of a small batch a few are many."""
    wishes = ["refuse" if at < refused else "keep" for at in range(documents)] + ["keep"] * 200
    if stops:
        with pytest.raises(OverBudget, match="21 of 100 documents of one batch were refused as they were written"):
            copy(wishes, Budget(), batch=documents)
    else:
        assert copy(wishes, Budget(), batch=documents)


def test_a_batch_that_the_mapper_rejects_is_left_to_the_other_budgets(state: State, copy: Copy) -> None:
    assert copy(["reject"] * 90 + ["keep"] * 10, Budget(), batch=100)
    assert tally(state).rejected == 90
