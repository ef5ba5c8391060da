"""`backfill --restart` deletes what an earlier run left, says how much, and leaves what is not of the route."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        done = offramp("backfill", path, "--restart", folder=tmp_path)
        left = sorted(redis.scan_iter(f"{unique}:*"))
    foreign = [f"{unique}:cache:xyz", f"{unique}:s:lock"]
    assert left == sorted([*(f"{unique}:n:{number}".encode() for number in range(3, 9)), *map(str.encode, foreign)])
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
