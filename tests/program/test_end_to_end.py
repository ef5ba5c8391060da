"""The program as its user runs it: processes, real servers, killed half-way, damaged behind its back."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import bson
import pytest
import redis as redis_client
from elasticsearch import Elasticsearch
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from real_collections import beside_the_project, documents_of
from waiting import until

MAPPERS = '''
import os, threading
from pathlib import Path
from mappers.dynamodb import Key, item
from mappers.elasticsearch import index_document
from mappers.identity import identity
from mappers.redis import String

def held_up(document, gate):
    """Wait at the document whose `n` the gate names until the file of that name appears."""
    at, path = gate.split(" ", 1)
    while document["n"] == int(at) and not Path(path).exists():
        threading.Event().wait(0.02)

def redis(document, *, gate, prefix):
    held_up(document, gate)
    return [String(prefix + identity(document), str(document["n"]).encode())]

def dynamodb(document, *, gate, prefix):
    held_up(document, gate)
    return [item({**document, "_id": identity(document)})]

def elasticsearch(document, *, gate, prefix):
    held_up(document, gate)
    return [index_document({"n": document["n"]}, identity(document))]
'''


@pytest.fixture
def redis(stores: Stores) -> redis_client.Redis:
    return redis_client.Redis.from_url(stores.redis)


def place(target: str, unique: str) -> dict[str, Any]:
    return {
        "redis": {"key": f"{unique}:{{_id}}"},
        "dynamodb": {"table": unique},
        "elasticsearch": {"index": unique},
    }[target]


def positions(folder: Path) -> list[tuple[bytes | None, int]]:
    with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
        return list(db.execute("SELECT position, done FROM partitions ORDER BY number"))


def begun(folder: Path) -> bool:
    try:
        return any(at is not None for at, _ in positions(folder))
    except sqlite3.OperationalError:
        return False


def held_up_plan(folder: Path, stores: Stores, database: str, target: str, unique: str, at: int) -> tuple[Path, Path]:
    """Write a plan whose mapper waits at one document; return it and the file that lets it go on."""
    (folder / "gated.py").write_text(MAPPERS, encoding="utf-8")
    gate = folder / "go"
    route = {
        "target": target,
        "use": f"gated.py:{target}",
        "options": {"gate": f"{at} {gate}", "prefix": f"{unique}:"},
        **place(target, unique),
    }
    # One batch in flight: the one before the held-up one is acknowledged and recorded when the mapper waits.
    return write_plan(folder, stores, database, {"things": route}, run={"window": 1}), gate


@pytest.mark.process
@pytest.mark.parametrize("target", ["redis", "dynamodb", "elasticsearch"])
def test_a_run_killed_half_way_is_resumed_to_a_clean_end(
    target: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(3500)])
    plan, gate = held_up_plan(tmp_path, stores, database.name, target, unique, at=2600)
    running = start("backfill", plan, folder=tmp_path)
    try:
        until(lambda: begun(tmp_path) or running.poll() is not None, "a first checkpoint")
        assert running.poll() is None, running.communicate()
        second = offramp("backfill", plan, "--json", folder=tmp_path)
        assert second.code == 3
        assert second.json["error"]["code"] == "E-LEASE-HELD"
    finally:
        running.kill()
        running.communicate()
    before = positions(tmp_path)
    assert before[0][0] is not None
    assert not before[0][1]
    gate.touch()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.err
    row = resumed.route("things")
    assert (row["read"], row["records"], row["held"], row["extra"], row["verdict"]) == (3500, 3500, 3500, 0, "clean")


@pytest.mark.process
def test_a_stop_by_signal_ends_at_a_checkpoint_and_says_that_the_command_resumes(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(3500)])
    plan, gate = held_up_plan(tmp_path, stores, database.name, "redis", unique, at=2600)
    running = start("backfill", plan, "--json", folder=tmp_path)
    until(lambda: begun(tmp_path) or running.poll() is not None, "a first checkpoint")
    running.send_signal(signal.SIGTERM)
    gate.touch()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert "stopping at the next checkpoint" in err
    row = json.loads(out)["routes"][0]
    assert row["verdict"] == "stopped"
    assert 1000 <= row["read"] < 3500
    assert offramp("backfill", plan, folder=tmp_path).code == 0


def damage_redis(stores: Stores, unique: str) -> None:
    server = redis_client.Redis.from_url(stores.redis)
    assert server.delete(f"{unique}:n:1")
    server.set(f"{unique}:n:2", server.get(f"{unique}:n:3") or b"")
    server.set(f"{unique}:s:planted", b'{"_id":"planted"}')


def damage_dynamodb(stores: Stores, unique: str) -> None:
    table = boto3.resource("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb).Table(unique)
    table.delete_item(Key={"_id": "n:1"})
    table.update_item(Key={"_id": "n:2"}, UpdateExpression="SET n = :n", ExpressionAttributeValues={":n": "2"})
    table.put_item(Item={"_id": "planted"})


def damage_elasticsearch(stores: Stores, unique: str) -> None:
    client = Elasticsearch(stores.elasticsearch)
    client.delete(index=unique, id="n:1")
    client.update(index=unique, id="n:2", doc={"n": 7})
    client.index(index=unique, id="planted", document={})


@pytest.mark.parametrize(
    ("use_case", "target", "damage"),
    [
        ("session", "redis", damage_redis),
        ("entity", "dynamodb", damage_dynamodb),
        ("search", "elasticsearch", damage_elasticsearch),
    ],
)
def test_a_record_deleted_changed_or_added_behind_its_back_is_found(
    use_case: str,
    target: str,
    damage: Callable[[Stores, str], None],
    stores: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(50)])
    route = {"use_case": use_case, **place(target, unique)}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert offramp("verify", plan, folder=tmp_path).code == 0
    damage(stores, unique)
    found = offramp("verify", plan, "--json", folder=tmp_path)
    assert found.code == 1
    row = found.route("things")
    assert (row["held"], row["missing"], row["differs"], row["extra"]) == (49, 1, 1, 1)
    assert row["verdict"] == found.json["verdict"] == "mismatches"
    assert {kind: len(addresses) for kind, addresses in row["samples"].items()} == {
        "missing": 1,
        "differs": 1,
        "extra": 1,
    }
    counted = offramp("verify", plan, "--level", "counts", "--json", folder=tmp_path)
    assert counted.code == 0, "counting cannot see one lost and one added; the report says it only counted"
    assert counted.route("things")["missing"] is None
    mended = offramp("backfill", plan, "--restart", "--json", folder=tmp_path)
    assert (mended.code, mended.route("things")["extra"]) == (0, 0)


def test_documents_that_no_store_can_take_are_rejects_and_the_rest_arrives(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    secret = "4111-1111-1111-1111"
    database.things.insert_many(
        [{"_id": number, "n": number} for number in range(20)] + [{"_id": "big", "card": secret, "text": "x" * 500_000}]
    )
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "entity", "table": unique}})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 1
    row = done.route("things")
    assert (row["read"], row["copied"], row["rejected"], row["held"], row["verdict"]) == (21, 20, 1, 20, "rejects")
    told = offramp("status", plan, folder=tmp_path)
    assert "s:big: map: E-DDB-SIZE text" in told.out
    everything = told.out + done.out + done.err + (tmp_path / "state.db").read_bytes().decode("latin-1")
    assert secret not in everything


def test_documents_the_index_refuses_are_rejects_not_missing(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(20)] + [{"_id": "x", "n": "many"}])
    route = {"use_case": "search", "index": unique, "mapping": {"n": "long"}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    row = done.route("things")
    assert done.code == 1
    assert (row["rejected"], row["records"], row["held"], row["missing"]) == (1, 20, 20, 0)
    assert row["verdict"] == "rejects"


def test_two_documents_at_one_address_are_found(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "name": f"name {number % 9}"} for number in range(10)])
    route = {"use_case": "session", "key": f"{unique}:{{name}}"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["records"], row["held"], row["collides"], row["verdict"]) == (10, 9, 1, "mismatches")


def test_nothing_compared_is_nothing_proven(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.create_collection("things")
    route: dict[str, Any] = {"use_case": "session", "key": f"{unique}:{{_id}}"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 3
    assert "nothing" in done.route("things")["reasons"][0]
    route["allow_empty"] = True
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0


def test_documents_inserted_after_the_copy_are_reported_by_type(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(10)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.insert_one({"_id": "later"})
    found = offramp("verify", plan, "--level", "counts", "--json", folder=tmp_path)
    assert found.code == 1
    assert any("string 0 of 1" in reason for reason in found.route("things")["reasons"])


@pytest.mark.process
def test_a_changed_plan_cannot_resume_and_says_what_changed(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "a": 1, "b": 2} for number in range(10)])
    route: dict[str, Any] = {"use_case": "session", "key": f"{unique}:{{_id}}"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route}, run={"workers": 1})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    write_plan(tmp_path, stores, database.name, {"things": route}, run={"workers": 3})
    assert offramp("backfill", plan, folder=tmp_path).code == 0, "how the work is done changes no record"
    write_plan(tmp_path, stores, database.name, {"things": {**route, "fields": {"drop": ["b"]}}})
    refused = offramp("backfill", plan, folder=tmp_path)
    assert refused.code == 2
    assert "fields.drop was [], is ['b']" in refused.err
    write_plan(tmp_path, stores, database.name, {"things": {**route, "ttl_s": 60}})
    assert "ttl_s was not set, is 60" in offramp("backfill", plan, folder=tmp_path).err
    write_plan(tmp_path, stores, database.name, {"things": {**route, "fields": {"drop": ["b"]}}})
    assert "--restart" in refused.err
    assert offramp("verify", plan, folder=tmp_path).code == 2
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0


def test_a_table_made_anew_voids_the_checkpoints(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(10)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "entity", "table": unique}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb).delete_table(TableName=unique)
    refused = offramp("backfill", plan, folder=tmp_path)
    assert refused.code == 3
    assert "E-MADE-ANEW the target was deleted" in refused.out
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0


def test_sessions_that_have_expired_are_no_mismatch(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    past, future = bson.decode_all(
        b"".join(bson.encode({"at": bson.datetime_ms.DatetimeMS(ms)}) for ms in (1_000_000_000_000, 4_000_000_000_000))
    )
    database.things.insert_many(
        [{"_id": f"old {number}", "expires": past["at"]} for number in range(3)]
        + [{"_id": f"new {number}", "expires": future["at"]} for number in range(4)]
    )
    route = {"use_case": "session", "key": f"{unique}:{{_id}}", "expires": "expires"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0
    row = done.route("things")
    assert (row["records"], row["held"], row["expired"], row["missing"]) == (7, 4, 3, 0)


def test_an_unreachable_store_is_exit_3_and_writes_nothing(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    nowhere = Stores(stores.mongodb, "redis://127.0.0.1:1/0", stores.dynamodb, stores.elasticsearch)
    plan = write_plan(tmp_path, nowhere, database.name, {"things": {"use_case": "session"}})
    done = offramp("backfill", plan, folder=tmp_path)
    assert done.code == 3
    assert "Traceback" not in done.err


COLLECTIONS = ("theaters.bson", "accounts.json", "customers.json", "restaurant.json", "products.json")


@beside_the_project
@pytest.mark.parametrize("file", COLLECTIONS)
def test_real_collections_arrive_whole_in_every_store(
    file: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    documents = documents_of(file)
    database.things.insert_many(documents)
    routes = {
        "strings": {"use_case": "cache", "key": f"{unique}:s:{{_id}}"},
        "hashes": {"target": "redis", "mapper": "hash", "key": f"{unique}:h:{{_id}}"},
        "items": {"use_case": "entity", "table": unique},
        "documents": {"use_case": "search", "index": unique},
    }
    plan = write_plan(
        tmp_path, stores, database.name, {name: {"collection": "things", **route} for name, route in routes.items()}
    )
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out
    for row in done.json["routes"]:
        assert (row["read"], row["held"], row["losses"]) == (len(documents), len(documents), {})


@pytest.mark.process
def test_help_names_every_command_without_importing_a_client() -> None:
    clients = ("prefect", "boto3", "pymongo", "redis", "elasticsearch", "pydantic", "sqlalchemy")
    script = f"import sys, flows.cli.main; print([name for name in {clients} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_steps_are_logged_wherever_the_option_stands(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}})
    for words in (
        ("-v", "backfill", plan),
        ("backfill", plan, "-v", "--restart"),
        ("backfill", "--verbose", plan, "--restart"),
    ):
        running = start(*words, folder=tmp_path)
        _, err = running.communicate(timeout=120)
        assert (running.returncode, "INFO" in err) == (0, True), err
    assert start("rejects", "list", "-v", plan, folder=tmp_path).wait(timeout=120) == 0
