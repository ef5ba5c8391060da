"""`backfill --restart` deletes what an earlier run left, says how much, and leaves what is not of the route."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis


def test_a_restart_deletes_its_own_records_alone_and_says_what_it_deleted_and_left(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(9)])
    path = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    first = offramp("backfill", path, "--json", folder=tmp_path)
    assert (first.code, first.route("things")["swept"]) == (0, None)
    database.things.delete_many({"_id": {"$lt": 3}})
    with Redis.from_url(stores.redis) as redis:
        redis.set(f"{unique}:cache:xyz", '{"_id":"xyz"}')
        redis.set(f"{unique}:s:lock", "worker 3")
        before = sorted(redis.scan_iter(f"{unique}:*"))
        dry = offramp("backfill", path, "--restart", "--dry-run", folder=tmp_path)
        assert (dry.code, sorted(redis.scan_iter(f"{unique}:*"))) == (0, before)
        done = offramp("backfill", path, "--restart", folder=tmp_path)
        left = sorted(redis.scan_iter(f"{unique}:*"))
    foreign = [f"{unique}:cache:xyz", f"{unique}:s:lock"]
    assert left == sorted([*(f"{unique}:n:{number}".encode() for number in range(3, 9)), *map(str.encode, foreign)])
    assert "things: 3 records would be deleted, as no document maps to them\n" in dry.out
    assert "things: 2 records would stay: not of this route, as no document would make such a record there: " in dry.out
    assert dry.out.endswith("nothing was written\n")
    assert done.code == 1  # Verification still finds what is not the route's under its prefix.
    assert "things: 3 records deleted that an earlier run left and no document maps to\n" in done.out
    kept = "things: 2 records left: not of this route, as no document would make such a record there: "
    assert f"{kept}{', '.join(foreign)}\n" in done.out or f"{kept}{', '.join(reversed(foreign))}\n" in done.out
    report = json.loads((tmp_path / ".offramp" / "reports" / path.stem / "report.json").read_text())
    swept = report["routes"][0]["swept"]
    assert (swept["deleted"], swept["kept"], sorted(swept["not_of_route"])) == (3, 2, foreign)
    assert not swept["indistinct"]
    assert f"{unique}:s:lock" in (tmp_path / ".offramp" / "reports" / path.stem / "report.html").read_text()


def test_where_nothing_tells_a_restart_says_so(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "name": f"a{number}", "n": number} for number in range(3)])
    route = {"use_case": "counter", "value": "n", "key": f"{unique}:{{name}}", "sync": "rescan"}
    path = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        redis.set(f"{unique}:cache:xyz", "5")
        redis.set(f"{unique}:cache:page", "<p>")
        done = offramp("backfill", path, "--restart", folder=tmp_path)
        assert (redis.exists(f"{unique}:cache:xyz"), redis.exists(f"{unique}:cache:page")) == (0, 1)
    assert "cannot be told from the route's own records and is deleted as well" in done.out


def test_a_mapper_of_ones_own_is_known_by_the_types_of_its_records(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(3)])
    (tmp_path / "own.py").write_text(
        "from mappers.redis import String\n\n\ndef own(document, *, start):\n"
        "    yield String(f\"{start}:{document['_id']}\", b'x')\n"
    )
    route = {"target": "redis", "use": "own.py:own", "options": {"start": unique}, "key": f"{unique}:{{_id}}"}
    path = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    database.things.delete_one({"_id": 0})
    with Redis.from_url(stores.redis) as redis:
        redis.hset(f"{unique}:locks", "a", "b")
        done = offramp("backfill", path, "--restart", "--json", folder=tmp_path)
        assert (redis.exists(f"{unique}:0"), redis.exists(f"{unique}:locks")) == (0, 1)
    swept = done.route("things")["swept"]
    assert (swept["deleted"], swept["kept"], swept["indistinct"]) == (1, 1, True)


def test_what_a_restart_would_delete_is_shown_for_every_target_and_changes_nothing(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "name": f"a{number}"} for number in range(5)])
    routes: dict[str, dict[str, Any]] = {
        "items": {"use_case": "entity", "table": unique},
        "found": {"use_case": "search", "index": unique},
        "versions": {"use_case": "search", "index": f"{unique}-v", "versioned": True},
        "scores": {"use_case": "leaderboard", "score": "_id", "key": f"{unique}-top"},
    }
    path = write_plan(
        tmp_path, stores, database.name, {name: {"collection": "things", **keys} for name, keys in routes.items()}
    )
    first = offramp("backfill", path, "--restart", "--dry-run", "--json", folder=tmp_path)
    assert (first.code, {row["is_first"] for row in first.json["routes"]}) == (0, {True}), first.err
    assert offramp("backfill", path, folder=tmp_path).code == 0
    database.things.delete_many({"_id": {"$lt": 2}})
    dry = offramp("backfill", path, "--restart", "--dry-run", "--json", folder=tmp_path)
    rows = {row["route"]: row for row in dry.json["routes"]}
    assert (dry.code, dry.json["dry_run"]) == (0, True), dry.err
    # A new version of an index begins empty.
    assert {name: row["swept"]["deleted"] for name, row in rows.items()} == {
        "items": 2,
        "found": 2,
        "versions": 0,
        "scores": 2,
    }
    # Nothing is forgotten: the copy that there is can still be verified against, and has lost two documents.
    verified = offramp("verify", path, "--json", folder=tmp_path)
    assert [verified.route(name)["extra"] for name in routes] == [2, 2, 2, 2]
    done = offramp("backfill", path, "--restart", "--json", folder=tmp_path)
    assert done.code == 0, done.out
    assert [done.route(name)["swept"]["deleted"] for name in routes] == [2, 2, 0, 2]


def test_a_dry_run_is_of_a_restart_alone(stores: Stores, unique: str, tmp_path: Path) -> None:
    path = write_plan(tmp_path, stores, unique, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    for arguments, words in ((("--dry-run",), "add --restart"), (("--restart", "--dry-run", "--prefect"), "--prefect")):
        done = offramp("backfill", path, *arguments, folder=tmp_path)
        assert (done.code, words in done.err) == (2, True), done.err


def test_an_empty_table_that_a_restart_would_make_anew_is_shown(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.orders.insert_one({"_id": 1, "customer": "a", "shop": "b"})
    route: dict[str, Any] = {"use_case": "entity", "collection": "orders", "key": {"partition": "customer"}}
    path = write_plan(tmp_path, stores, database.name, {unique: route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    client = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb)
    client.delete_item(TableName=unique, Key={"customer": {"S": "a"}})
    write_plan(tmp_path, stores, database.name, {unique: route | {"key": {"partition": "shop"}}})
    dry = offramp("backfill", path, "--restart", "--dry-run", folder=tmp_path)
    assert (dry.code, "its empty place has another key than the plan, and would be removed" in dry.out) == (0, True)
    assert client.describe_table(TableName=unique)["Table"]["KeySchema"][0]["AttributeName"] == "customer"
