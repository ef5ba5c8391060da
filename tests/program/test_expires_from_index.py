"""R56: `expires: from_index` from a plan to the stores: followed, verified, and noticed when the index changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis as redis_client
from plans import Stores, offramp, write_plan
from pymongo.database import Database

YEARS = 10**9
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture
def planned(stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Callable[..., Path]:
    def plan(expires: Any = "from_index", **keys: Any) -> Path:
        routes = {
            "strings": {"use_case": "session", "key": f"{unique}:{{_id}}"},
            "items": {"use_case": "entity", "table": unique},
        }
        made = {name: {"collection": "things", "expires": expires, **route, **keys} for name, route in routes.items()}
        return write_plan(tmp_path, stores, database.name, made)

    return plan


def test_the_index_decides_in_every_store_and_a_changed_one_is_noticed(
    planned: Callable[..., Path],
    stores: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    database.things.insert_many([{"_id": 1, "at": NOW}, {"_id": 2, "at": [NOW, NOW + dt.timedelta(1)]}, {"_id": 3}])
    database.things.create_index("at", expireAfterSeconds=YEARS)
    plan = planned()
    told = offramp("check", plan, folder=tmp_path)
    assert f"strings: expires {YEARS} s after 'at'" in told.out

    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    ends = int(NOW.timestamp()) + YEARS
    server = redis_client.Redis.from_url(stores.redis)
    assert [server.expiretime(f"{unique}:n:{number}") for number in (1, 2, 3)] == [ends, ends, -1]
    table = boto3.resource("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb).Table(unique)
    assert {item["_id"]: item.get("_ttl") for item in table.scan()["Items"]} == {"n:1": ends, "n:2": ends, "n:3": None}

    server.expireat(f"{unique}:n:1", ends + 1)
    damaged = offramp("verify", plan, "--route", "strings", "--json", folder=tmp_path)
    assert (damaged.code, damaged.route("strings")["differs"]) == (1, 1)
    repaired = offramp("repair", plan, "--route", "strings", folder=tmp_path)
    assert repaired.code == 0, repaired.out + repaired.err
    assert server.expiretime(f"{unique}:n:1") == ends
    assert offramp("verify", plan, folder=tmp_path).code == 0

    database.things.drop_index("at_1")
    database.things.create_index("at", expireAfterSeconds=2 * YEARS)
    for command in ("verify", "backfill"):
        changed = offramp(command, plan, folder=tmp_path)
        assert changed.code == 2
        assert "E-CONFIG-CHANGED" in changed.err
        assert str(2 * YEARS) in changed.err
    again = offramp("backfill", plan, "--restart", folder=tmp_path)
    assert again.code == 0, again.out
    assert server.expiretime(f"{unique}:n:1") == ends + YEARS

    database.things.drop_index("at_1")
    database.things.create_index("at", expireAfterSeconds=2 * YEARS, partialFilterExpression={"_id": {"$gt": 1}})
    partial = offramp("check", plan, "--json", folder=tmp_path)
    assert partial.json["routes"][0]["expires"]["where"] == '{"_id": {"$gt": {"$numberInt": "1"}}}'
    assert offramp("verify", plan, folder=tmp_path).code == 2
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0
    assert [server.expiretime(f"{unique}:n:{number}") for number in (1, 2)] == [-1, ends + YEARS]

    database.things.drop_index("at_1")
    gone = offramp("verify", plan, "--json", folder=tmp_path)
    assert (gone.code, "E-SRC-TTL" in gone.out, "_id_ (_id)" in gone.out) == (2, True, True)


def test_seconds_after_a_field_arrive_and_are_verified(
    planned: Callable[..., Path], stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": 1, "at": NOW}, {"_id": 2, "at": NOW - dt.timedelta(days=400)}])
    done = offramp("backfill", planned({"field": "at", "after_seconds": 3600}), "--json", folder=tmp_path)
    assert done.code == 0, done.out
    assert (done.route("strings")["held"], done.route("strings")["expired"]) == (1, 1)
    ends = int(NOW.timestamp()) + 3600
    assert redis_client.Redis.from_url(stores.redis).expiretime(f"{unique}:n:1") == ends


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"expires": {"field": "at", "after_seconds": -1}}, "after_seconds"),
        ({"expires": {"field": "at", "after": 1}}, "after_seconds"),
        ({"expires": {"after_seconds": 1}}, "field"),
        ({"expires": ""}, "field name"),
        ({"transforms": [{"drop": ["x"]}]}, "transforms"),
        ({"expires": {"field": "at"}, "fields": {"drop": ["at"]}}, "leaves out 'at'"),
        ({"fields": {"drop": ["at"]}}, "needs 'at'"),
        ({"fields": {"drop": ["done"]}}, "needs 'done'"),
    ],
)
def test_an_expiry_that_cannot_be_followed_is_a_fault_of_the_plan(
    keys: dict[str, Any], named: str, planned: Callable[..., Path], database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database.things.create_index("at", expireAfterSeconds=YEARS, partialFilterExpression={"done": True})
    done = offramp("check", planned(**keys), folder=tmp_path)
    assert done.code == 2
    assert named in done.err
