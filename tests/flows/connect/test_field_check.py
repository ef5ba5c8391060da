"""`check` looks at documents of each route for the fields that its plan names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plans import Stores, offramp, write_plan
from pymongo.database import Database

from flows.connect.field_check import check_documents
from flows.plan.load import load


def test_a_field_that_no_document_has_is_a_note_of_its_route(
    mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "expires_at": None} for number in range(30)])
    database.create_collection("empty")
    routes = {
        "things": {"use_case": "session", "key": f"{unique}:{{_id}}", "expires": "expire_at"},
        "right": {"use_case": "session", "collection": "things", "key": f"{unique}r:{{_id}}", "expires": "expires_at"},
        "empty": {"use_case": "session", "key": f"{unique}e:{{_id}}", "expires": "nothing"},
    }
    path = write_plan(tmp_path, Stores(mongodb_url, redis_url, "", ""), database.name, routes)
    plan = load(path)
    said = "expires: none of the 30 documents looked at has the field 'expire_at'; did you mean 'expires_at'?"
    notes = {name: look.notes for name, look in check_documents(plan, plan.chosen(()), {}).items()}
    assert notes == {"things": [said], "right": [], "empty": []}
    checked = offramp("check", path, folder=tmp_path)
    assert checked.code == 0
    assert f"things: {said}" in checked.out
