"""Partitions cover a collection exactly once, whatever its ids are, and each can be resumed and split."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, islice
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from mongodbs import Documents, partitions_between, positions, read

from mappers.documents.decoding import identity_type
from stores.contract.source import Partition
from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import LIMITS


def test_each_partition_counts_its_own_by_type_of_id(
    ranged: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = ranged("mixed")
    for wanted in (1, 2, 3, 5, 8, 13):
        parts = one.split(wanted)
        assert one.count_by_partition(parts) == [
            Counter(identity_type(raw) for raw in read(one, part)) for part in parts
        ]


def test_a_sample_is_of_distinct_documents_spread_over_all(
    ranged: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = ranged("mixed")
    everything = positions(read(one))
    assert sorted(one.sample(10 * len(everything))) == sorted(everything)
    drawn = {at for _ in range(30) for at in one.sample(3)}
    assert drawn <= set(everything)
    assert len(drawn) > 9
    assert all(len(set(one.sample(3))) <= 3 for _ in range(5))


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 100])
def test_partitions_of_mixed_ids_cover_everything_once(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource], partitions: int
) -> None:
    parts = ranged("mixed").split(partitions)
    assert len(parts) <= partitions
    assert [part.number for part in parts] == [*range(len(parts))]
    assert read(ranged("mixed"), *parts) == mixed


def test_after_every_position_the_rest_is_read_exactly_once(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    one = ranged("mixed")
    for number, at in enumerate(mixed):
        assert read(one, after=at) == mixed[number + 1 :]


def test_a_partition_is_resumed_within_its_bounds(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    one, part = ranged("mixed"), Partition(1, mixed[4], mixed[15])
    for number in range(4, 15):
        assert read(one, part, after=mixed[number]) == mixed[number + 1 : 15]


@pytest.mark.parametrize("collection", ["mixed", "seen"])
def test_nothing_is_passed_over_when_the_document_at_the_position_is_gone(
    database: Documents,
    mixed: list[bytes],
    ranged: Callable[..., mongodb.CollectionSource],
    collection: str,
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[])
    one = ranged(collection)
    for number, at in enumerate(mixed):
        database.mixed.delete_one({"at": number})
        assert read(one, after=at) == mixed[number + 1 :]


def test_any_two_documents_bound_three_partitions_that_cover_everything(
    ranged: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = ranged("mixed")
    for lower, upper in islice(combinations(mixed, 2), 0, None, 4):  # Each document is among these pairs.
        assert read(one, *partitions_between(lower, upper)) == mixed


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param((1, 1, 1), id="equal"),
        pytest.param((1, 1.0, Decimal128("1.00"), Int64(1)), id="one number in four types"),
        pytest.param((MinKey(), MaxKey()), id="the ends"),
        pytest.param((2, 2.5, 2.75), id="a gap between numbers"),
        pytest.param(("zz", "zzz", {"zz": 1}, [1]), id="gaps between types"),
        pytest.param((math.nan, Decimal128("NaN"), -math.inf, Decimal128("-Infinity")), id="not quite numbers"),
        pytest.param((None, True, dt.datetime(2020, 1, 1)), id="null and true"),
        pytest.param(({"a": 1, "b": 2}, ObjectId("0" * 24), Timestamp(9, 9)), id="between documents"),
    ],
)
def test_bounds_only_balance_the_work(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource], bounds: tuple[Any, ...]
) -> None:
    assert read(ranged("mixed"), *partitions_between(*bounds)) == mixed


def test_the_middle_of_what_is_left_bounds_two_ranges_that_cover_it(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    one = ranged("mixed")
    for lower, upper in combinations(range(0, len(mixed) - 1, 3), 2):
        part = Partition(5, mixed[lower], mixed[upper])
        at = one.middle(part, mixed[lower], 1)
        assert (at is None) == (upper == lower + 1)
        if at is not None:
            halves = [
                *read(one, Partition(5, mixed[lower], at), after=mixed[lower]),
                *read(one, Partition(6, at, mixed[upper])),
            ]
            assert [mixed[lower], *halves] == mixed[lower:upper]
    assert one.middle(Partition(0), mixed[0], len(mixed)) is None
    assert one.middle(Partition(0), mixed[-2], 1) in (mixed[-1], None)


def test_twenty_thousand_documents_in_eight_partitions_lose_none_and_repeat_none(
    database: Documents, ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    kinds: Sequence[Callable[[int], Any]] = [
        lambda n: n,
        lambda n: f"k{n}",
        lambda n: ObjectId(n.to_bytes(12, "big")),
        lambda n: dt.datetime.fromtimestamp(n * 1000, dt.UTC),
        lambda n: n.to_bytes(4, "big"),
        lambda n: {
            "n": f"{n:05}"
        },  # The local server's filters compare the bytes of documents: a number's are reversed.
    ]
    ids = [None, *(kinds[number % 6](number) for number in range(19_999))]
    database.many.insert_many([{"_id": own} for own in ids], ordered=False)
    one = ranged("many", limits=LIMITS)
    parts = one.split(8)
    assert len(parts) == 8
    sizes = []
    seen: Counter[bytes] = Counter()
    for part in parts:
        found = read(one, part)
        sizes.append(len(found))
        seen.update(found)
    assert seen == Counter(bson.encode({"_id": own}) for own in ids)
    # Not a claim about balance: only that the sample is used at all.
    assert min(sizes) > 0
    assert one.count_by_type() == Counter(identity_type(at) for at in seen)
    assert one.estimate() == 20_000


def test_partitions_of_what_a_filter_lets_through_cover_everything(
    mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    for where in ({"at": {"$gte": 3}}, {"at": 3}, {"at": -1}):
        one = ranged("mixed", where)
        everything = read(one)
        for wanted in (2, 5):
            assert read(one, *one.split(wanted)) == everything


def test_a_rest_that_a_sample_tells_little_of_is_halved_by_its_index(
    database: Documents, ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    database.many.insert_many([{"_id": number if number % 2 else f"k{number:05d}"} for number in range(20_000)])
    one = ranged("many", limits=LIMITS)
    everything = positions(read(one))
    for part, after in ((Partition(0), everything[-140]), (Partition(0, None, everything[900]), everything[760])):
        at = one.middle(part, after, 100)
        assert at is not None
        rest = everything[everything.index(after) + 1 :][:140]
        assert at in rest
        halves = read(one, Partition(0, None, at), after=after) + read(one, Partition(1, at, part.upper))
        assert halves == read(one, part, after=after)
