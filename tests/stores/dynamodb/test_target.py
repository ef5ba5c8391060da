from __future__ import annotations

import copy
import datetime as dt
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import boto3
import orjson
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from bson import Decimal128, Int64, ObjectId

from mappers.contract import Losses
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Item, Key, item
from stores.contract.target import Listable, Rejected
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import OfframpError, PermanentError, PlanError, TransientError

NARROW = Key("_id")
WIDE = Key("customer", "created")


@pytest.fixture(scope="module")
def server(dynamodb_endpoint: str) -> Any:
    """A client of the test's own, which sees the tables behind the target's back."""
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


@pytest.fixture
def place(dynamodb_endpoint: str, unique: str) -> Iterator[Callable[..., DynamoDBTarget]]:
    """Make targets of one table, which send one request after another; a `deadline_s` of 0 gives up at once."""
    made: list[DynamoDBTarget] = []

    def target(deadline_s: float = 60, route: str = "", requests: int = 1, **placement: Any) -> DynamoDBTarget:
        connection = DynamoDBTarget.Connection(
            endpoint=dynamodb_endpoint, retry_deadline_s=deadline_s, requests=requests
        )
        made.append(DynamoDBTarget(connection, DynamoDBTarget.Placement(**placement), route or unique))
        return made[-1]

    yield target
    for one in made:
        one.close()


@pytest.fixture
def target(place: Callable[..., DynamoDBTarget]) -> DynamoDBTarget:
    prepared = place()
    prepared.prepare()
    return prepared


def items(count: int, **fields: Any) -> list[Item]:
    return [item({"_id": f"n:{number}", "number": number, **fields}) for number in range(count)]


def bad(address: str, value: str = '{"N":"123456789012345678901234567890123456789"}') -> Item:
    """An item that no mapper would make: DynamoDB refuses its value."""
    return Item(f'{{"_id":{{"S":"{address}"}}}}', f'{{"_id":{{"S":"{address}"}},"n":{value}}}'.encode())


def canonical(records: Mapping[str, Item]) -> dict[str, bytes]:
    return {address: record.canonical() for address, record in records.items()}


def planned(records: Sequence[Item]) -> dict[str, bytes]:
    return {record.address: record.canonical() for record in records}


def held(server: Any, table: str) -> dict[str, Any]:
    """Everything in a table keyed by `_id`, by the server's own word."""
    pages = server.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return {found["_id"]["S"]: found for page in pages for found in page["Items"]}


def answer(status: int, body: bytes) -> AWSResponse:
    return AWSResponse("", status, {}, SimpleNamespace(stream=lambda: iter([body])))


def failure(code: str, status: int = 400, text: str = "") -> AWSResponse:
    return answer(status, orjson.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": text}))


def left_over(count: int) -> Callable[[Any, Any], AWSResponse]:
    """Do the first operations of a batch for real and leave its last `count` unprocessed, as throttling does."""

    def respond(request: Any, server: Any) -> AWSResponse:
        [(table, operations)] = orjson.loads(request.body)["RequestItems"].items()
        done, left = operations[: len(operations) - count], operations[len(operations) - count :]
        if done:
            # Texts and numbers only: the test's client takes these as they are on the wire.
            server.batch_write_item(RequestItems={table: done})
        return answer(200, orjson.dumps({"UnprocessedItems": {table: left}}))

    return respond


class Schedule:
    """Says what happens to each request of an operation in turn; past its end, and at None, the server answers."""

    def __init__(self, target: DynamoDBTarget, server: Any, operation: str, *steps: Any) -> None:
        self.bodies: list[bytes] = []
        self._steps = steps
        self._server = server
        target.calls.client().meta.events.register(f"before-send.dynamodb.{operation}", self._respond)

    @property
    def sizes(self) -> list[int]:
        """The number of operations in each BatchWriteItem."""
        return [sum(map(len, orjson.loads(body)["RequestItems"].values())) for body in self.bodies]

    def _respond(self, request: Any, **_: Any) -> AWSResponse | None:
        self.bodies.append(bytes(request.body))
        step = self._steps[len(self.bodies) - 1] if len(self.bodies) <= len(self._steps) else None
        if isinstance(step, Exception):
            raise step
        return step(request, self._server) if callable(step) else copy.copy(step)


# The table


def test_a_table_is_created_with_its_key_on_demand_and_without_ttl(place: Any, server: Any, unique: str) -> None:
    assert place().check() == ()
    identity = place().prepare()
    table = server.describe_table(TableName=unique)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "_id", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "_id", "AttributeType": "S"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert identity == table["TableId"]
    assert server.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


def test_checking_creates_nothing(place: Any, server: Any, unique: str) -> None:
    place(expires="at").check()
    assert unique not in server.list_tables()["TableNames"]


def test_a_table_is_created_with_a_sort_key_provisioned_and_with_ttl(place: Any, server: Any, unique: str) -> None:
    placement = {"key": WIDE, "billing": "provisioned", "read_units": 7, "write_units": 9, "expires": "until"}
    place(**placement).prepare()
    table = server.describe_table(TableName=unique)["Table"]
    assert [(one["AttributeName"], one["KeyType"]) for one in table["KeySchema"]] == [
        ("customer", "HASH"),
        ("created", "RANGE"),
    ]
    assert {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]} == {
        "customer": "S",
        "created": "S",
    }
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
    assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == 9
    ttl = server.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "_ttl"}


def test_preparing_twice_changes_nothing_and_gives_one_identity(place: Any, server: Any, unique: str) -> None:
    first = place(expires="until").prepare()
    place().write(items(3))
    assert place(expires="until").prepare() == first
    assert len(held(server, unique)) == 3


def test_a_table_made_anew_has_another_identity(place: Any, server: Any, unique: str) -> None:
    first = place().prepare()
    server.delete_table(TableName=unique)
    assert place().prepare() != first


def test_a_table_another_process_created_meanwhile_is_taken(place: Any, server: Any, unique: str) -> None:
    server_side = place()
    server_side.prepare()
    late = place()
    Schedule(late, server, "DescribeTable", failure("ResourceNotFoundException"))
    assert late.prepare() == server_side.prepare()


def test_ttl_another_process_enabled_meanwhile_is_taken(place: Any, server: Any, unique: str) -> None:
    place(expires="until").prepare()
    late = place(expires="until")
    disabled = answer(200, b'{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}')
    Schedule(late, server, "DescribeTimeToLive", disabled, disabled)
    refused = Schedule(late, server, "UpdateTimeToLive", failure("ValidationException", text="already enabled"))
    late.prepare()
    assert len(refused.bodies) == 1


def test_ttl_that_cannot_be_enabled_now_is_refused(place: Any, server: Any) -> None:
    target = place(expires="until")
    Schedule(target, server, "UpdateTimeToLive", failure("ValidationException", text="modified multiple times"))
    with pytest.raises(PlanError) as refused:
        target.prepare()
    assert "modified multiple times" in refused.value.message


def existing(server: Any, table: str, *key: tuple[str, str], **options: Any) -> None:
    """Create a table by other hands than the target's."""
    kinds = zip(key, ("HASH", "RANGE"), strict=False)
    made: dict[str, Any] = {
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for (name, _), kind in kinds],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in key],
        "BillingMode": "PAY_PER_REQUEST",
    }
    server.create_table(TableName=table, **made | options)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ([("pk", "S")], "pk S"),
        ([("_id", "N")], "_id N"),
        ([("_id", "S"), ("at", "S")], "_id S, at S"),
    ],
)
def test_a_table_of_another_key_is_refused_and_left_alone(
    place: Any, server: Any, unique: str, key: list[tuple[str, str]], found: str
) -> None:
    existing(server, unique, *key)
    target = place(expires="until")
    for act in (target.check, target.prepare):
        with pytest.raises(PlanError) as refused:
            act()
        assert refused.value.code == "E-DDB-KEYS"
        assert f"({found})" in refused.value.message
        assert "(_id S)" in refused.value.message
    assert server.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


def test_a_table_that_expires_items_by_another_attribute_is_refused(place: Any, server: Any, unique: str) -> None:
    place(expires="until", ttl_attribute="other").prepare()
    target = place(expires="until")
    for act in (target.check, target.prepare):
        with pytest.raises(PlanError) as refused:
            act()
        assert refused.value.code == "E-DDB-TTL"
        assert "'other'" in refused.value.message
        assert "'_ttl'" in refused.value.message
    [warning] = place().check()
    assert "expires items by 'other'" in warning


@pytest.mark.parametrize("status", ["CREATING", "DELETING", "ARCHIVED", "INACCESSIBLE_ENCRYPTION_CREDENTIALS"])
def test_a_table_that_takes_no_writes_is_refused(place: Any, server: Any, unique: str, status: str) -> None:
    existing(server, unique, ("_id", "S"))
    target = place()
    Schedule(target, server, "DescribeTable", described(status))
    with pytest.raises(PlanError) as refused:
        target.check()
    assert refused.value.code == "E-DDB-STATUS"
    assert status in refused.value.message


@pytest.mark.parametrize("operation", ["DescribeTable", "DescribeTimeToLive"])
def test_a_server_that_is_no_dynamodb_is_not_taken_for_an_absent_table(
    place: Any, server: Any, unique: str, operation: str
) -> None:
    existing(server, unique, ("_id", "S"))
    target = place()
    Schedule(target, server, operation, answer(200, b"<html>hello</html>"))
    with pytest.raises(PermanentError) as stopped:
        target.check()
    assert stopped.value.code == "E-DDB-ANSWER"


def described(status: str) -> AWSResponse:
    table = {
        "TableStatus": status,
        "KeySchema": [{"AttributeName": "_id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "_id", "AttributeType": "S"}],
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "TableArn": "arn:aws:dynamodb:eu-west-1:1:table/t",
        "CreationDateTime": 1763870000,
    }
    return answer(200, orjson.dumps({"Table": table}))


def test_preparing_waits_for_a_table_being_created(place: Any, server: Any, unique: str) -> None:
    existing(server, unique, ("_id", "S"))
    target = place()
    schedule = Schedule(target, server, "DescribeTable", described("CREATING"), described("CREATING"))
    assert target.prepare() == server.describe_table(TableName=unique)["Table"]["TableId"]
    assert len(schedule.bodies) == 3


def test_a_table_without_an_id_is_told_by_its_arn_and_creation(place: Any, server: Any, unique: str) -> None:
    existing(server, unique, ("_id", "S"))
    target = place()
    Schedule(target, server, "DescribeTable", described("UPDATING"), described("UPDATING"))
    identity = target.prepare()
    assert identity.startswith("arn:aws:dynamodb:eu-west-1:1:table/t ")
    assert dt.datetime.fromisoformat(identity.split()[1]).timestamp() == 1763870000


def test_what_costs_more_than_the_plan_says_is_warned_of(place: Any, server: Any, unique: str) -> None:
    existing(
        server,
        unique,
        ("_id", "S"),
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("_id", "status")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_status",
                "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
            }
        ],
    )
    stream, indexes, billing = place().check()
    assert "W-DDB-STREAM" in stream
    assert "by_status" in indexes
    assert "provisioned" in billing


@pytest.mark.parametrize(
    ("route", "placement", "words"),
    [
        ("a$b/c", {}, ["'$'", "'/'"]),
        ("ab", {}, ["2", "3 to 255"]),
        ("x" * 256, {}, ["256", "3 to 255"]),
        ("orders", {"table": "or ders"}, ["' '"]),
        ("orders", {"billing": "provisioned", "read_units": 1}, ["write_units"]),
        ("orders", {"billing": "provisioned", "read_units": 0, "write_units": 1}, ["read_units"]),
        ("orders", {"read_units": 1}, ["read_units", "provisioned"]),
        ("orders", {"key": Key("")}, ["key", "0 bytes"]),
        ("orders", {"key": Key("é" * 128)}, ["256 bytes", "255"]),
        ("orders", {"key": Key("a", "a")}, ["'a'"]),
        ("orders", {"expires": "at", "ttl_attribute": "_id"}, ["'_id'"]),
    ],
)
def test_a_placement_that_cannot_be_served_is_refused(
    place: Any, route: str, placement: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError) as refused:
        place(route=route, **placement)
    for word in words:
        assert word in str(refused.value)


def test_a_table_is_named_by_the_prefix_and_the_route_or_outright() -> None:
    connection = DynamoDBTarget.Connection(table_prefix="prod-")
    assert DynamoDBTarget(connection, DynamoDBTarget.Placement(), "orders").territory == "prod-orders\0"
    assert DynamoDBTarget(connection, DynamoDBTarget.Placement(table="mine"), "orders").territory == "mine\0"


def test_a_connection_that_cannot_be_made_is_a_fault_of_the_plan(
    dynamodb_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(**connection: Any) -> str:
        with pytest.raises(PlanError) as refused:
            DynamoDBTarget(DynamoDBTarget.Connection(**connection), DynamoDBTarget.Placement(), "orders").check()
        return refused.value.code

    assert check(profile="no-such-profile") == "E-DDB-PROFILE"
    assert check(endpoint="not a url") == "E-DDB-ENDPOINT"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert check(endpoint=dynamodb_endpoint) == "E-DDB-REGION"


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


# Faults


def test_unprocessed_items_are_sent_again_and_none_is_lost(target: DynamoDBTarget, server: Any, unique: str) -> None:
    schedule = Schedule(
        target,
        server,
        "BatchWriteItem",
        left_over(25),
        left_over(7),
        left_over(1),
        None,
        None,
        left_over(3),
        left_over(3),
    )
    written = items(60)
    assert target.write(written) == []
    assert set(held(server, unique)) == {f"n:{number}" for number in range(60)}
    assert canonical(target.read([one.address for one in written])) == planned(written)
    # Only what is unprocessed is sent again.
    assert schedule.sizes == [25, 25, 7, 1, 25, 10, 3, 3]


def test_unprocessed_items_with_sort_keys_and_binary_values_are_sent_again(place: Any, server: Any) -> None:
    target = place(key=WIDE)
    target.prepare()
    schedule = Schedule(target, server, "BatchWriteItem", left_over(2), left_over(2))
    written = [item({"customer": "é", "created": f"2020-{n}", "bytes": b"\x00\xff"}, WIDE) for n in range(2)]
    assert target.write(written) == []
    assert schedule.sizes == [2, 2, 2]
    assert canonical(target.read([one.address for one in written])) == planned(written)


def test_a_batch_that_gets_through_bit_by_bit_is_not_given_up(place: Any, server: Any, unique: str) -> None:
    target = place(deadline_s=5)
    target.prepare()
    # One item a request: waits that grew over all of them would end far beyond the deadline.
    schedule = Schedule(target, server, "BatchWriteItem", *(left_over(left) for left in range(14, 0, -1)))
    assert target.write(items(15)) == []
    assert schedule.sizes == list(range(15, 0, -1))
    assert len(held(server, unique)) == 15


def test_unprocessed_deletes_are_sent_again(target: DynamoDBTarget, server: Any, unique: str) -> None:
    written = items(30)
    target.write(written)
    Schedule(target, server, "BatchWriteItem", left_over(25), left_over(4))
    target.delete([one.address for one in written])
    assert held(server, unique) == {}


def unread(count: int) -> Callable[[Any, Any], AWSResponse]:
    """Answer a BatchGetItem but for its last `count` keys."""

    def respond(request: Any, server: Any) -> AWSResponse:
        [(table, asked)] = orjson.loads(request.body)["RequestItems"].items()
        keys, left = asked["Keys"][: len(asked["Keys"]) - count], asked["Keys"][len(asked["Keys"]) - count :]
        responses: list[Any] = []
        if keys:
            found = server.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
            responses = found["Responses"][table]
        return answer(
            200,
            orjson.dumps({"Responses": {table: responses}, "UnprocessedKeys": {table: asked | {"Keys": left}}}),
        )

    return respond


def test_unprocessed_keys_are_asked_again(target: DynamoDBTarget, server: Any) -> None:
    written = items(130)
    target.write(written)
    schedule = Schedule(target, server, "BatchGetItem", unread(100), unread(40), unread(1), None, unread(30))
    assert canonical(target.read([one.address for one in written])) == planned(written)
    keys = [len(asked["Keys"]) for body in schedule.bodies for asked in orjson.loads(body)["RequestItems"].values()]
    assert keys == [100, 100, 40, 1, 30, 30]


BUSY = failure("ProvisionedThroughputExceededException")
HICCUPS = [
    BUSY,
    failure("ThrottlingException"),
    failure("RequestLimitExceeded"),
    failure("InternalServerError", 500),
    answer(503, b"<html>busy</html>"),
    failure("ReplicatedWriteConflictException"),
    failure("TransactionInProgressException"),
    ConnectionClosedError(endpoint_url="x"),
    ReadTimeoutError(endpoint_url="x"),
]


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda hiccup: getattr(hiccup, "text", type(hiccup).__name__)[-40:])
def test_a_store_that_is_busy_or_away_is_asked_again(target: DynamoDBTarget, server: Any, hiccup: Any) -> None:
    schedules = [
        Schedule(target, server, operation, hiccup, hiccup) for operation in ("BatchWriteItem", "BatchGetItem", "Scan")
    ]
    written = items(3)
    assert target.write(written) == []
    assert canonical(target.read([one.address for one in written])) == planned(written)
    assert sorted(target.addresses()) == sorted(one.address for one in written)
    target.delete([written[0].address])
    assert [len(schedule.bodies) for schedule in schedules] == [4, 3, 3]


def test_a_write_whose_answer_is_lost_is_repeated(target: DynamoDBTarget, server: Any, unique: str) -> None:
    def lose(request: Any, server: Any) -> AWSResponse:
        left_over(0)(request, server)
        raise ReadTimeoutError(endpoint_url="x")

    schedule = Schedule(target, server, "BatchWriteItem", lose)
    assert target.write(items(5)) == []
    assert schedule.sizes == [5, 5]
    assert len(held(server, unique)) == 5


def test_listing_goes_on_at_the_page_that_failed(target: DynamoDBTarget, server: Any) -> None:
    written = items(9, text="x" * 300_000)
    target.write(written)
    Schedule(target, server, "Scan", None, BUSY, None, BUSY)
    listed = list(target.addresses())
    assert sorted(listed) == sorted(one.address for one in written)


@pytest.mark.parametrize("fault", [BUSY, left_over(5)], ids=["throttled", "unprocessed"])
def test_a_write_past_its_deadline_is_transient(place: Any, server: Any, unique: str, fault: Any) -> None:
    place().prepare()
    target = place(deadline_s=0)
    Schedule(target, server, "BatchWriteItem", fault)
    with pytest.raises(TransientError) as failed:
        target.write(items(5))
    assert failed.value.code == "E-DDB-BUSY"
    assert unique in failed.value.message
    assert target.write(items(5)) == []


def test_a_read_or_a_listing_past_its_deadline_is_transient(place: Any, server: Any) -> None:
    place().prepare()
    target = place(deadline_s=0)
    Schedule(target, server, "BatchGetItem", BUSY, unread(1))
    Schedule(target, server, "Scan", BUSY)
    for _ in range(2):
        with pytest.raises(TransientError):
            target.read([items(1)[0].address])
    with pytest.raises(TransientError):
        list(target.addresses())


def test_a_server_that_is_not_there_is_transient(dynamodb_endpoint: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        connection = DynamoDBTarget.Connection(
            region="eu-west-1", endpoint=f"http://127.0.0.1:{free.getsockname()[1]}", retry_deadline_s=0
        )
        target = DynamoDBTarget(connection, DynamoDBTarget.Placement(), "orders")
        with pytest.raises(TransientError) as failed:
            target.write(items(1))
    assert failed.value.code == "E-DDB-NETWORK"


def test_of_a_refused_batch_only_the_bad_item_is_rejected(target: DynamoDBTarget, server: Any, unique: str) -> None:
    records = items(60)
    records[37] = bad("bad")
    rejected = target.write(records)
    assert rejected == [Rejected(37, "ValidationException", "a number has more than 38 significant digits")]
    assert set(held(server, unique)) == {f"n:{number}" for number in range(60) if number != 37}


@pytest.mark.parametrize("count", [1, 25])
def test_of_a_batch_of_bad_items_each_is_rejected(target: DynamoDBTarget, server: Any, unique: str, count: int) -> None:
    rejected = target.write([bad(str(number)) for number in range(count)])
    assert [one.index for one in rejected] == list(range(count))
    assert held(server, unique) == {}


def test_a_rejection_is_reported_at_the_last_of_its_address(target: DynamoDBTarget, server: Any, unique: str) -> None:
    rejected = target.write([item({"_id": "a"}), item({"_id": "b"}), bad("a"), item({"_id": "b", "n": 1})])
    assert [one.index for one in rejected] == [2]
    assert set(held(server, unique)) == {"b"}


def test_a_store_busy_while_a_batch_is_halved_is_no_fault_of_its_items(
    target: DynamoDBTarget, server: Any, unique: str
) -> None:
    # 8 are refused; of the halves each is throttled once, and some of one are left unprocessed.
    steps = (None, BUSY, None, failure("InternalServerError", 500), BUSY, left_over(1), None)
    Schedule(target, server, "BatchWriteItem", *steps)
    records = items(8)
    records[1] = bad("bad")
    assert [one.index for one in target.write(records)] == [1]
    assert set(held(server, unique)) == {f"n:{number}" for number in range(8) if number != 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"N":"secret-12"}', "is malformed"),
        ('{"N":"1E+126"}', "larger"),
        ('{"N":"1E-131"}', "smaller"),
        ('{"NS":["1234567","1234567.0"]}', "twice"),
        ('{"X":"secret"}', "typed value"),
        ('{"S":"%s"}' % ("s" * 409_600), "400 KB"),
        ("{" + '"M":{"a":{' * 40 + '"S":""' + "}}" * 40 + "}", "32 levels"),
        ('{"S":"secret"', "not JSON"),
    ],
    ids=lambda text: text[:20],
)
def test_a_rejection_says_why_without_the_value(target: DynamoDBTarget, value: str, reason: str) -> None:
    good = items(2)
    [rejected] = target.write([good[0], bad("bad", value), good[1]])
    assert rejected.index == 1
    assert rejected.code in ("ValidationException", "SerializationException")
    assert reason in rejected.reason
    assert "secret" not in rejected.reason
    assert "1234567" not in rejected.reason
    assert canonical(target.read([one.address for one in good])) == planned(good)


def test_an_unknown_refusal_does_not_repeat_the_stores_text(target: DynamoDBTarget, server: Any) -> None:
    refusal = failure("ValidationException", text="do not like 'secret'")
    Schedule(target, server, "BatchWriteItem", refusal, failure("Odd", 413, "secret"))
    for _ in range(2):
        [rejected] = target.write(items(1))
        assert "secret" not in f"{rejected.code} {rejected.reason}"


def test_a_delete_the_store_refuses_stops_the_route(target: DynamoDBTarget) -> None:
    target.write(items(2))
    with pytest.raises(PermanentError) as stopped:
        target.delete([items(1)[0].address, '{"_id":{"N":"secret"}}', '{"other":{"S":"x"}}'])
    assert stopped.value.code == "E-DDB-REFUSED"
    assert "secret" not in stopped.value.message
    assert list(target.addresses()) == [items(2)[1].address]


CANNOT_GO_ON = [
    (failure("AccessDeniedException", text="token=secret"), "E-DDB-ACCESS"),
    (failure("ResourceNotFoundException"), "E-DDB-ABSENT"),
    (failure("UnrecognizedClientException", text="secret"), "E-DDB-CREDENTIALS"),
    (failure("ExpiredTokenException"), "E-DDB-CREDENTIALS"),
    (failure("InvalidSignatureException", text="x-amz-security-token:secret"), "E-DDB-CREDENTIALS"),
    (NoCredentialsError(), "E-DDB-CREDENTIALS"),
    (failure("SomethingNewException", text="secret"), "E-DDB-UNKNOWN"),
    (answer(302, b""), "E-DDB-UNKNOWN"),
    # A proxy's own page, an empty answer and one cut short say nothing of what was done or held.
    (answer(200, b"<html>sign in</html>"), "E-DDB-ANSWER"),
    (answer(200, b"{}"), "E-DDB-ANSWER"),
    (answer(200, b'{"Count":0,"B":1,"UnprocessedItems":{'), "E-DDB-ANSWER"),
]


@pytest.mark.parametrize(("fault", "code"), CANNOT_GO_ON)
def test_what_no_item_is_to_blame_for_stops_the_route(
    target: DynamoDBTarget, server: Any, unique: str, fault: Any, code: str
) -> None:
    for operation in ("BatchWriteItem", "BatchGetItem", "Scan"):
        Schedule(target, server, operation, fault, fault)
    [one] = items(1)
    acts: list[Callable[[], object]] = [
        lambda: target.write([one]),
        lambda: target.delete([one.address]),
        lambda: target.read([one.address]),
        lambda: list(target.addresses()),
    ]
    for act in acts:
        with pytest.raises(PermanentError) as stopped:
            act()
        assert stopped.value.code == code
        assert "secret" not in str(stopped.value)
        assert f"'{unique}'" in stopped.value.message
        again: OfframpError = pickle.loads(pickle.dumps(stopped.value))
        assert str(again) == str(stopped.value)
    assert target.write([one]) == []


def test_an_answer_about_items_not_asked_for_stops_the_route(target: DynamoDBTarget, server: Any, unique: str) -> None:
    other = orjson.loads(items(2)[1].body)
    left = {"UnprocessedItems": {unique: [{"PutRequest": {"Item": other}}]}}
    found = {"Responses": {unique: [other]}, "UnprocessedKeys": {}}
    Schedule(target, server, "BatchWriteItem", answer(200, orjson.dumps(left)))
    Schedule(target, server, "BatchGetItem", answer(200, orjson.dumps(found)))
    [one] = items(1)
    with pytest.raises(PermanentError):
        target.write([one])
    with pytest.raises(PermanentError):
        target.read([one.address])


def test_requests_go_side_by_side_up_to_the_limit_and_none_is_left_behind(place: Any, server: Any, unique: str) -> None:
    target = place(requests=4)
    target.prepare()
    together, most, lock = 0, 0, threading.Lock()
    met = threading.Barrier(4)

    def count(**_: Any) -> None:
        nonlocal together, most
        if target.prompt:
            threading.Event().wait(0.02)  # An answer that is waited for.
            return
        with lock:
            together += 1
            most = max(most, together)
        met.wait(30)  # As many as the limit are on their way before any goes on.
        with lock:
            together -= 1

    target.calls.client().meta.events.register("before-send.dynamodb.BatchWriteItem", count)
    # Of 16 requests each of the first 8 is waited for; of the others four at a time are.
    assert target.write(items(400)) == []
    assert most == 4
    assert len(held(server, unique)) == 400


def test_requests_whose_answers_come_at_once_go_one_by_one(place: Any, server: Any, unique: str) -> None:
    target = place(requests=4)
    target.prepare()
    threads: set[int] = set()

    def work(**_: Any) -> None:
        threads.add(threading.get_ident())
        until = time.thread_time() + 0.05  # Whatever the server takes is little beside it.
        while time.thread_time() < until:
            pass

    target.calls.client().meta.events.register("before-send.dynamodb.BatchWriteItem", work)
    assert target.write(items(300)) == []
    assert target.prompt
    assert threads == {threading.get_ident()}
    assert len(held(server, unique)) == 300


def test_after_an_error_of_one_request_the_same_write_succeeds(place: Any, server: Any, unique: str) -> None:
    target = place(requests=4)
    target.prepare()
    Schedule(target, server, "BatchWriteItem", failure("AccessDeniedException"))
    with pytest.raises(PermanentError):
        target.write(items(100))
    assert target.write(items(100)) == []


@pytest.mark.parametrize("requests", [0, 33])
def test_a_number_of_requests_that_is_not_allowed_is_refused(place: Any, requests: int) -> None:
    with pytest.raises(ValueError, match="requests: is"):
        place(requests=requests)


def test_an_answer_damaged_on_the_way_is_asked_for_again(target: DynamoDBTarget, server: Any, unique: str) -> None:
    damaged: list[int] = []

    def damage(**_: Any) -> AWSResponse | None:
        if not damaged:
            damaged.append(1)
            nothing = answer(200, b'{"Responses":{"%b":[]},"UnprocessedKeys":{}}' % unique.encode())
            nothing.headers["x-amz-crc32"] = "1"
            return nothing
        return None

    target.write(items(1))
    target.calls.client().meta.events.register("before-send.dynamodb.BatchGetItem", damage)
    assert target.read([items(1)[0].address])
    assert damaged


def test_a_closed_target_opens_anew(target: DynamoDBTarget) -> None:
    target.write(items(1))
    target.close()
    target.close()
    assert list(target.addresses()) == [items(1)[0].address]
