"""Every command on a state that is on PostgreSQL, directly and through PgBouncer, with each runner of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from plans import Finished, Stores, offramp, offramp_process, write_plan
from postgresqls import PASSWORD, Postgresql
from pymongo.database import Database
from redis import Redis

DOCUMENTS = 400
ENVIRONMENT = {"STATE_PASSWORD": quote(PASSWORD, safe="")}


@pytest.fixture
def schema(postgresql: Postgresql, unique: str) -> Iterator[str]:
    yield unique
    postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


def plan(folder: Path, stores: Stores, database: Database[dict[str, Any]], url: str, unique: str, **run: Any) -> Path:
    """Write a plan whose state's password comes from the environment."""
    routes = {
        "things": {"use_case": "cache", "key": f"{unique}:{{_id}}"},
        # Its documents need a name.
        "named": {"use_case": "cache", "collection": "things", "key": f"{unique}n:{{name}}:{{_id}}"},
    }
    state = url.replace(quote(PASSWORD, safe=""), "${STATE_PASSWORD}")
    return write_plan(folder, stores, database.name, routes, state=state, run=run)


def test_a_plan_goes_through_all_its_commands(
    stores: Stores,
    database: Database[dict[str, Any]],
    postgresql: Postgresql,
    pgbouncer_port: int,
    schema: str,
    tmp_path: Path,
) -> None:
    """Each command by the other way, so that both see one state."""
    direct, through = postgresql.url(schema), postgresql.url(schema, port=pgbouncer_port)
    (tmp_path / "direct").mkdir()
    (tmp_path / "through").mkdir()
    paths = [
        plan(tmp_path / "direct", stores, database, direct, schema, runner="processes", workers=2),
        plan(tmp_path / "through", stores, database, through, schema, runner="threads", workers=4),
    ]
    database.things.insert_many(
        [{"_id": number, **({} if number == 7 else {"name": "a\0b"})} for number in range(DOCUMENTS)]
    )

    def run(which: int, *arguments: str) -> Finished:
        words = [each for each in arguments if not each.startswith("--")]
        invoke = offramp_process if which == 0 else offramp
        done = invoke(*words, paths[which], *arguments[len(words) :], folder=tmp_path, environment=ENVIRONMENT)
        assert PASSWORD not in done.out + done.err
        return done

    checked = run(1, "check")
    assert f"a run makes the schema {schema} and its tables" in checked.out, checked.err
    assert postgresql.execute(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'") == []
    first = run(0, "backfill", "--json")
    assert first.code == 1, first.err
    assert {row["route"]: (row["verdict"], row["records"], row["rejected"]) for row in first.json["routes"]} == {
        "things": ("clean", DOCUMENTS, 0),
        "named": ("rejects", DOCUMENTS - 1, 1),
    }
    listed = run(1, "rejects", "list", "--json")
    assert [(each["route"], each["id"]) for each in listed.json["rejects"]] == [("named", "n:7")]
    database.things.update_one({"_id": 7}, {"$set": {"name": "whole"}})
    assert run(0, "rejects", "retry", "--json").json["open"] == 0
    database.things.delete_one({"_id": 3})
    database.things.insert_one({"_id": DOCUMENTS, "name": "new"})
    synced = run(1, "sync", "--json", "--route=things")
    assert synced.code == 0, synced.err
    with Redis.from_url(stores.redis) as redis:
        keys = sorted(redis.scan_iter(f"{schema}:*"))
        assert len(keys) == DOCUMENTS
        redis.delete(keys[0])
    damaged = run(0, "verify", "--json", "--route=things")
    assert (damaged.code, damaged.route("things")["missing"]) == (1, 1), damaged.err
    repaired = run(1, "repair", "--json", "--route=things")
    assert repaired.code == 0, repaired.err
    clean = run(0, "verify", "--json", "--route=things")
    assert (clean.code, clean.route("things")["verdict"]) == (0, "clean")
    status = run(1, "status", "--json")
    assert status.route("things")["verdict"] == "clean"
    restarted = run(1, "backfill", "--restart", "--json", "--route=things")
    assert (restarted.code, restarted.route("things")["verdict"]) == (0, "clean"), restarted.err
    ((runs,),) = postgresql.execute(f"SELECT count(*) FROM {schema}.runs WHERE plan = 'plan'")
    assert runs == 4  # Two copies and two verifications.
