"""Every document of a collection is read exactly once, whatever its `_id` is and whatever happens to the cursor."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from mongodbs import MIXED_IDS, Documents, positions, read

from flows.demo import servers
from mappers.documents.decoding import identity_type
from stores.contract.source import Partition
from stores.errors import PermanentError, PlanError
from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import Preference
from stores.mongodb.database import MongoDB

# --- whatever the _id is ----------------------------------------------------------------------------------------------


def test_ids_of_every_type_are_read_in_order_whatever_the_page(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    assert read(in_threes("mixed")) == mixed


def test_each_type_of_id_is_counted_as_often_as_it_is_read(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    theirs = in_threes("mixed").count_by_type()
    assert theirs == Counter(identity_type(at) for at in read(in_threes("mixed")))
    assert theirs == Counter(identity_type(bson.encode({"_id": own})) for own in MIXED_IDS)


def test_documents_arrive_as_the_bytes_that_were_stored(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    odd = [
        *(math.nan, -0.0, 5e-324, 2**53 + 1, Int64(1), Decimal128("-0E-6176"), Decimal128("1.10"), Decimal128("NaN")),
        *("", "a\0b", "\U0010ffff", "e\u0301", b"", Binary(b"x", 0x80), Binary(b"0" * 16, 3), Binary(b"short", 4)),
        *([], {}, [None, [{}]], {"": "", "$date": 1, "a.b": 2}, {"b": 1, "a": 2}),
        *(Regex("^a", "im"), Code("f()"), Code("f()", {"x": 1}), Timestamp(2**32 - 1, 1), MinKey(), MaxKey()),
        *(
            DBRef("c", 1, "d"),
            dt.datetime(1, 1, 1, tzinfo=dt.UTC),
            dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
        ),
    ]
    stored = [bson.encode({"_id": number, "v": value, "w": [value]}) for number, value in enumerate(odd)]
    database.odd.insert_many([RawBSONDocument(raw) for raw in stored])
    assert [raw for batch in source("odd").read(Partition(0)) for raw in batch.documents] == stored


def test_documents_larger_than_a_batch_are_all_read(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.large.insert_many([{"_id": number, "v": "x" * 1_500_000} for number in range(5)])
    one = source("large")
    assert len(read(one)) == 5
    assert [len(batch.documents) for batch in one.read(Partition(0))] == [2, 2, 1]
    assert len(read(one, after=bson.encode({"_id": 1}))) == 3


def test_an_id_that_cannot_be_decoded_is_told_and_not_passed_over(
    source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    broken = bson.encode({"_id": "??"}).replace(b"??", b"\xff\xfe")
    with pytest.raises(PermanentError) as told:
        read(source("mixed"), after=broken)
    assert told.value.code == "E-ID-DECODE"


# --- only some of the documents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_filter_holds_for_reads_counts_and_partitions(
    database: Documents, in_threes: Callable[..., mongodb.CollectionSource], partitions: int
) -> None:
    database.some.insert_many(
        [{"_id": number if number % 3 else str(number), "kind": "ab"[number % 2]} for number in range(60)]
    )
    one = in_threes("some", {"kind": "a", "_id": {"$ne": 4}})
    wanted = positions(bson.encode(row) for row in database.some.find({"kind": "a", "_id": {"$ne": 4}}, sort=["_id"]))
    assert len(wanted) == 29
    assert read(one, *one.split(partitions)) == wanted
    assert one.count_by_type() == Counter(identity_type(at) for at in wanted)
    for number, at in enumerate(wanted):
        assert read(one, after=at) == wanted[number + 1 :]


def test_a_filter_that_matches_nothing_gives_empty_partitions(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.some.insert_many([{"_id": number} for number in range(100)])
    one = source("some", {"kind": "a"})
    partitions = one.split(4)
    assert [part.number for part in partitions] == [0, 1, 2, 3]
    assert all(read(one, part) == [] for part in partitions)
    assert one.count_by_type() == {}


# --- what it is read from ---------------------------------------------------------------------------------------------


def test_an_empty_collection_is_one_partition_without_documents(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("empty")
    one = source("empty")
    assert (one.split(8), read(one), one.count_by_type(), one.estimate()) == ([Partition(0)], [], {}, 0)


def test_a_missing_collection_is_told_with_those_there_are(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("orders")
    database.create_collection("all_orders", viewOn="orders", pipeline=[])
    for ask in (lambda one: one.check(), lambda one: one.split(2), lambda one: next(one.read(Partition(0)))):
        with pytest.raises(PlanError) as told:
            ask(source("order"))
        assert told.value.code == "E-SRC-COLLECTION"
        assert "'order'" in told.value.message
        assert "all_orders, orders" in told.value.message
        assert "system." not in told.value.message


def test_a_view_lacks_a_stream_which_not_every_sync_needs(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("orders")
    database.create_collection("all_orders", viewOn="orders", pipeline=[])
    (note,) = [note for note in source("all_orders").check() if "is a view" in note]
    assert "no stream" in note
    assert "cannot be synced" not in note


def test_a_database_without_collections_says_so(source: Callable[..., mongodb.CollectionSource]) -> None:
    with pytest.raises(PlanError, match="it has: none"):
        source("order").check()


def test_a_time_series_is_refused(database: Documents, source: Callable[..., mongodb.CollectionSource]) -> None:
    database.create_collection("metrics", timeseries={"timeField": "at"})
    with pytest.raises(PlanError) as told:
        source("metrics").check()
    assert told.value.code == "E-SRC-TIMESERIES"


def test_a_capped_collection_is_read_whole_in_one_partition(
    database: Documents, in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("recent", capped=True, size=1_000_000)
    database.recent.insert_many([{"_id": number} for number in (5, 3, "x", 4, 1)])
    one = in_threes("recent")
    assert one.split(8) == [Partition(0)]
    assert read(one) == positions(bson.encode({"_id": own}) for own in (1, 3, 4, 5, "x"))
    assert any("capped" in note for note in one.check())


def test_a_collection_made_anew_has_another_identity(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("things")
    before = source("things").identity()
    assert before
    assert source("things").identity() == before
    database.drop_collection("things")
    database.create_collection("things")
    assert source("things").identity() not in ("", before)


def test_an_ordinary_collection_needs_no_warning(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("things")
    assert source("things").check() == []


def test_a_view_is_read_in_one_partition_and_resumed_at_every_position(
    database: Documents, mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[{"$match": {"at": {"$ne": 3}}}])
    wanted = [at for at in mixed if at != bson.encode({"_id": MIXED_IDS[3]})]
    one = in_threes("seen")
    assert len(wanted) == len(mixed) - 1
    assert one.split(8) == [Partition(0)]
    assert read(one) == wanted
    assert one.count_by_type() == Counter(identity_type(at) for at in wanted)
    assert one.estimate() == 0
    assert any("view" in note for note in one.check())
    for number, at in enumerate(wanted):
        assert read(one, after=at) == wanted[number + 1 :]


def test_a_view_with_a_filter_is_resumed_within_the_filter(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[])
    one = source("seen", {"at": {"$gte": 5, "$lt": 12}})
    assert read(one) == mixed[5:12]
    assert read(one, after=mixed[7]) == mixed[8:12]


def test_a_view_without_ids_is_refused(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    database.create_collection("nameless", viewOn="mixed", pipeline=[{"$project": {"_id": 0, "at": 1}}])
    with pytest.raises(PermanentError) as told:
        read(source("nameless"))
    assert told.value.code == "E-ID-MISSING"


@pytest.mark.parametrize("twice", [(7, 7), (7, 7.0), (Int64(7), Decimal128("7.00"))])
def test_a_view_that_repeats_an_id_is_refused(
    database: Documents, source: Callable[..., mongodb.CollectionSource], twice: tuple[Any, Any]
) -> None:
    database.base.insert_many([{"_id": 1, "own": [3, 5]}, {"_id": 2, "own": [*twice, 9]}])
    pipeline = [{"$unwind": "$own"}, {"$project": {"_id": "$own"}}]
    database.create_collection("unwound", viewOn="base", pipeline=pipeline)
    with pytest.raises(PermanentError) as told:
        read(source("unwound"))
    assert told.value.code == "E-ID-DUP"
    assert "n:7" in told.value.message


def test_a_repeated_id_is_noticed_across_pages_and_when_resumed_between_the_two(
    database: Documents, in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    database.base.insert_one({"_id": 1, "own": [1, 2, 7, 7, 9]})
    pipeline = [{"$unwind": "$own"}, {"$project": {"_id": "$own"}}]
    database.create_collection("unwound", viewOn="base", pipeline=pipeline)
    for after in (None, bson.encode({"_id": 7})):
        with pytest.raises(PermanentError) as told:
            read(in_threes("unwound"), after=after)
        assert told.value.code == "E-ID-DUP"


# --- how it is asked --------------------------------------------------------------------------------------------------


def test_every_read_is_of_majority_data_by_index_bounds(
    source: Callable[..., mongodb.CollectionSource], mixed: list[bytes], sent: list[Mapping[str, Any]]
) -> None:
    one = source("mixed", {"at": {"$gte": 0}})
    one.check()  # The proof of the bounds is not of the filter.
    sent.clear()
    one.count_by_type()
    read(one, *one.split(3), Partition(9, mixed[3], mixed[8]))
    read(one, Partition(0, None, mixed[8]), after=mixed[4])
    finds = [command for command in sent if "find" in command]
    aggregations = [command for command in sent if "aggregate" in command]
    assert len(finds) >= 3
    assert len(aggregations) == 2
    for command in (*finds, *aggregations):
        assert command["readConcern"]["level"] == "majority"
        # The _id index has the collection's own collation; bounds sent with another would be other bounds (R35).
        assert "collation" not in command
    for command in finds:
        assert command["hint"] == {"_id": 1}
        assert command["sort"] == {"_id": 1}
        assert command["filter"] == {"at": {"$gte": 0}}
        assert "noCursorTimeout" not in command
    assert finds[-1]["min"] == {"_id": MIXED_IDS[4]}
    assert finds[-1]["max"] == {"_id": MIXED_IDS[8]}
    assert finds[-2]["min"] == {"_id": MIXED_IDS[3]}


@pytest.mark.parametrize("preference", ["primaryPreferred", "secondaryPreferred", "nearest"])
def test_the_read_preference_is_sent(
    source: Callable[..., mongodb.CollectionSource],
    mixed: list[bytes],
    sent: list[Mapping[str, Any]],
    preference: Preference,
) -> None:
    assert read(source("mixed", read_preference=preference)) == mixed
    (find,) = [command for command in sent if "find" in command]
    assert find["$readPreference"]["mode"] == preference
    assert find["readConcern"]["level"] == "majority"


def test_a_standalone_server_is_read_with_its_own_concern_and_says_so(
    tmp_path: Path, opened: Callable[..., MongoDB], sent: list[Mapping[str, Any]]
) -> None:
    with servers.mongodb(tmp_path / "standalone", "--standalone") as url:
        database = opened("shop", url)
        database._client.shop.things.insert_many([{"_id": own} for own in (1, "a", None)])
        one = database.source("things")
        (note,) = [note for note in one.check() if "standalone" in note]
        assert "no stream" in note
        assert "sync is not possible" not in note
        assert len(read(one)) == 3
        assert one.count_by_type() == {"int": 1, "string": 1, "null": 1}
        database.close()
    asked = [command for command in sent if "find" in command or "aggregate" in command]
    assert asked
    assert all(command["readConcern"]["level"] == "local" for command in asked)
