"""A partition under way that gives away its end: whoever stops when, each document is counted once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.copying.partition import copy_partition
from flows.copying.projection import Projection
from flows.run.rebalancing import SplittingSource
from mappers.contract import Document, Losses
from mappers.identity import encode
from mappers.redis.records import String
from stores import memory
from stores.contract.source import Partition
from stores.contract.stop import PolledStop
from stores.errors import LeaseLost, TransientError
from stores.memory import MemorySource, MemoryTarget
from stores.state.leases import Lease
from stores.state.state import State

_routes = itertools.count()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    opened = State(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}", "shop")
    yield opened
    opened.close()


def begun(state: State, source: MemorySource, partitions: int) -> Lease:
    lease = state.leases.acquire(f"route {next(_routes)}")
    state.partitions.begin(lease, {}, "", "", source.split(partitions))
    return lease


def strings(document: Document) -> Iterator[String]:
    yield String(encode(document["_id"]), b"held")


@dataclass
class Faults:
    """What goes wrong, by the number of the call: the run stops, or fails before or after a split is on record."""

    wished: frozenset[int]
    stops: frozenset[int]
    fails: frozenset[int]
    calls: Counter[str] = field(default_factory=Counter)

    def happens(self, what: str, at: frozenset[int]) -> bool:
        self.calls[what] += 1
        return self.calls[what] in at


calls = st.frozensets(st.integers(1, 30), max_size=12)


@settings(max_examples=examples(30))
@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 3), st.integers(1, 8), calls, calls, calls, st.data())
def test_no_document_is_lost_or_counted_twice_wherever_partitions_are_split(
    state: State,
    count: int,
    batch_documents: int,
    partitions: int,
    least: int,
    wished: frozenset[int],
    stops: frozenset[int],
    fails: frozenset[int],
    data: st.DataObject,
) -> None:
    source = MemorySource([{"_id": number} for number in range(count)], batch_documents=batch_documents)
    lease = begun(state, source, partitions)
    faults = Faults(wished, stops, fails)
    memory.forget("split")
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), "split")
    target.prepare()

    def wanted() -> bool:
        if faults.happens("wish", wished):
            state.work_requests.request(lease, 1)
        return state.work_requests.requested(lease)

    def give(number: int, at: bytes) -> Partition | None:
        failing = faults.happens("give", fails)
        if failing and faults.calls["give"] % 2:
            raise TransientError("E-STATE-BUSY", "before the commit")
        left = state.partitions.split(lease, number, at)
        if failing:
            raise TransientError("E-STATE-BUSY", "after the commit")
        return left

    divisible = SplittingSource(source, wanted, give, least, every_s=0)
    while undone := [part for part in state.partitions.of_route(lease.route) if not part.done]:
        part = data.draw(st.sampled_from(undone))
        try:
            copy_partition(
                divisible,
                Projection(strings, Losses(), (String,)),
                target,
                state.journal(lease),
                part.partition,
                after=part.position,
                done=part.tally.read,
                window=1,
                stop=PolledStop(lambda: faults.happens("stop", stops), every_s=0),
            )
        except TransientError:
            continue
    parts = state.partitions.of_route(lease.route)
    assert sum(part.tally.read for part in parts) == sum(part.tally.records for part in parts) == count
    assert set(memory.held("split")) == {f"n:{number}" for number in range(count)}
    # The ranges on record are disjoint and cover everything.
    by_lower = {part.partition.lower: part.partition.upper for part in parts}
    assert len(by_lower) == len(parts)
    walked, at = 1, by_lower[None]
    while at is not None:
        walked, at = walked + 1, by_lower[at]
    assert walked == len(parts)


def test_a_partition_is_split_as_often_as_requested_and_not_below_the_least(state: State) -> None:
    source = MemorySource([{"_id": number} for number in range(100)], batch_documents=1)
    lease = begun(state, source, 1)
    state.work_requests.request(lease, 3)
    divisible = SplittingSource(
        source,
        lambda: state.work_requests.requested(lease),
        lambda number, at: state.partitions.split(lease, number, at),
        20,
        every_s=0,
    )
    # Behind the first 99 are left, then 48 and 23; all three requests were met.
    assert len([*divisible.read(Partition(0))]) == 14
    assert len(state.partitions.of_route(lease.route)) == 4
    assert not state.work_requests.requested(lease)
    assert state.partitions.split(lease, 0, b"") is None
    state.work_requests.request(lease, 1)
    few = SplittingSource(
        source, lambda: True, lambda number, at: state.partitions.split(lease, number, at), 200, every_s=0
    )
    assert len([*few.read(Partition(0))]) == 100


def test_who_was_overtaken_splits_nothing(state: State) -> None:
    source = MemorySource([{"_id": number} for number in range(4)])
    lease = begun(state, source, 1)
    state.work_requests.request(lease, 1)
    state.leases.release(lease)
    again = state.leases.acquire(lease.route)
    # The next run begins without the requests of the one before it.
    assert not state.work_requests.requested(lease)
    state.work_requests.request(again, 1)
    before = state.partitions.of_route(lease.route)
    with pytest.raises(LeaseLost):
        state.partitions.split(lease, 0, source.split(2)[1].lower or b"")
    assert state.partitions.of_route(lease.route) == before
    assert state.work_requests.requested(lease)


def test_a_source_that_cannot_say_where_its_middle_is_is_read_to_its_end(state: State, tmp_path: Path) -> None:
    class Away(MemorySource):
        def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
            raise TransientError("E-SRC-AWAY", "no answer")

    documents: list[dict[str, Any]] = [{"_id": number} for number in range(10)]
    away = SplittingSource(Away(documents, batch_documents=1), lambda: True, lambda number, at: None, 0, every_s=0)
    assert len([*away.read(Partition(0))]) == 10
