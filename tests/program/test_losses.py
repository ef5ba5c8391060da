"""R29: a loss is counted by field, named with examples, and not clean until the plan accepts it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import boto3
import bson
import redis as redis_client
from plans import Stores, offramp, write_plan
from pymongo.database import Database

from mappers.documents.decoding import CODEC
from mappers.lossless import restore
from mappers.redis.records import String


def test_a_loss_is_not_clean_until_the_plan_accepts_it(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many(
        [{"_id": number, "a": {"rate": math.nan if number < 7 else 1.5}, "zero": -0.0} for number in range(10)]
    )
    route: dict[str, Any] = {
        "use_case": "entity",
        "table": unique,
        "values": {"nonfinite": "as_null", "neg_zero": "zero"},
    }
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 1
    row = done.route("things")
    assert (row["verdict"], row["held"], row["differs"], row["missing"]) == ("mismatches", 10, 0, 0)
    assert row["losses"] == {"nonfinite_null": 7, "neg_zero": 10}
    assert [(loss["field"], loss["kind"], loss["count"], loss["accepted"]) for loss in row["lost"]] == [
        ("zero", "neg_zero", 10, False),
        ("a.rate", "nonfinite_null", 7, False),
    ]
    assert row["lost"][1]["examples"] == ["n:0", "n:1", "n:2", "n:3", "n:4"]
    assert any("a.rate:nonfinite_null" in reason and "accept_loss" in reason for reason in row["reasons"])
    assert not any("n:0" in reason for reason in row["reasons"]), "reasons go to Prefect, ids do not"

    write_plan(tmp_path, stores, database.name, {"things": {**route, "accept_loss": ["zero"]}})
    partly = offramp("verify", plan, "--json", folder=tmp_path)
    assert partly.code == 1
    assert [reason for reason in partly.route("things")["reasons"] if "neg_zero" in reason] == []

    write_plan(tmp_path, stores, database.name, {"things": {**route, "accept_loss": ["zero:neg_zero", "a"]}})
    clean = offramp("verify", plan, "--json", folder=tmp_path)
    assert clean.code == 0, clean.out
    row = clean.route("things")
    assert (row["verdict"], row["losses"]) == ("clean", {"nonfinite_null": 7, "neg_zero": 10})
    assert all(loss["accepted"] for loss in row["lost"])
    assert "lost 7 x nonfinite_null at a.rate (accepted" in offramp("verify", plan, folder=tmp_path).out

    held = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb).get_item(
        TableName=unique, Key={"_id": {"S": "n:0"}}
    )["Item"]
    assert held["zero"] == {"N": "0"}
    assert held["a"] == {"M": {"rate": {"NULL": True}}}


def test_a_sync_that_loses_something_is_not_clean_until_the_plan_accepts_it(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 0, "rate": 1.5})
    route: dict[str, Any] = {"use_case": "entity", "table": unique, "values": {"neg_zero": "zero"}, "sync": "rescan"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.insert_one({"_id": 1, "rate": -0.0})
    synced = offramp("sync", plan, "--json", folder=tmp_path)
    row = synced.route("things")
    assert (synced.code, row["verdict"], row["losses"]) == (1, "mismatches", {"neg_zero": 1})
    assert 'accept_loss: ["rate:neg_zero"]' in row["reasons"][0]

    write_plan(tmp_path, stores, database.name, {"things": {**route, "accept_loss": ["neg_zero"]}})
    database.things.insert_one({"_id": 2, "rate": -0.0})
    assert offramp("sync", plan, folder=tmp_path).code == 0


def test_a_leaderboard_that_rounds_says_so(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": 1, "n": 2**53 + 1}, {"_id": 2, "n": 5}])
    route: dict[str, Any] = {"use_case": "leaderboard", "key": unique, "score": "n"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert (done.code, done.route("things")["verdict"]) == (1, "mismatches")
    write_plan(tmp_path, stores, database.name, {"things": {**route, "accept_loss": ["score_rounded"]}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0


def test_a_lossless_route_is_verified_clean_and_gives_back_every_byte(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    documents = [
        {"_id": bson.Int64(1), "price": bson.Decimal128("1.10"), "n": 1.0, "old": bson.Binary(b"x" * 16, 3)},
        {"_id": "two", "b": 1, "a": {"$x": [bson.MinKey(), -0.0]}},
    ]
    database.things.insert_many(documents)
    places: dict[str, dict[str, Any]] = {
        "strings": {"use_case": "cache", "key": f"{unique}:s:{{_id}}"},
        "hashes": {"target": "redis", "mapper": "hash", "key": f"{unique}:h:{{_id}}"},
        "items": {"use_case": "entity", "table": unique},
        "documents": {"use_case": "search", "index": unique},
        "strict": {
            "use_case": "search",
            "index": f"{unique}-strict",
            "dynamic": "strict",
            "mapping": {name: {"type": "object", "enabled": False} for name in ("price", "n", "old", "a", "b")},
        },
    }
    routes = {name: {"collection": "things", "fidelity": "lossless", **place} for name, place in places.items()}
    plan = write_plan(tmp_path, stores, database.name, routes)
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out
    assert [(row["held"], row["losses"]) for row in done.json["routes"]] == [(2, {})] * 5
    client = redis_client.Redis.from_url(stores.redis)
    for key, document in zip(("n:1", "s:two"), documents, strict=True):
        held = client.get(f"{unique}:s:{key}")
        assert isinstance(held, bytes)
        assert restore(String("", held)) == bson.encode(document, codec_options=CODEC)
        assert client.hget(f"{unique}:h:{key}", "_raw") == bson.encode(document, codec_options=CODEC)


def test_a_lossless_route_that_leaves_fields_out_is_refused_with_its_line(
    stores: Stores, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    route = {"use_case": "cache", "fidelity": "lossless", "fields": {"drop": ["a"]}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    refused = offramp("check", plan, folder=tmp_path)
    assert refused.code == 2
    assert "fidelity" in refused.err + refused.out
    assert "lossless keeps documents as they are" in refused.err + refused.out
