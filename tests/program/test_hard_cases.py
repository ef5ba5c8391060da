"""What a careful stranger tried in order to make a wrong run look right, or a right one impossible to finish."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import bson
import pytest
import redis as redis_client
from plans import Finished, Stores, offramp, offramp_process, start, write_plan
from pymongo.database import Database
from waiting import until

PAST = bson.datetime_ms.DatetimeMS(1_000_000_000_000)


def own_mapper(folder: Path, body: str, unique: str) -> dict[str, Any]:
    """Write a mapper file and return a route that uses it."""
    lines = [
        "import os, sys",
        "from mappers.contract import MappingError",
        "from mappers.redis import String",
        "",
    ]
    (folder / "own.py").write_text("\n".join(lines) + f"\ndef own(document):\n{body}\n", encoding="utf-8")
    return {"target": "redis", "use": "own.py:own", "key": f"{unique}:{{_id}}"}


@pytest.mark.parametrize(
    "odd",
    [
        "sys.exit(0)",
        "raise MappingError('E-X', None, 'x' * 10**6 + chr(27))",
        "return [String(PREFIX + '1', 'a text, no bytes')]",
        "return [String(7, b'')]",
        "return [String(PREFIX + chr(0xd800), b'')]",
        "return [String(PREFIX + '1', b'', 1.5)]",
        "return None",
    ],
)
def test_whatever_a_mapper_does_with_one_document_the_others_arrive(
    odd: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(20)])
    body = f"    if document['_id'] == 7:\n        {odd}\n    return [String(PREFIX + str(document['_id']), b'x')]"
    route = own_mapper(tmp_path, body.replace("PREFIX", repr(f"{unique}:")), unique)
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 1, done.err
    row = done.route("things")
    assert (row["read"], row["rejected"], row["held"], row["missing"]) == (20, 1, 19, 0)
    told = offramp("status", plan, folder=tmp_path)
    assert len(told.out) < 2000
    assert chr(27) not in told.out


def test_a_state_that_is_deleted_in_mid_run_is_told_as_that(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(20)])
    body = (
        f"    if document['_id'] == 7:\n        os.unlink({str(tmp_path / 'state.db')!r})\n"
        f"    return [String({f'{unique}:'!r} + str(document['_id']), b'x')]"
    )
    plan = write_plan(tmp_path, stores, database.name, {"things": own_mapper(tmp_path, body, unique)})
    done = offramp("backfill", plan, folder=tmp_path)
    assert done.code == 3, done.out
    assert "E-STATE-GONE" in done.out + done.err
    assert "was deleted while the run was at work" in done.out + done.err
    # The next run begins with a state of its own.
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("== 7", "== None"), encoding="utf-8")
    assert offramp("backfill", plan, folder=tmp_path).code == 0


ODD = """
from mappers.elasticsearch import IndexDocument as I, index_document
from mappers.redis import Json as J

def places(document):
    at, name = document["_id"], "NAME-2024.01"
    odd = [(chr(0xdc80), b"{}", None, name), ("1", b"{}", 5, name), ("2", b"{}", None, 5), (3, b"{}", None, name),
           ("4", "{}", None, name), ("5", b"[]", None, name), ("6", b"{}", None, "NAME-x"), ("7", b"{}"), ("8", b"{")]
    return [I(*odd[at]) if at < len(odd) else index_document({"n": at}, str(at), index=name)]

def json(document):
    at = document["_id"]
    odd = [b'{"a":1e400}', b'{"a":NaN}', b"", b'{"a":' * 200 + b"1" + b"}" * 200]
    return [J(f"NAME:{at}", odd[at] if at < len(odd) else b'{"n":1}', 1.5 if at == len(odd) else None)]
"""


@pytest.mark.parametrize(
    ("route", "odd"),
    [
        ({"target": "elasticsearch", "use": "own.py:places", "index": "NAME-{at:%Y.%m}"}, 9),
        ({"target": "redis", "use": "own.py:json", "key": "NAME:{_id}", "json": True}, 5),
    ],
    ids=["elasticsearch", "json"],
)
def test_whatever_records_a_mapper_makes_the_others_arrive(
    route: dict[str, Any],
    odd: int,
    mongodb_url: str,
    redis_json_url: str,
    elasticsearch_url: str,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    database.things.insert_many([{"_id": number} for number in range(20)])
    (tmp_path / "own.py").write_text(ODD.replace("NAME", unique), encoding="utf-8")
    named = {key: value.replace("NAME", unique) if isinstance(value, str) else value for key, value in route.items()}
    stores = Stores(mongodb_url, redis_json_url, "", elasticsearch_url)
    done = offramp(
        "backfill", write_plan(tmp_path, stores, database.name, {"things": named}), "--json", folder=tmp_path
    )
    row = done.route("things")
    assert (row["read"], row["rejected"], row["held"], row["missing"]) == (20, odd, 20 - odd, 0), row["reasons"]


def test_what_a_mapper_prints_does_not_spoil_the_json(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    route = own_mapper(tmp_path, f"    print('seen')\n    return [String({unique!r} + ':1', b'x')]", unique)
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    checked = offramp("check", plan, "--json", folder=tmp_path)
    assert [row["route"] for row in checked.json["routes"]] == ["things"]
    assert "seen" in checked.err
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.json["verdict"] == "clean"
    assert "seen" in done.err


@pytest.mark.process
def test_an_overtaken_run_does_not_write_over_its_successor(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """R134: paused past its lease, overtaken by a run that ended clean, woken again."""
    database.things.insert_many([{"_id": number, "v": "old"} for number in range(1500)])
    gate, held = tmp_path / "go", tmp_path / "held"
    body = (
        f"    if document['_id'] == 1400 and not os.path.exists({str(gate)!r}):\n"
        f"        open({str(held)!r}, 'w').close()\n"
        f"        while not os.path.exists({str(gate)!r}):\n            __import__('threading').Event().wait(0.02)\n"
        f"    return [String({unique!r} + ':' + str(document['_id']), document['v'].encode())]"
    )
    route = own_mapper(tmp_path, body, unique)
    plan = write_plan(tmp_path, stores, database.name, {"things": route}, run={"lease_s": 5, "window": 1})
    paused = start("backfill", plan, folder=tmp_path)
    try:
        until(held.exists, "the first run to come to its gate")
        paused.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        database.things.update_many({}, {"$set": {"v": "new"}})
        gate.touch()
        until(lambda: time.monotonic() - stopped > 6, "the lease to expire")
        second = offramp("backfill", plan, "--restart", "--json", folder=tmp_path)
        assert second.code == 0, second.err
        paused.send_signal(signal.SIGCONT)
        out, err = paused.communicate(timeout=60)
        assert paused.returncode == 3
        assert "E-LEASE-LOST" in out + err
    finally:
        paused.kill()
        paused.communicate()
    server = redis_client.Redis.from_url(stores.redis)
    values = {server.get(key) for key in server.scan_iter(match=f"{unique}:*", count=1000)}
    assert values == {b"new"}


def test_a_date_field_that_expires_everything_is_not_called_clean(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "created": PAST} for number in range(5)])
    database.things.create_index("created", expireAfterSeconds=10**9)
    route = {"use_case": "session", "key": f"{unique}:{{_id}}", "expires": "created"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert "TTL index" in offramp("check", plan, folder=tmp_path).out
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 3
    assert "expired" in done.route("things")["reasons"][0]


def test_a_field_that_is_needed_and_left_out_is_a_fault_of_the_plan(
    stores: Stores, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    route = {"use_case": "session", "expires": "at", "fields": {"drop": ["at"]}}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"things": route}), folder=tmp_path)
    assert done.code == 2
    assert "leaves out 'at', which expires needs" in done.err


def test_a_filter_the_server_does_not_know_is_found_by_check(
    stores: Stores, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    route = {"use_case": "session", "where": {"a": {"$bogus": 1}}}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"things": route}), folder=tmp_path)
    assert done.code == 2
    assert "E-SRC-WHERE" in done.err


def test_another_database_or_collection_of_the_name_is_noticed(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(5)])
    routes = {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}}
    plan = write_plan(tmp_path, stores, database.name, routes)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.drop()
    database.things.insert_many([{"_id": -number - 1} for number in range(5)])
    found = offramp("verify", plan, "--level", "counts", "--json", folder=tmp_path)
    assert found.code == 3
    assert "E-MADE-ANEW" in found.route("things")["reasons"][0]
    other = database.client[f"{database.name}_other"]
    try:
        other.things.insert_many([{"_id": number} for number in range(5)])
        write_plan(tmp_path, stores, other.name, routes)
        changed = offramp("verify", plan, "--level", "counts", folder=tmp_path)
        assert changed.code == 2
        assert "database was" in changed.err
    finally:
        database.client.drop_database(other.name)


def test_a_plan_has_one_state_wherever_it_is_run_from(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(5)])
    plan = write_plan(
        tmp_path,
        stores,
        database.name,
        {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}},
        state="sqlite:///kept/state.db",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert offramp("backfill", plan, folder=elsewhere).code == 0
    assert (tmp_path / "kept" / "state.db").exists()
    assert list(elsewhere.iterdir()) == []
    assert offramp("status", plan, "--json", folder=tmp_path).json["routes"][0]["stage"] == "copied"


@pytest.mark.process
def test_keys_that_are_no_text_are_reported_on_any_terminal(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(5)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    redis_client.Redis.from_url(stores.redis).set(f"{unique}:".encode() + b"\xff\x1b[2J", "x")
    for encoding in ("utf-8", "ascii"):
        environment = {"PYTHONIOENCODING": encoding}
        shown = offramp_process("verify", plan, folder=tmp_path, environment=environment)
        assert shown.code == 1, shown.err
        assert "extra" in shown.out
        assert chr(27) not in shown.out
        told = offramp_process("verify", plan, "--json", folder=tmp_path, environment=environment)
        assert told.route("things")["extra"] == 1


def test_a_report_that_cannot_be_written_is_found_before_the_work(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}})
    done = offramp("backfill", plan, "--report", plan / "below", "--json", folder=tmp_path)
    assert done.code == 2
    assert done.json["error"]["code"] == "E-REPORT-DIR"
    assert not redis_client.Redis.from_url(stores.redis).exists(f"{unique}:n:1")


@pytest.mark.parametrize(
    "source",
    ["mongodb://user:pa?sWORD1@127.0.0.1:1/", {"uri": "mongodb://user:sWORD1@127.0.0.1:1/", "database": ["x"]}],
)
def test_a_password_stands_in_no_error(source: Any, stores: Stores, tmp_path: Path) -> None:
    keys = source if isinstance(source, dict) else {"uri": source, "database": "d"}
    for wrong in (keys, source):
        plan = write_plan(tmp_path, stores, "d", {"things": {"use_case": "session"}}, source=wrong)
        done: Finished = offramp("check", plan, "--json", folder=tmp_path)
        assert done.code in (2, 3)
        assert "sWORD1" not in done.out + done.err


@pytest.mark.process
def test_a_wait_for_a_store_that_is_away_ends_when_the_run_is_told_to_stop(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path, redis_server: Any
) -> None:
    """Without it a scheduler would kill the process hard before the deadline of ten minutes."""
    url = redis_server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    database.things.insert_many([{"_id": number, "text": "x" * 20_000} for number in range(600)])
    plan = write_plan(
        tmp_path,
        stores,
        database.name,
        {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}},
        targets={"redis": {"url": url, "retry_deadline_s": 3600}},
    )
    running = start("backfill", plan, "--json", folder=tmp_path)
    server = redis_client.Redis.from_url(url)
    until(lambda: server.info("errorstats").get("errorstat_OOM"), "the server to run out of memory")
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert json.loads(out)["verdict"] == "failed"


@pytest.mark.server
@pytest.mark.process
def test_the_demo_runs_under_the_usual_limit_of_open_files(tmp_path: Path) -> None:
    command = ["-c", "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024));"]
    import subprocess
    import sys

    command[1] += " sys.argv = ['offramp', 'demo', '--documents', '300', '--dir', 'd', '--json'];"
    command[1] += " runpy.run_module('flows.cli.main', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
