"""Every use case of Redis as its user runs it: copied, verified clean, and each kind of damage found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from bson import Int64, ObjectId
from plans import Stores, offramp, write_plan
from pymongo.database import Database

AT = datetime(2020, 1, 1, tzinfo=UTC)
COUNT = 120


def document(number: int) -> dict[str, Any]:
    return {
        "_id": ObjectId(f"{0x5F3B1C2D + number % 7:08x}4e5f6071{number:08x}"),
        "count": Int64(2**53 + number),
        "tags": [f"t{number % 5}", f"t{number % 3}", number % 2, "ü"][: number % 5],
        "user": number % 4,
        "at": AT,
        "place": {"type": "Point", "coordinates": [number - 60, number / 2]},
        "html": f"<p>{number}</p>",
    }


@pytest.fixture
def routes(unique: str, database: Database[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    database["things"].insert_many(document(number) for number in range(COUNT))
    made: dict[str, dict[str, Any]] = {
        "counters": {"use_case": "counter", "value": "count"},
        "sets": {"use_case": "set", "values": "tags", "accept_loss": ["set_duplicate"]},
        "index": {
            "use_case": "set",
            "member": "_id",
            "each": "tags",
            "key": f"{unique}:index:{{{{tags}}}}",
            "accept_loss": ["set_duplicate"],
        },
        "lists": {"use_case": "queue", "values": "tags"},
        "feeds": {"use_case": "feed", "entry": "at", "key": f"{unique}:feeds:{{user}}", "partitions": 4},
        "stream": {"use_case": "feed", "entry": "_id"},
        "places": {"use_case": "geo", "location": "place", "accept_loss": ["geo_rounded"]},
        "packed": {"use_case": "cache", "format": "msgpack"},
        "json": {"target": "redis", "mapper": "json"},
        "pages": {"use_case": "cache", "format": "raw", "value": "html"},
    }
    return {f"{unique}-{name}": {"collection": "things", **keys} for name, keys in made.items()}


DAMAGE = {
    "counters": ("INCR", "{unique}-counters:o:{id}"),
    "sets": ("SADD", "{unique}-sets:o:{id}", "more"),
    "index": ("SREM", "{unique}:index:{{t1}}", "o:{id}"),
    "lists": ("RPUSH", "{unique}-lists:o:{id}", "again"),
    "feeds": ("XADD", "{unique}:feeds:1", "*", "theirs", "x"),
    "stream": ("XTRIM", "{unique}-stream", "MAXLEN", str(COUNT - 1)),
    "places": ("GEOADD", "{unique}-places", "-59", "0.51", "o:{id}"),
    "packed": ("APPEND", "{unique}-packed:o:{id}", "x"),
    "json": ("JSON.SET", "{unique}-json:o:{id}", "$.place.coordinates[0]", "-58.99"),
    "pages": ("SET", "{unique}-pages:o:{id}", "<p>other</p>"),
}


def test_every_use_case_arrives_and_whatever_is_damaged_is_found(
    mongodb_url: str,
    redis_json_url: str,
    database: Database[dict[str, Any]],
    routes: dict[str, dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = write_plan(tmp_path, Stores(mongodb_url, redis_json_url, "", ""), database.name, routes)
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    verdicts = {row["route"]: (row["verdict"], row["read"], row["dropped"]) for row in done.json["routes"]}
    empty = COUNT // 5
    arrays = {f"{unique}-{name}" for name in ("sets", "index", "lists")}
    assert verdicts == {name: ("clean", COUNT, empty if name in arrays else 0) for name in routes}
    losses = {row["route"].partition("-")[2]: row["losses"] for row in done.json["routes"]}
    repeated = sum(len(tags) - len({str(tag) for tag in tags}) for n in range(COUNT) for tags in [document(n)["tags"]])
    assert losses["sets"] == losses["index"] == {"set_duplicate": repeated}
    assert losses["places"]["geo_rounded"] > COUNT / 2
    assert losses["counters"] == losses["lists"] == losses["feeds"] == losses["stream"] == {}
    with redis_client.Redis.from_url(redis_json_url) as client:
        assert client.incr(f"{unique}-counters:o:{document(5)['_id']}") == 2**53 + 6
        client.decr(f"{unique}-counters:o:{document(5)['_id']}")
        assert [one for one, _ in client.xrange(f"{unique}-stream")] == [
            one for one, _ in sorted(client.xrange(f"{unique}-stream"), key=lambda each: int(each[0].split(b"-")[0]))
        ]
        assert client.xlen(f"{unique}-stream") == COUNT
        for command in DAMAGE.values():
            client.execute_command(*(part.format(unique=unique, id=document(1)["_id"]) for part in command))
    again = offramp("verify", plan, "--json", folder=tmp_path)
    assert again.code == 1
    assert {row["route"]: row["verdict"] for row in again.json["routes"] if row["verdict"] == "clean"} == {}
