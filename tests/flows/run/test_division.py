"""The pieces of a collection of a billion documents: how many there are, and how little is asked to make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from scripted_mongodb import serving_any
from state_traffic import counted_transactions

from benchmarks.documents import identifier
from benchmarks.replay import DATABASE, Collection, Server
from flows.plan.plan_keys import RunKeys
from flows.run.division import partitions_to_copy, parts_to_verify
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.mongodb.collection import CollectionSource
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB
from stores.state.state import State

BILLION = 1_000_000_000


@dataclass
class Vast(Server):
    """A billion documents, and what was asked about them."""

    collections: Mapping[str, Collection] = field(
        default_factory=lambda: {"events": Collection(1, BILLION, Collection.of(1, 10).bodies)}
    )
    heard: list[Mapping[str, Any]] = field(default_factory=list)
    let_through: int = BILLION
    port: int = 0
    """How many of the documents a filter matches: those with the lowest `_id`s."""

    def answer(self, command: Mapping[str, Any]) -> bytes:
        if next(iter(command)) in ("aggregate", "find", "count", "getMore"):
            self.heard.append(command)
        match command.get("pipeline"):
            case [{"$sample": _}, {"$match": {"tenant": _}}, *rest]:
                # In the replaying server's own words.
                below = {"$expr": {"$and": [{"$lt": ["$_id", {"$literal": at(self.let_through)}]}]}}
                stages = [command["pipeline"][0], rest[0], {"$match": below}, *rest[1:]]
                return super().answer({**command, "pipeline": stages})
        return super().answer(command)

    def asked(self) -> Counter[str]:
        """Return how often each command was asked."""
        return Counter(next(iter(command)) for command in self.heard)

    def sampled(self) -> list[int]:
        """Return how many documents each sample asked for; the sample stands first in its pipeline."""
        found = [command["pipeline"] for command in self.heard if "pipeline" in command]
        return [pipeline[0]["$sample"]["size"] for pipeline in found]


def at(number: int) -> ObjectId:
    return ObjectId(identifier(number))


def number_of(position: bytes) -> int:
    return int.from_bytes(bson.decode(position)["_id"].binary[:4], "big") - int.from_bytes(identifier(0)[:4], "big")


@pytest.fixture
def vast() -> Iterator[Vast]:
    server = Vast()
    with serving_any(server) as port:
        server.port = port
        yield server


@pytest.fixture
def source(vast: Vast) -> Iterator[Callable[..., CollectionSource]]:
    database = MongoDB(Connection(f"mongodb://127.0.0.1:{vast.port}/", DATABASE))
    yield lambda where=None: database.source("events", where)
    database.close()


@pytest.mark.parametrize(
    ("documents", "run", "copied", "verified"),
    [
        pytest.param(BILLION, RunKeys("threads", 8), 1, 1, id="threads"),
        pytest.param(0, RunKeys("processes", 4), 1, 1, id="empty"),
        pytest.param(400_000, RunKeys("processes", 4), 8, 8, id="each worth opening"),
        pytest.param(4_000_000, RunKeys("processes", 4), 17, 16, id="by size"),
        pytest.param(BILLION, RunKeys("processes", 8), 256, 32, id="few workers"),
        pytest.param(BILLION, RunKeys("processes", 1000), 4000, 4000, id="four for each of a thousand"),
        pytest.param(10_000_000, RunKeys("processes", 1000), 200, 200, id="more workers than work"),
    ],
)
def test_every_worker_has_pieces_that_are_worth_opening(
    documents: int, run: RunKeys, copied: int, verified: int
) -> None:
    assert (partitions_to_copy(documents, run), parts_to_verify(documents, run)) == (copied, verified)


def test_a_billion_documents_are_divided_by_one_small_sample(
    vast: Vast, source: Callable[..., CollectionSource]
) -> None:
    one = source()
    parts = one.split(partitions_to_copy(one.estimate(), RunKeys("processes", 1000)))
    assert vast.asked() == {"count": 1, "aggregate": 1, "getMore": 1}
    assert vast.sampled() == [20_000]
    assert len(parts) == 4000
    assert (parts[0].lower, parts[-1].upper) == (None, None)
    assert all(one.upper == other.lower for one, other in pairwise(parts))
    ends = [number_of(part.upper) for part in parts if part.upper is not None]
    sizes = [later - earlier for earlier, later in pairwise([0, *ends, BILLION])]
    assert max(sizes) < 5 * BILLION / len(sizes)


def test_a_filter_is_asked_about_what_was_sampled_alone(vast: Vast, source: Callable[..., CollectionSource]) -> None:
    vast.let_through = BILLION // 2
    parts = source({"tenant": "a"}).split(1000)
    assert vast.sampled() == [20_000]
    assert max(number_of(part.upper) for part in parts if part.upper is not None) < vast.let_through


def test_what_lets_through_next_to_nothing_is_divided_by_all_that_is_read(
    vast: Vast, source: Callable[..., CollectionSource]
) -> None:
    vast.let_through = BILLION // 1000
    assert len(source({"tenant": "a"}).split(1000)) == 1000
    assert vast.sampled() == [20_000, 20_000]


def test_the_middle_of_a_small_rest_is_found_by_walking_an_index(
    vast: Vast, source: Callable[..., CollectionSource]
) -> None:
    first, end = 500_000_000, 500_250_000
    position, upper = bson.encode({"_id": at(first)}), bson.encode({"_id": at(end)})
    middle = source().middle(Partition(7, position, upper), position, 10_000)
    assert middle is not None
    assert 0.25 <= (number_of(middle) - first) / (end - first) <= 0.5
    assert vast.sampled() == [1000]
    walked = [command for command in vast.heard if "find" in command]
    assert all(command["projection"] == {"_id": 1} and command["hint"] == {"_id": 1} for command in walked)
    assert sum(command.get("skip", 0) for command in walked) <= 4 * (end - first)
    near = bson.encode({"_id": at(end - 9_000)})
    assert source().middle(Partition(7, position, upper), near, 10_000) is None


def test_who_copies_one_partition_of_thousands_reads_no_other(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "shop")
    try:
        lease = state.leases.acquire("events")
        bounds = [None, *(b"%06d" % number for number in range(1, 4000)), None]
        parts = [Partition(number, *ends) for number, ends in enumerate(pairwise(bounds))]
        with counted_transactions() as traffic:
            state.partitions.begin(lease, {}, "", "", parts)
        assert (traffic.total, traffic.about("partitions")) == (1, {"INSERT": 1})
        state.partitions.checkpoint(lease, 3999, b"p", Tally(read=3, copied=3), done=True)
        last = state.partitions.one("events", 3999)
        assert last is not None
        assert (last.partition, last.position, last.done, last.tally.read) == (parts[3999], b"p", True, 3)
        assert state.partitions.one("events", 4000) is None
        assert state.partitions.unfinished("events") == {*range(3999)}
        copied = state.partitions.progress("events")
        assert (copied.partitions, copied.done, copied.read) == (4000, 1, 3)
    finally:
        state.close()
