"""DynamoDB as a plan uses it, by the command line: keys, shared tables, indexes and oversize, copied and proven."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from plans import Stores, offramp, write_plan
from pymongo.database import Database


@pytest.fixture
def dynamodb(dynamodb_endpoint: str) -> Any:
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


@pytest.fixture
def s3(dynamodb_endpoint: str, unique: str) -> Any:
    client = boto3.client("s3", endpoint_url=dynamodb_endpoint)
    client.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


def targets(endpoint: str) -> dict[str, Any]:
    return {"dynamodb": {"region": "eu-west-1", "endpoint": endpoint, "s3_endpoint": endpoint, "retry_deadline_s": 10}}


def noise(size: int) -> str:
    return base64.b64encode(hashlib.shake_256(b"noise").digest(size)).decode()


def test_orders_live_under_their_customers(
    stores: Stores, database: Database[dict[str, Any]], dynamodb: Any, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many(
        {"_id": number, "customer_id": f"c{number % 3}", "created_at": datetime(2020, 1, 1 + number % 9, tzinfo=UTC)}
        for number in range(200)
    )
    database.orders.insert_one({"_id": "no customer"})
    database.orders.insert_one({"_id": "customer is a number", "customer_id": 1, "created_at": datetime.now(UTC)})
    key = {"partition": "customer_id", "sort": "{created_at}#{_id}"}
    routes = {"orders": {"use_case": "entity", "table": unique, "key": key}}
    plan = write_plan(tmp_path, stores, database.name, routes)
    ran = offramp("backfill", plan, "--json", folder=tmp_path)
    row = ran.route("orders")
    assert (ran.code, row["rejected"], row["held"], row["collides"]) == (1, 2, 200, 0), ran.out
    found = dynamodb.query(
        TableName=unique,
        KeyConditionExpression="customer_id = :c AND begins_with(sk, :day)",
        ExpressionAttributeValues={":c": {"S": "c0"}, ":day": {"S": "2020-01-01"}},
    )["Items"]
    assert {one["_id"]["S"] for one in found} == {f"n:{number}" for number in range(0, 200, 9)}
    assert "c0" in {one["customer_id"]["S"] for one in found}


def test_documents_that_share_a_key_are_counted_as_colliding(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many({"_id": number, "customer_id": f"c{number % 3}"} for number in range(9))
    routes = {"orders": {"use_case": "entity", "table": unique, "key": {"partition": "customer_id"}}}
    ran = offramp("backfill", write_plan(tmp_path, stores, database.name, routes), "--json", folder=tmp_path)
    assert (ran.code, ran.route("orders")["collides"]) == (1, 6), ran.out


def test_two_routes_share_a_table_and_neither_takes_the_others_items_for_extras(
    stores: Stores, database: Database[dict[str, Any]], dynamodb: Any, unique: str, tmp_path: Path
) -> None:
    database.users.insert_many({"_id": number} for number in range(20))
    database.reviews.insert_many({"_id": number, "user": f"n:{number % 20}", "stars": number} for number in range(60))
    shared = {"use_case": "entity", "table": unique, "shared": True}
    users = {"partition": {"name": "pk", "value": "USER#{_id}"}, "sort": {"name": "sk", "value": "PROFILE"}}
    reviews = {"partition": {"name": "pk", "value": "USER#{user}"}, "sort": "REVIEW#{_id}"}
    routes = {"users": {**shared, "key": users}, "reviews": {**shared, "key": reviews}}
    plan = write_plan(tmp_path, stores, database.name, routes)
    ran = offramp("backfill", plan, "--json", folder=tmp_path)
    assert ran.code == 0, ran.out
    assert (ran.route("users")["held"], ran.route("reviews")["held"]) == (20, 60)
    assert (
        dynamodb.query(
            TableName=unique, KeyConditionExpression="pk = :u", ExpressionAttributeValues={":u": {"S": "USER#n:7"}}
        )["Count"]
        == 4
    )
    for sort in ("PROFILE", "REVIEW#x"):
        dynamodb.put_item(TableName=unique, Item={"pk": {"S": "USER#x"}, "sk": {"S": sort}})
        assert offramp("verify", plan, "--json", folder=tmp_path).code == 1
    again = offramp("verify", plan, "--json", folder=tmp_path)
    assert [again.route(name)["extra"] for name in ("users", "reviews")] == [1, 1]
    routes["reviews"]["key"] = {**reviews, "sort": "P{_id}"}
    refused = offramp("check", write_plan(tmp_path, stores, database.name, routes), folder=tmp_path)
    assert refused.code == 2
    assert "writes in dynamodb where route" in refused.err


@pytest.mark.parametrize("how", ["reject", "compress", "split", "s3"])
def test_a_document_over_the_limit_has_a_fate_of_the_plans_choice(
    how: str, stores: Stores, database: Database[dict[str, Any]], dynamodb: Any, s3: Any, unique: str, tmp_path: Path
) -> None:
    text = "zebra " * 100_000 if how == "compress" else noise(600_000)
    database.things.insert_many([{"_id": number, "n": number} for number in range(30)])
    database.things.insert_one({"_id": "large", "n": 1, "text": text})
    route: dict[str, Any] = {"use_case": "entity", "table": unique, "oversize": how}
    route |= {"oversize_bucket": unique} if how == "s3" else {}
    route |= {"key": {"partition": "_id", "sort": "{n}"}} if how == "split" else {}
    plan = write_plan(tmp_path, stores, database.name, {"things": route}, targets=targets(stores.dynamodb))
    ran = offramp("backfill", plan, "--json", folder=tmp_path)
    row = ran.route("things")
    if how == "reject":
        assert (ran.code, row["rejected"], row["held"]) == (1, 1, 30)
        return
    assert (ran.code, row["rejected"], row["held"], row["extra"]) == (0, 0, 31, 0), ran.out
    damage(how, dynamodb, s3, unique)
    verified = offramp("verify", plan, "--json", folder=tmp_path)
    assert (verified.code, verified.route("things")["differs"]) == (1, 1), verified.out


def damage(how: str, dynamodb: Any, s3: Any, unique: str) -> None:
    """Change one byte of the large document where it is held."""
    if how == "s3":
        [one] = s3.list_objects_v2(Bucket=unique)["Contents"]
        content = bytearray(s3.get_object(Bucket=unique, Key=one["Key"])["Body"].read())
        content[1000] ^= 1
        s3.put_object(Bucket=unique, Key=one["Key"], Body=bytes(content))
        return
    held = dynamodb.scan(TableName=unique)["Items"]
    one = next(one for one in held if ("_part" if how == "split" else "_overflow") in one)
    holder = one["_part"] if how == "split" else one["_overflow"]["M"]["zstd"]
    content = bytearray(holder["B"])
    content[len(content) // 2] ^= 1
    holder["B"] = bytes(content)
    dynamodb.put_item(TableName=unique, Item=one)


def test_fields_that_cannot_key_an_index_are_counted_and_kept(
    stores: Stores, database: Database[dict[str, Any]], dynamodb: Any, unique: str, tmp_path: Path
) -> None:
    database.things.insert_many(
        {"_id": number, "status": status} for number, status in enumerate(["open", None, "", 7, ["a"], "done"])
    )
    index = {"by_status": {"partition": "status"}}
    route = {"use_case": "entity", "table": unique, "indexes": index, "index_mismatch": "coerce", "tags": {"a": "b"}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    ran = offramp("backfill", plan, "--json", folder=tmp_path)
    row = ran.route("things")
    assert (row["held"], row["rejected"], row["differs"]) == (6, 0, 0), ran.out
    assert row["losses"] == {"index_omitted": 3, "index_coerced": 1}
    indexed = dynamodb.scan(TableName=unique, IndexName="by_status")["Items"]
    assert {one["status"]["S"] for one in indexed} == {"open", "7", "done"}
    kept = [one["_unindexed"]["M"]["status"] for one in dynamodb.scan(TableName=unique)["Items"] if "_unindexed" in one]
    assert sorted(map(str, kept)) == sorted(map(str, [{"NULL": True}, {"S": ""}, {"N": "7"}, {"L": [{"S": "a"}]}]))


def test_a_key_or_index_at_fault_is_named_with_what_is_allowed(tmp_path: Path, stores: Stores) -> None:
    keys = {
        "misspelt": {"partition": {"nam": "x"}},
        "joined": {"partition": "{a}{b}"},
        "no_text": {"sort": {"value": 5}},
    }
    routes: dict[str, Any] = {name: {"use_case": "entity", "key": key} for name, key in keys.items()}
    routes["index"] = {"use_case": "entity", "indexes": {"x": {"partition": "a"}}}
    refused = offramp("check", write_plan(tmp_path, stores, "d", routes), folder=tmp_path)
    assert refused.code == 2
    for fault in (
        "routes.misspelt.key.partition.nam: no such key (did you mean 'name'?); allowed: name, field, value, type",
        "routes.joined.key: '{a}{b}' does not show where {a} ends",
        "routes.no_text.key.sort.value: found 5; allowed: text",
        "routes.index.indexes: 'x': a name has 3 to 255",
    ):
        assert fault in refused.err
    assert "E-PLAN 4 faults" in refused.err
