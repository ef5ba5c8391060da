"""R81-R89: an index designed from a census, published by alias and put back from its load, by a whole run."""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from elasticsearch_indexes import told
from plans import Stores, offramp, write_plan
from pymongo.database import Database


def mappings(stores: Stores, index: str) -> Any:
    (described,) = told(stores.elasticsearch, "GET", f"/{index}").values()
    return described["mappings"]


def held(stores: Stores, name: str) -> dict[str, Any]:
    """What a reader of the name finds."""
    found = told(stores.elasticsearch, "POST", f"/{name}/_search", {"size": 1000})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


EVERYTHING: dict[str, Any] = {
    "text": "text",
    "id": ObjectId(),
    "uuid": Binary(b"0" * 16, 4),
    "bytes": b"bytes",
    "other": Binary(b"other", 128),
    "int": 1,
    "long": Int64(2**53 + 1),
    "double": 1.5,
    "nan": math.nan,
    "decimal": Decimal128("1.10"),
    "flag": True,
    "null": None,
    "at": dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    "stamp": Timestamp(1, 2),
    "regex": Regex("a.c", "i"),
    "least": MinKey(),
    "most": MaxKey(),
    "reference": DBRef("users", ObjectId()),
    "object": {"inner": {"deep": [1, 2.5]}, "a.b": 1, "$x": "y", "": 0},
    "array": ["a", ["b"], None],
    "empty": [],
    "nothing": {},
    "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}],
    "_source": "reserved",
}


@pytest.mark.parametrize("conflict", ["keep", "json_string", "split"])
def test_every_kind_of_value_arrives_in_a_strict_index_made_by_census(
    conflict: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    names = list(EVERYTHING)
    # Each field with its own value, absent, null, and with the value of another field: every pair of kinds conflicts.
    for shift in range(0, len(names), 5):
        database.things.insert_one(
            {name: EVERYTHING[names[(at + shift) % len(names)]] for at, name in enumerate(names)}
        )
    database.things.insert_many([{}, dict.fromkeys(names), {"x" * 600: 1}, {"_id": "i" * 600}])
    route = {"use_case": "search", "index": unique, "conflict": conflict}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    row = done.route("things")
    assert (done.code, row["rejected"], row["held"], row["verdict"]) == (0, 0, 9, "clean"), row
    assert mappings(stores, unique)["dynamic"] == "strict"
    assert offramp("verify", plan, folder=tmp_path).code == 0


def versioned(folder: Path, stores: Stores, database: str, unique: str, **keys: Any) -> Path:
    route = {"use_case": "search", "index": unique, "versioned": True, **keys}
    return write_plan(folder, stores, database, {"things": route})


def test_readers_see_a_run_only_once_its_verification_is_clean(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(20)])
    plan = versioned(tmp_path, stores, database.name, unique)
    done = offramp("backfill", plan, "--verify", "none", "--json", folder=tmp_path)
    assert (done.code, done.route("things")["place"]) == (0, "")
    assert told(stores.elasticsearch, "GET", f"/{unique}")["status"] == 404
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["verdict"], row["place"]) == ("clean", f"{unique} -> {unique}__1")
    assert len(held(stores, unique)) == 20

    # A second run from the beginning that is not clean stays out of sight; the one after it that is clean is seen.
    database.things.insert_one({"_id": "bad", "n": 1, "  ": 1})
    refused = offramp("backfill", plan, "--restart", "--json", folder=tmp_path)
    assert refused.code == 1
    assert refused.route("things")["place"] == ""
    assert len(held(stores, unique)) == 20
    database.things.replace_one({"_id": "bad"}, {"n": 1})
    text = offramp("backfill", plan, "--restart", folder=tmp_path)
    assert text.code == 0
    assert f"published, {unique} -> {unique}__3" in text.out
    assert len(held(stores, unique)) == 21
    assert list(told(stores.elasticsearch, "GET", f"/_alias/{unique}")) == [f"{unique}__3"]
    assert len(held(stores, f"{unique}__1")) == 20, "the old version stays, to roll back to"
    assert offramp("backfill", plan, folder=tmp_path).code == 0, "publishing twice is once"


def test_verification_judges_the_version_and_not_what_the_alias_shows(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(20)])
    plan = versioned(tmp_path, stores, database.name, unique)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert offramp("backfill", plan, "--restart", "--verify", "none", folder=tmp_path).code == 0
    told(stores.elasticsearch, "PUT", f"/{unique}__2/_doc/extra?refresh=true", {"n": 5})
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert (row["extra"], row["verdict"]) == (1, "mismatches")
    assert list(told(stores.elasticsearch, "GET", f"/_alias/{unique}")) == [f"{unique}__1"]


def test_an_index_of_the_aliass_name_gives_way_only_when_told(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1, "n": 1})
    told(stores.elasticsearch, "PUT", f"/{unique}/_doc/mine?refresh=true", {"n": 0})
    refused = offramp("backfill", versioned(tmp_path, stores, database.name, unique), folder=tmp_path)
    assert refused.code == 2
    assert "E-ES-ALIAS" in refused.err
    assert list(held(stores, unique)) == ["mine"]
    plan = versioned(tmp_path, stores, database.name, unique, replace=True)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert list(held(stores, unique)) == ["n:1"]
    assert list(told(stores.elasticsearch, "GET", f"/_alias/{unique}")) == [f"{unique}__1"]


def test_an_alias_of_others_is_left_alone(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1, "n": 1})
    told(stores.elasticsearch, "PUT", f"/other-{unique}", {"aliases": {unique: {}}})
    refused = offramp("backfill", versioned(tmp_path, stores, database.name, unique), folder=tmp_path)
    assert refused.code == 2
    assert f"other-{unique}" in refused.err


def test_a_state_that_never_copied_the_route_does_not_guess_its_version(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1, "n": 1})
    plan = versioned(tmp_path, stores, database.name, unique)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    (tmp_path / "state.db").unlink()
    found = offramp("verify", plan, "--json", folder=tmp_path)
    assert found.code == 3
    assert "E-ES-VERSION" in found.route("things")["reasons"][0]


def test_a_resumed_run_keeps_its_design_whatever_the_documents_are_now(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(5)])
    plan = versioned(tmp_path, stores, database.name, unique)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    with sqlite3.connect(tmp_path / "state.db") as db:
        (kept,) = db.execute("SELECT design FROM designs").fetchone()
        db.execute("UPDATE partitions SET done = 0, position = NULL")
        db.execute("UPDATE partitions SET tally = '{}'")
    database.things.insert_one({"_id": 5, "n": "text", "new": 1})
    again = offramp("backfill", plan, "--json", folder=tmp_path)
    assert again.route("things")["rejected"] == 1, "the index is strict, and its mapping has not moved"
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("SELECT design FROM designs").fetchall() == [(kept,)]
    assert json.loads(kept)["index"] == f"{unique}__1"
    assert told(stores.elasticsearch, "GET", f"/{unique}__2")["status"] == 404


def test_a_plan_changed_before_anything_was_written_is_designed_for_anew(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"f": 1}, {"f": "x"}])
    told(
        stores.elasticsearch,
        "PUT",
        f"/{unique}",
        {"mappings": {"dynamic": "strict", "properties": {"f": {"type": "long"}}}},
    )
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "search", "index": unique}})
    assert "f is long, the plan says text" in offramp("backfill", plan, folder=tmp_path).err
    told(stores.elasticsearch, "DELETE", f"/{unique}")
    route = {"use_case": "search", "index": unique, "conflict": "split"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert set(mappings(stores, unique)["properties"]) == {"f__num", "f__str", "offramp_id", "offramp_raw"}
    assert sorted(map(list, held(stores, unique).values())) == [["f__num"], ["f__str"]]


def test_settings_for_the_load_are_put_back_even_by_the_next_run(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(5)])
    keys = {"load_refresh_interval": "-1", "load_replicas": 0, "replicas": 0}
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "search", "index": unique, **keys}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    (described,) = told(stores.elasticsearch, "GET", f"/{unique}").values()
    assert described["settings"]["index"].get("refresh_interval") is None
    assert described["mappings"]["_meta"]["offramp"].get("before_load") is None

    # As a run that was killed while it copied leaves the index.
    told(stores.elasticsearch, "PUT", f"/{unique}/_settings", {"index": {"refresh_interval": "-1"}})
    left = {"refresh_interval": "9s", "number_of_replicas": "0"}
    told(stores.elasticsearch, "PUT", f"/{unique}/_mapping", {"_meta": {"mine": 1, "offramp": {"before_load": left}}})
    found = offramp("verify", plan, "--json", folder=tmp_path)
    assert found.code == 1
    assert "settings of the load" in found.route("things")["reasons"][0]
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    (described,) = told(stores.elasticsearch, "GET", f"/{unique}").values()
    assert described["settings"]["index"]["refresh_interval"] == "9s"
    assert described["mappings"]["_meta"]["mine"] == 1
    assert described["mappings"]["_meta"]["offramp"].get("before_load") is None


def test_the_report_says_what_a_census_left_out(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    names = [f"n{number}" for number in range(800)]
    database.things.insert_many([{"_id": n, "a": 1, "by": {f"g{n}": dict.fromkeys(names, n)}} for n in range(30)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "search", "index": unique}})
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["verdict"], row["read"]) == ("clean", 30)
    assert row["notes"] == ["more than 20000 fields in the census, so flattened: by"]
    assert mappings(stores, unique)["properties"]["by"]["type"] == "flattened"


def test_a_census_of_a_sample_rejects_what_it_did_not_see(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(30)])
    database.things.insert_one({"_id": 1000, "n": 1, "unseen": 1})
    route = {"use_case": "search", "index": unique, "census": "sample", "census_documents": 5, "partitions": 1}
    plan = write_plan(tmp_path, stores, database.name, {"things": {**route, "where": {}}})
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert row["read"] == 31
    assert row["rejected"] == ("unseen" not in mappings(stores, unique)["properties"])


def test_a_census_sees_only_what_goes_along_and_yields_to_the_plans_own_mapping(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"n": 5, "secret": {"a": 1}, "place": {"at": [4.5, 52.0], "name": "x"}})
    route = {
        "use_case": "search",
        "index": unique,
        "fields": {"drop": ["secret"]},
        "census": "full",
        "mapping": {"n": "keyword", "place.name": "keyword"},
        "geo": ["place.at"],
    }
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    found = mappings(stores, unique)["properties"]
    assert set(found) == {"n", "place", "offramp_id", "offramp_raw"}
    assert found["n"]["type"] == found["place"]["properties"]["name"]["type"] == "keyword"
    assert found["place"]["properties"]["at"]["type"] == "geo_point"
    assert offramp("backfill", plan, folder=tmp_path).code == 0, "the index its own design made fits the plan"


def test_a_mapping_of_the_plan_alone_needs_no_census(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"n": 5, "more": 1})
    route = {"use_case": "search", "index": unique, "mapping": {"n": "keyword"}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert mappings(stores, unique)["dynamic"] == "false"
    assert set(mappings(stores, unique)["properties"]) == {"n"}


def test_documents_no_index_can_be_designed_for_stop_the_run_before_anything_is_written(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"at": [1, 2]}, {"at": "somewhere"}])
    route = {"use_case": "search", "index": unique, "geo": ["at"]}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    refused = offramp("backfill", plan, folder=tmp_path)
    assert refused.code == 2
    assert "E-CENSUS" in refused.err
    assert told(stores.elasticsearch, "GET", f"/{unique}")["status"] == 404


def test_dotted_names_become_paths_of_the_mapping_and_are_verified(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """R12: as objects in mapping and source, counted, and a document with two fields at one path rejected."""
    database.things.insert_many([{"_id": 1, "a.b": 1, "a": {"c": "x"}}, {"_id": 2, "a": {"b": 2}}])
    route = {"use_case": "search", "index": unique, "values": {"name_escape": "paths"}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.route("things")["losses"] == {"name_path": 1}, done.out + done.err
    assert done.code != 0, "a loss nobody accepted"
    properties = mappings(stores, unique)["properties"]
    assert set(properties) == {"a", "offramp_id", "offramp_raw"}
    assert list(properties["a"]["properties"]) == ["b", "c"]
    assert held(stores, unique) == {"n:1": {"a": {"b": 1, "c": "x"}}, "n:2": {"a": {"b": 2}}}
    accepted = {"things": {**route, "accept_loss": ["name_path"]}}
    assert offramp("verify", write_plan(tmp_path, stores, database.name, accepted), folder=tmp_path).code == 0
    told(stores.elasticsearch, "POST", f"/{unique}/_update/n:1?refresh=true", {"doc": {"a": {"b": 7}}})
    found = offramp("verify", plan, "--json", folder=tmp_path)
    assert (found.code, found.route("things")["differs"]) == (1, 1)
    database.things.insert_one({"_id": 3, "a.b": 1, "a": {"b": 1}})
    again = offramp("backfill", plan, "--restart", "--json", folder=tmp_path).route("things")
    assert (again["rejected"], again["held"]) == (1, 2)
