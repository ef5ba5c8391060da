"""Items written, read, listed and deleted, within the limits of one request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import orjson
from bson import Decimal128, Int64, ObjectId
from dynamodb_requests import (
    WIDE,
    Schedule,
    canonical,
    held,
    items,
    planned,
)

from mappers.contract import Losses
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Item, Key, item
from stores.contract.target import Listable
from stores.dynamodb.target import DynamoDBTarget

# Items


def test_a_target_lists_what_it_holds(target: DynamoDBTarget) -> None:
    assert isinstance(target, Listable)
    assert target.records == (Item,)
    assert list(target.addresses()) == []
    target.write(items(2))
    assert sorted(target.addresses()) == ['{"_id":{"S":"n:0"}}', '{"_id":{"S":"n:1"}}']


def test_more_than_a_thousand_items_are_written_read_listed_and_deleted(
    target: DynamoDBTarget, server: Any, unique: str
) -> None:
    written = items(1030)
    assert target.write(written) == []
    assert canonical(target.read([one.address for one in written])) == planned(written)
    assert sorted(target.addresses()) == sorted(one.address for one in written)
    target.delete([one.address for one in written[:1000]])
    assert set(held(server, unique)) == {f"n:{number}" for number in range(1000, 1030)}
    assert canonical(target.read([one.address for one in written])) == planned(written[1000:])


def test_items_of_a_sort_key_table_are_written_read_listed_and_deleted(place: Any, server: Any, unique: str) -> None:
    target = place(key=WIDE)
    target.prepare()
    written = [
        item({"created": f"2020-{month}", "customer": customer, "_id": "x", "status": month}, WIDE)
        for customer in ("a", 'é"\\', "c")
        for month in range(20)
    ]
    assert target.write(written) == []
    assert canonical(target.read([one.address for one in written])) == planned(written)
    assert sorted(target.addresses()) == sorted(one.address for one in written)
    target.delete([one.address for one in written[1:]])
    [left] = server.scan(TableName=unique)["Items"]
    assert (left["customer"]["S"], left["created"]["S"]) == ("a", "2020-0")


def test_a_later_write_replaces_the_whole_item(target: DynamoDBTarget, server: Any, unique: str) -> None:
    target.write([item({"_id": "a", "kept": 1, "gone": 2})])
    target.write([item({"_id": "a", "kept": 3})])
    assert held(server, unique) == {"a": {"_id": {"S": "a"}, "kept": {"N": "3"}}}


def test_of_items_with_one_address_the_last_is_held(target: DynamoDBTarget, server: Any, unique: str) -> None:
    assert target.write([item({"_id": f"n:{n % 3}", "written": n}) for n in range(60)]) == []
    assert {name: one["written"]["N"] for name, one in held(server, unique).items()} == {
        "n:0": "57",
        "n:1": "58",
        "n:2": "59",
    }


def test_an_item_with_attributes_named_by_reserved_words_is_listed(place: Any) -> None:
    target = place(key=Key("date", "status"))
    target.prepare()
    target.write([item({"date": "a", "status": "b", "name": "c"}, Key("date", "status"))])
    assert list(target.addresses()) == ['{"date":{"S":"a"},"status":{"S":"b"}}']


def test_nothing_asked_is_nothing_done(target: DynamoDBTarget, server: Any) -> None:
    schedules = [Schedule(target, server, operation) for operation in ("BatchWriteItem", "BatchGetItem")]
    assert target.write([]) == []
    target.delete([])
    assert target.read([]) == {}
    assert [schedule.bodies for schedule in schedules] == [[], []]


def test_addresses_asked_or_deleted_twice_are_sent_once(target: DynamoDBTarget, server: Any) -> None:
    [one] = items(1)
    target.write([one])
    reads, deletes = (Schedule(target, server, operation) for operation in ("BatchGetItem", "BatchWriteItem"))
    assert canonical(target.read([one.address] * 120)) == planned([one])
    target.delete([one.address] * 30)
    assert target.read([one.address]) == {}
    assert len(reads.bodies) == 2
    assert deletes.sizes == [1]


def test_reads_are_strongly_consistent(target: DynamoDBTarget, server: Any) -> None:
    reads, scans = Schedule(target, server, "BatchGetItem"), Schedule(target, server, "Scan")
    target.read([items(1)[0].address])
    list(target.addresses())
    [table] = orjson.loads(reads.bodies[0])["RequestItems"].values()
    assert table["ConsistentRead"] is True
    assert orjson.loads(scans.bodies[0])["ConsistentRead"] is True


NUMBERS = {
    "1e22": 1e22,
    "1e23": 1e23,
    "third": 1 / 3,
    "most": 9.99e125,
    "least": Decimal128("1E-130"),
    "cohort": Decimal128("1.10"),
    "hundred": Decimal128("1E+2"),
    "digits": Decimal128("1234567890123456789012345678901234"),
    "long": Int64(2**63 - 1),
    "longest": Int64(-(2**63)),
    "zero": 0,
    "half": -1.5,
    "tiny": 1e-130,
}


def test_numbers_read_back_are_the_numbers_written(target: DynamoDBTarget, server: Any, unique: str) -> None:
    mapper = ItemMapper(ItemMapper.Options(), "r", Losses())
    written = list(mapper({"_id": ObjectId(), **NUMBERS, "all": list(NUMBERS.values())}))
    assert target.write(written) == []
    assert canonical(target.read([written[0].address])) == planned(written)
    [stored] = held(server, unique).values()
    for name, number in NUMBERS.items():
        exact = number.to_decimal() if isinstance(number, Decimal128) else Decimal(repr(number))
        assert Decimal(stored[name]["N"]) == exact, name


def test_every_attribute_type_reads_back_as_written(target: DynamoDBTarget) -> None:
    values = {
        "_id": "a",
        "bytes": bytes(range(256)),
        "empty": ["", b"", [], {}],
        "nested": {"B": b"x", "BS": "not binary", "list": [None, True, {"deep": [1, [2, b"y"]]}]},
        "text": 'é\x00\x1f"\\ \U0001f600',
    }
    sets = {"NS": ["1", "10", "2.5"], "SS": ["a", "é"], "BS": ["YQ==", "Yg=="]}
    body = orjson.loads(item(values).body) | {f"set {kind}": {kind: elements} for kind, elements in sets.items()}
    written = [Item('{"_id":{"S":"a"}}', orjson.dumps(body)), item({"_id": "plain", "text": values["text"]})]
    assert target.write(written) == []
    assert canonical(target.read([one.address for one in written])) == planned(written)
    assert canonical(target.read([written[1].address])) == planned(written[1:])


def test_an_expiring_item_carries_its_seconds_in_the_tables_ttl_attribute(place: Any, server: Any, unique: str) -> None:
    target = place(expires="until", ttl_attribute="dies")
    target.prepare()
    mapper = ItemMapper(ItemMapper.Options(expires="until", ttl_attribute="dies"), "r", Losses())
    target.write(list(mapper({"_id": 1, "until": dt.datetime(2100, 1, 1, tzinfo=dt.UTC)})))
    [stored] = held(server, unique).values()
    assert stored["dies"] == {"N": "4102444800"}
    ttl = server.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]
    assert ttl["AttributeName"] == "dies"


def test_threads_sharing_a_target_write_and_read_their_own_items(target: DynamoDBTarget) -> None:
    shares = [[item({"_id": f"{share}:{n}", "share": share}) for n in range(60)] for share in range(8)]

    def copy_share(share: list[Item]) -> Mapping[str, Item]:
        assert target.write(share) == []
        return target.read([one.address for one in share])

    with ThreadPoolExecutor(8) as threads:
        for share, found in zip(shares, threads.map(copy_share, shares), strict=True):
            assert canonical(found) == planned(share)
    assert len(list(target.addresses())) == 480


# Limits


def test_a_request_stays_below_16_mb_as_sent(target: DynamoDBTarget, server: Any) -> None:
    schedule = Schedule(target, server, "BatchWriteItem")
    # 390 KB of control characters are 2.3 MB of JSON: by their number, all twelve would go into one request.
    written = items(12, text="\x01" * 399_000)
    assert target.write(written) == []
    assert max(map(len, schedule.bodies)) <= 16 * 1024 * 1024
    assert sum(schedule.sizes) == 12
    assert canonical(target.read([one.address for one in written])) == planned(written)


def test_a_request_takes_25_operations(target: DynamoDBTarget, server: Any) -> None:
    schedule = Schedule(target, server, "BatchWriteItem")
    target.write(items(51))
    target.delete([one.address for one in items(51)])
    assert schedule.sizes == [25, 25, 1] * 2


def test_items_are_listed_over_several_pages(target: DynamoDBTarget, server: Any) -> None:
    schedule = Schedule(target, server, "Scan")
    written = items(9, text="x" * 300_000)
    target.write(written)
    assert sorted(target.addresses()) == sorted(one.address for one in written)
    assert len(schedule.bodies) > 2
