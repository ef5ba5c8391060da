"""The table that is made, the one that is taken, and the one that is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import orjson
import pytest
from botocore.awsrequest import AWSResponse
from dynamodb_requests import (
    WIDE,
    Schedule,
    answer,
    failure,
    held,
    items,
)

from mappers.dynamodb.records import Key
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import PermanentError, PlanError


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
