"""What `offramp check` says of a way to a store that others may read; a machine of its own stands for another host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plans import Stores, offramp, write_plan
from pymongo.database import Database

ELSEWHERE = "0.0.0.0"
"""It leads to this machine, and is not one of the names that are told to be this machine."""


def test_check_notes_each_store_that_is_reached_without_tls(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1, "text": "x"})
    routes = {
        "sessions": {"use_case": "session", "collection": "things", "key": f"{unique}:{{_id}}"},
        "search": {"use_case": "search", "collection": "things", "index": unique},
    }
    plain = offramp("check", write_plan(tmp_path, stores, database.name, routes), folder=tmp_path)
    assert plain.code == 0, plain.err
    assert "without TLS" not in plain.out
    away = {name: url.replace("127.0.0.1", ELSEWHERE) for name, url in vars(stores).items() if name != "dynamodb"}
    distant = Stores(**away, dynamodb=stores.dynamodb)
    source = {"uri": distant.mongodb, "database": database.name, "retry_deadline_s": 10}
    done = offramp(
        "check", write_plan(tmp_path, distant, database.name, routes, source=source), "--json", folder=tmp_path
    )
    assert done.code == 0, done.err
    told = {route["route"]: route["notes"] for route in done.json["routes"]} | {"": done.json["notes"]}
    for place, remedy in (("", "tls=true"), ("sessions", "rediss://"), ("search", "https://")):
        (note,) = [note for note in told[place] if "without TLS" in note]
        assert ELSEWHERE in note
        assert remedy in note
