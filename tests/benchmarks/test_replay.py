"""The replaying source, through the driver and through the program's own reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from benchmarks.documents import document, identifier
from benchmarks.replay import Collection
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB

DOCUMENTS = 1_500
IDS = [ObjectId(identifier(number)) for number in range(DOCUMENTS)]


@pytest.fixture(scope="module")
def bench(replayed: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](replayed, tz_aware=True) as client:
        yield client.bench


def numbers(documents: Iterator[dict[str, Any]]) -> list[int]:
    return [IDS.index(each["_id"]) for each in documents]


def test_documents_are_those_that_were_generated_and_their_size_is_what_it_says(
    bench: Database[dict[str, Any]],
) -> None:
    assert list(bench.large.find()) == [document(number, 10) for number in range(12)]
    for collection, low, high in (("some", 900, 1_200), ("large", 9_000, 11_000)):
        sizes = [len(bson.encode(each)) for each in bench[collection].find().limit(50)]
        assert low < sum(sizes) / len(sizes) < high


def test_bodies_are_sent_again_under_ascending_ids() -> None:
    collection = Collection.of(10, 2_500)
    array, following = collection.batch(2_000, 2_500)
    found = list(bson.decode(array).values())
    assert following == 2_500
    assert [each.pop("_id") for each in found] == [ObjectId(identifier(number)) for number in range(2_000, 2_500)]
    assert {key: value for key, value in found[7].items() if key == "number"} == {"number": document(7, 10)["number"]}


def test_a_batch_ends_before_16_mb_and_the_next_goes_on_there() -> None:
    collection = Collection.of(10, 2_500)
    array, following = collection.batch(0, 2_500)
    assert 15 * 2**20 < len(array) < 16 * 2**20
    following_batch = bson.decode(collection.batch(following, following + 1)[0])
    assert [each["_id"] for each in following_batch.values()] == [ObjectId(identifier(following))]
    assert len(bson.decode(array)) == following


def test_every_document_is_read_once_in_order_whatever_the_batches(bench: Database[dict[str, Any]]) -> None:
    assert numbers(bench.some.find()) == list(range(DOCUMENTS))
    raw_batches: Any = bench.some.find_raw_batches(sort=[("_id", 1)], batch_size=400, hint=[("_id", 1)])
    batches = [bson.decode_all(raw) for raw in raw_batches]
    assert list(map(len, batches)) == [400, 400, 400, 300]
    assert [each["_id"] for batch in batches for each in batch] == IDS


def test_ranges_are_those_of_index_bounds_and_of_operators(bench: Database[dict[str, Any]]) -> None:
    low: Any = [("_id", IDS[700])]
    high: Any = [("_id", IDS[1_400])]
    bounded = bench.some.find(hint=[("_id", 1)]).min(low).max(high)
    assert numbers(bounded) == list(range(700, 1_400))
    assert numbers(bench.some.find({"_id": {"$gt": IDS[5], "$lte": IDS[9]}})) == [6, 7, 8, 9]
    assert numbers(bench.some.find({"_id": IDS[3]})) == [3]
    assert numbers(bench.some.find().skip(1_490).limit(4)) == [1_490, 1_491, 1_492, 1_493]


def test_what_it_does_not_know_it_refuses(bench: Database[dict[str, Any]]) -> None:
    with pytest.raises(OperationFailure):
        bench.some.insert_one({})
    with pytest.raises(OperationFailure):
        list(bench.some.aggregate([{"$unwind": "$labels"}]))


def test_the_program_counts_splits_and_reads_it(replayed: str) -> None:
    database = MongoDB(Connection(replayed, "bench"))
    try:
        source = database.source("some")
        assert source.estimate() == DOCUMENTS
        assert source.count_by_type() == {"objectId": DOCUMENTS}
        partitions = source.split(3)
        assert len(partitions) == 3
        read = [raw for partition in partitions for batch in source.read(partition) for raw in batch.documents]
        assert [bson.decode(raw)["_id"] for raw in read] == IDS
        (first,) = source.read(partitions[1])
        after = bson.encode({"_id": bson.decode(first.documents[-3])["_id"]})
        resumed = [raw for batch in source.read(partitions[1], after) for raw in batch.documents]
        assert resumed == first.documents[-2:]
    finally:
        database.close()
