"""Every document of a collection is read exactly once, whatever its `_id` is and whatever happens to the cursor."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from mongodbs import MIXED_IDS, Documents, failing

from flows.demo import servers
from mappers.documents.decoding import identity_type, position
from stores.contract.source import Batch, Partition
from stores.errors import PermanentError, PlanError, TransientError
from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import Connection, Limits, Preference
from stores.mongodb.database import MongoDB


@pytest.fixture
def mixed(database: Documents) -> list[bytes]:
    """A collection `mixed` with an `_id` of every kind; the positions of its documents in order."""
    database.mixed.insert_many([{"_id": own, "at": number} for number, own in reversed([*enumerate(MIXED_IDS)])])
    return [bson.encode({"_id": own}) for own in MIXED_IDS]


@pytest.fixture
def in_threes(source: Callable[..., mongodb.CollectionSource]) -> Callable[..., mongodb.CollectionSource]:
    """Return the source of a collection, read in batches of three documents."""
    return partial(source, limits=Limits(batch_documents=3))


def positions(documents: Iterable[Any]) -> list[bytes]:
    cut = [position(bytes(one.raw) if isinstance(one, RawBSONDocument) else one) for one in documents]
    assert None not in cut
    return [at for at in cut if at is not None]


def read(source: mongodb.CollectionSource, *partitions: Partition, after: bytes | None = None) -> list[bytes]:
    """Return the positions of all documents read, checking each batch's own."""
    found: list[bytes] = []
    for partition in partitions or (Partition(0),):
        for batch in source.read(partition, after):
            assert isinstance(batch, Batch)
            found += positions(batch.documents)
            assert batch.position == found[-1]
    return found


def cut(*bounds: Any) -> list[Partition]:
    """Return partitions with these bounds, given as values or as positions, in this order."""
    edges = [None, *(one if isinstance(one, bytes) else bson.encode({"_id": one}) for one in bounds), None]
    return [Partition(number, edges[number], edges[number + 1]) for number in range(len(edges) - 1)]


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


def test_each_partition_counts_its_own_by_type_of_id(
    source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = source("mixed")
    for wanted in (1, 2, 3, 5, 8, 13):
        parts = one.split(wanted)
        assert one.count_by_partition(parts) == [
            Counter(identity_type(raw) for raw in read(one, part)) for part in parts
        ]


def test_a_sample_is_of_distinct_documents_spread_over_all(
    source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = source("mixed")
    everything = positions(read(one))
    assert sorted(one.sample(10 * len(everything))) == sorted(everything)
    drawn = {at for _ in range(30) for at in one.sample(3)}
    assert drawn <= set(everything)
    assert len(drawn) > 9
    assert all(len(set(one.sample(3))) <= 3 for _ in range(5))


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 100])
def test_partitions_of_mixed_ids_cover_everything_once(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource], partitions: int
) -> None:
    parts = in_threes("mixed").split(partitions)
    assert len(parts) <= partitions
    assert [part.number for part in parts] == [*range(len(parts))]
    assert read(in_threes("mixed"), *parts) == mixed


def test_after_every_position_the_rest_is_read_exactly_once(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    one = in_threes("mixed")
    for number, at in enumerate(mixed):
        assert read(one, after=at) == mixed[number + 1 :]


def test_a_partition_is_resumed_within_its_bounds(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    one, part = in_threes("mixed"), Partition(1, mixed[4], mixed[15])
    for number in range(4, 15):
        assert read(one, part, after=mixed[number]) == mixed[number + 1 : 15]


@pytest.mark.parametrize("collection", ["mixed", "seen"])
def test_nothing_is_passed_over_when_the_document_at_the_position_is_gone(
    database: Documents,
    mixed: list[bytes],
    in_threes: Callable[..., mongodb.CollectionSource],
    collection: str,
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[])
    one = in_threes(collection)
    for number, at in enumerate(mixed):
        database.mixed.delete_one({"at": number})
        assert read(one, after=at) == mixed[number + 1 :]


def test_any_two_documents_bound_three_partitions_that_cover_everything(
    source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    one = source("mixed")
    for lower, upper in combinations(mixed, 2):
        assert read(one, *cut(lower, upper)) == mixed


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
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource], bounds: tuple[Any, ...]
) -> None:
    assert read(in_threes("mixed"), *cut(*bounds)) == mixed


def test_the_middle_of_what_is_left_bounds_two_ranges_that_cover_it(
    mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    one = in_threes("mixed")
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
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    kinds: Sequence[Callable[[int], Any]] = [
        lambda n: n,
        lambda n: f"k{n}",
        lambda n: ObjectId(n.to_bytes(12, "big")),
        lambda n: dt.datetime.fromtimestamp(n * 1000, dt.UTC),
        lambda n: n.to_bytes(4, "big"),
        lambda n: {"n": n},
    ]
    ids = [None, *(kinds[number % 6](number) for number in range(19_999))]
    database.many.insert_many([{"_id": own} for own in ids], ordered=False)
    one = source("many")
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


def test_a_filter_that_matches_nothing_gives_one_empty_partition(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    database.some.insert_one({"_id": 1})
    one = source("some", {"kind": "a"})
    assert one.split(8) == [Partition(0)]
    assert read(one) == []
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
        assert any("standalone" in note for note in one.check())
        assert len(read(one)) == 3
        assert one.count_by_type() == {"int": 1, "string": 1, "null": 1}
        database.close()
    asked = [command for command in sent if "find" in command or "aggregate" in command]
    assert asked
    assert all(command["readConcern"]["level"] == "local" for command in asked)


# --- when reading breaks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"errorCode": 43}, id="the cursor is gone"),
        pytest.param({"closeConnection": True}, id="the connection is gone"),
        pytest.param({"errorCode": 237}, id="somebody killed the cursor"),
    ],
)
def test_a_cursor_that_dies_is_reopened_and_nothing_is_lost_or_repeated(
    database: Documents,
    mixed: list[bytes],
    in_threes: Callable[..., mongodb.CollectionSource],
    times: int,
    how: Mapping[str, Any],
) -> None:
    one = in_threes("mixed")
    with failing(database, times, "getMore", **how):
        assert read(one) == mixed
    with failing(database, times, "getMore", **how):
        assert read(one, *cut(mixed[2], mixed[19])) == mixed


def test_a_cursor_of_a_view_that_dies_is_reopened(
    database: Documents, mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[])
    with failing(database, 2, "getMore", errorCode=43):
        assert read(in_threes("seen")) == mixed


def test_a_source_that_gives_first_pages_only_is_read_page_by_page(
    database: Documents, mixed: list[bytes], in_threes: Callable[..., mongodb.CollectionSource]
) -> None:
    with failing(database, 1_000_000, "getMore", errorCode=43):
        assert read(in_threes("mixed")) == mixed


def test_pages_without_a_new_document_are_not_asked_for_for_ever(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    one_by_one = Limits(batch_documents=1)  # After a resume such a page brings what was read before.
    database.things.insert_many([{"_id": number} for number in range(3)])
    database.create_collection("seen", viewOn="things", pipeline=[])
    batches = source("seen", retry_deadline_s=0.5, limits=one_by_one).read(Partition(0))
    with failing(database, 1_000_000, "getMore", errorCode=43):
        assert next(batches).position == bson.encode({"_id": 0})
        with pytest.raises(TransientError):
            next(batches)


def test_a_first_page_that_fails_is_asked_for_again(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    with failing(database, 3, "find", errorCode=43):
        assert read(source("mixed")) == mixed


@pytest.mark.parametrize("command", ["find", "getMore", "aggregate", "listCollections"])
def test_a_refusal_stops_the_route_at_once(
    database: Documents,
    mixed: list[bytes],
    in_threes: Callable[..., mongodb.CollectionSource],
    command: str,
) -> None:
    with failing(database, 1, command, errorCode=13), pytest.raises(PermanentError) as told:
        read(in_threes("mixed"), *in_threes("mixed").split(2))
    assert told.value.code == "E-SRC-AUTH"


def test_an_unknown_refusal_is_permanent_and_named(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    with failing(database, 1, "find", errorCode=96), pytest.raises(PermanentError) as told:
        read(source("mixed"))
    assert told.value.code == "E-SRC-REFUSED"
    assert "96" in told.value.message


def test_a_source_that_stays_away_ends_in_a_transient_error(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "leaving") as url:
        database = opened("shop", url, retry_deadline_s=0.5)
        database._client.shop.things.insert_many([{"_id": number} for number in range(3000)])
        batches = database.source("things").read(Partition(0))
        assert len(next(batches).documents) == 1000
    with pytest.raises(TransientError) as told:
        list(batches)
    assert told.value.code == "E-SRC-AWAY"
    with pytest.raises(TransientError):
        database.source("things").check()


def test_a_wrong_password_is_refused_without_being_shown(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "guarded", "--auth") as url:
        database = opened("shop", url.replace("mongodb://", "mongodb://reader:s3cr3t-word@"))
        with pytest.raises(PermanentError) as told:
            database.source("things").check()
    assert told.value.code == "E-SRC-AUTH"
    assert "s3cr3t-word" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "postgresql://h/d", "mongodb://", "mongodb://u:s3cr3t@x@h", "mongodb://h:s3cr3t"),
        *("mongodb://h/?tls=s3cr3t", "mongodb://h/?tls=true&slt=s3cr3t", "mongodb://h/?tls=true&ssl=false"),
    ],
)
def test_a_text_that_is_no_connection_string_is_a_fault_of_the_plan(url: str) -> None:
    with pytest.raises(PlanError) as told:
        MongoDB(Connection(url, "shop"))
    assert told.value.code == "E-SRC-URI"
    assert "s3cr3t" not in str(told.value)


def test_the_options_of_a_connection_string_are_taken() -> None:
    options = (
        "replicaSet=rs&readPreference=nearest&readPreferenceTags=dc:a&readPreferenceTags=dc:b&compressors=zlib&tls=true"
    )
    MongoDB(Connection(f"mongodb://u:p@a,b:27018/d?{options}", "shop")).close()
