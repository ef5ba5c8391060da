"""Longer variants, run by `make soak`."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from bson import Int64, ObjectId
from plans import Stores, offramp, write_plan
from pymongo.database import Database

DOCUMENTS = 160_000
KINDS = ("int", "string", "objectId", "date", "binData", "object", "double", "long")
PREFIXES = {"string": b"s", "objectId": b"o", "date": b"d", "binData": b"x", "object": b"j"}


def identifier(number: int) -> Any:
    return (
        number,
        f"{number}",
        ObjectId(number.to_bytes(12, "big")),
        dt.datetime(2000, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=number),
        number.to_bytes(4, "big"),
        {"tenant": number % 7, "number": number},
        number + 0.5,
        Int64(2**40 + number),
    )[number % len(KINDS)]


@pytest.mark.soak
def test_160_000_documents_of_mixed_ids_are_all_held(
    mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    for first in range(0, DOCUMENTS, 5000):
        database.things.insert_many(
            [{"_id": identifier(number), "n": number, "text": "x" * 40} for number in range(first, first + 5000)],
            ordered=False,
        )
    stores = Stores(mongodb_url, redis_url, "", "")
    route = {"use_case": "session", "key": f"{unique}:{{_id}}"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out
    row = done.route("things")
    assert (row["documents"], row["held"], row["extra"]) == (DOCUMENTS, DOCUMENTS, 0)
    keys = redis_client.Redis.from_url(redis_url).scan_iter(match=f"{unique}:*", count=5000)
    held = Counter(key.split(b":")[1] for key in set(keys))
    each = DOCUMENTS // len(KINDS)
    assert held == {**dict.fromkeys(PREFIXES.values(), each), b"n": 3 * each}
