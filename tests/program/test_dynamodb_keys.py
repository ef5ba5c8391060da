"""A wrong key of DynamoDB: all its faults at once, with what to write, and before anything is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database

Documents = Database[dict[str, Any]]


def tables(stores: Stores) -> list[str]:
    client = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb)
    return [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]


def test_a_key_that_no_document_fits_is_refused_with_what_to_write_before_a_table_is_made(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many([{"_id": number, "customer": number, "at": {"day": number}} for number in range(20)])
    route = {
        "use_case": "entity",
        "collection": "orders",
        "key": {"partition": "customer", "sort": "created"},
        "indexes": {"by_day": {"partition": {"name": "day", "field": "at.day"}}},
    }
    plan = write_plan(tmp_path, stores, database.name, {unique: route})
    told: list[Finished] = [offramp(name, plan, "--json", folder=tmp_path) for name in ("check", "backfill")]
    for done in told:
        assert (done.code, done.json["error"]["code"]) == (2, "E-DDB-KEYS"), done.out
        for words in (
            "none of the 20 documents looked at fits",
            "customer is of type N (a number) in 20: write {name: customer, type: N}",
            "created is missing (field created) in 20",
            "day is of type N (a number) in 20: write {name: day, field: at.day, type: N}",
        ):
            assert words in done.json["error"]["message"], words
    assert unique not in tables(stores)
    route["key"] = {"partition": {"name": "customer", "type": "N"}}
    route["indexes"] = {"by_day": {"partition": {"name": "day", "field": "at.day", "type": "N"}}}
    done = offramp("backfill", write_plan(tmp_path, stores, database.name, {unique: route}), folder=tmp_path)
    assert done.code == 0, done.err


def test_documents_that_do_not_fit_among_others_are_noted(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many([{"_id": number, "customer": str(number)} for number in range(9)])
    database.orders.insert_one({"_id": 9, "customer": 9})
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": "customer"}}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {unique: route}), folder=tmp_path)
    assert done.code == 0, done.err
    assert "of 10 documents looked at 1 does not fit the keys and would be rejected" in done.out
    assert "{name: customer, type: N}" in done.out


ADVISED = re.compile(r"write (\{name: .+?\})(?=, or|, a name|;|$)")
EXCLUDED = re.compile(r"exclude such documents with `(where: .+?)`")


@pytest.mark.parametrize(
    ("documents", "key", "code"),
    [
        ([{"_id": n, "sku": None if n % 3 else f"s{n}"} for n in range(12)], "sku", 0),
        ([{"_id": n} | ({} if n % 3 else {"sku": f"s{n}"}) for n in range(12)], "sku", 0),
        ([{"_id": n, "sku": [n]} for n in range(12)], "sku", 2),
        ([{"_id": n, "sku": n % 2 == 0} for n in range(12)], "sku", 2),
        ([{"_id": n, "sku": f"s{n}"} for n in range(12)], {"name": "sku", "value": "{sku}"}, 2),
        ([{"_id": n, "sku": f"s{n}", "sku_key": 1} for n in range(12)], {"name": "sku", "value": "{sku}"}, 2),
    ],
    ids=["null", "missing", "array", "boolean", "name taken", "first other name taken"],
)
def test_each_advice_of_a_check_written_into_the_plan_ends_clean(
    stores: Stores, database: Documents, unique: str, tmp_path: Path, documents: Any, key: Any, code: int
) -> None:
    database.orders.insert_many(documents)
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": key}}
    path = write_plan(tmp_path, stores, database.name, {unique: route})
    told = offramp("check", path, folder=tmp_path)
    message = told.out + told.err
    assert (told.code, "sku is" in message) == (code, True), message
    ways: list[dict[str, Any]] = [{"key": {"partition": yaml.safe_load(text)}} for text in ADVISED.findall(message)]
    ways += [yaml.safe_load(text) for text in EXCLUDED.findall(message)]
    ways += [{"key": {"partition": "_id"}}] * ("write _id in its place" in message)
    assert ways, message
    for number, way in enumerate(ways):
        table = f"{unique}-{number}"
        changed = write_plan(tmp_path, stores, database.name, {table: {**route, **way}})
        checked = offramp("check", changed, folder=tmp_path)
        assert (checked.code, "not fit the keys" in checked.out) == (0, False), (way, checked.out, checked.err)
        done = offramp("backfill", changed, "--json", folder=tmp_path)
        row = done.route(table)
        assert (done.code, row["verdict"], row["rejected"]) == (0, "clean", 0), (way, row["reasons"])


def test_documents_with_a_field_of_the_keys_name_are_foretold(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many([{"_id": number} for number in range(9)])
    database.orders.insert_one({"_id": 9, "pk": "mine"})
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": "ORDER#{_id}"}}
    plan = write_plan(tmp_path, stores, database.name, {unique: route})
    told = offramp("check", plan, folder=tmp_path)
    assert told.code == 0, told.err
    assert "of 10 documents looked at 1 does not fit the keys and would be rejected: pk is the name of a field too" in (
        told.out
    )
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert (done.route(unique)["rejects"], done.route(unique)["records"]) == ({"E-NAME-COLLISION": 1}, 9)


def test_transforms_are_applied_before_keys_are_judged(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many([{"_id": number, "customer": number} for number in range(9)])
    route = {
        "use_case": "entity",
        "collection": "orders",
        "key": {"partition": "customer"},
        "transforms": [{"cast": {"fields": {"customer": "string"}}}],
    }
    done = offramp("check", write_plan(tmp_path, stores, database.name, {unique: route}), folder=tmp_path)
    assert done.code == 0, done.err
    assert f"{unique}: 9 documents were looked at" in done.out


def test_a_table_with_another_key_is_told_with_that_key_as_a_plan_has_it(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_one({"_id": 1, "customer": "a"})
    client = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb)
    client.create_table(
        TableName=unique,
        KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "a", "AttributeType": "S"},
            {"AttributeName": "b", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": "absent"}}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {unique: route}), folder=tmp_path)
    assert done.code == 2
    assert "write `key: {partition: {name: a, type: S}, sort: {name: b, type: N}}`" in done.err
    assert "absent is missing" in done.err  # Both at once.
    assert "backfill --restart makes an empty table anew that an earlier run of this plan made" in done.err


@pytest.mark.parametrize("held", [False, True], ids=["empty", "not empty"])
def test_an_empty_table_of_an_earlier_run_is_made_anew_with_another_key(
    stores: Stores, database: Documents, unique: str, tmp_path: Path, held: bool
) -> None:
    database.orders.insert_one({"_id": 1, "customer": "a", "shop": "b"})
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": "customer"}}
    plan = write_plan(tmp_path, stores, database.name, {unique: route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    client = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb)
    if not held:
        client.delete_item(TableName=unique, Key={"customer": {"S": "a"}})
    route["key"] = {"partition": "shop"}
    write_plan(tmp_path, stores, database.name, {unique: route})
    for arguments in (("check",), ("backfill",)):  # Only a restart makes it anew.
        assert offramp(*arguments, plan, folder=tmp_path).code == 2
    done = offramp("backfill", plan, "--restart", folder=tmp_path)
    (key,) = client.describe_table(TableName=unique)["Table"]["KeySchema"]
    if held:
        assert (done.code, key["AttributeName"]) == (2, "customer")
        assert "E-DDB-KEYS" in done.err
        assert client.scan(TableName=unique)["Count"] == 1
    else:
        assert (done.code, key["AttributeName"]) == (0, "shop"), done.err


def test_an_empty_table_of_somebody_else_stays(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.orders.insert_one({"_id": 1, "customer": "a"})
    client = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb)
    client.create_table(
        TableName=unique,
        KeySchema=[{"AttributeName": "other", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "other", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    route = {"use_case": "entity", "collection": "orders", "key": {"partition": "customer"}}
    plan = write_plan(tmp_path, stores, database.name, {unique: route})
    done = offramp("backfill", plan, "--restart", folder=tmp_path)
    assert done.code == 2
    assert "E-DDB-KEYS" in done.err
    assert client.describe_table(TableName=unique)["Table"]["KeySchema"][0]["AttributeName"] == "other"
