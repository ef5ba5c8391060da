"""A migration away from an Amazon DocumentDB, run as its user does, through a proxy that refuses what it refuses."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documentdb_proxy import DocumentDB, documentdb
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

from stores.mongodb.stream_scopes import enabling

Documents = Database[dict[str, Any]]
VERSIONS = pytest.mark.parametrize("server", ["5.0", "8.0"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, mongodb_url: str) -> Iterator[DocumentDB]:
    """A DocumentDB, of version 5.0 unless the test says another."""
    with documentdb(mongodb_url, getattr(request, "param", "5.0")) as one:
        yield one


@pytest.fixture
def stores(stores: Stores, server: DocumentDB) -> Stores:
    return replace(stores, mongodb=server.url)


def routes(unique: str) -> dict[str, Any]:
    """A route for each way in which changes can be found."""
    keys = {"collection": "things", "use_case": "session"}
    return {
        "streamed": {**keys, "key": f"{unique}f:{{_id}}"},
        "scanned": {**keys, "key": f"{unique}s:{{_id}}", "sync": "rescan"},
        "dated": {**keys, "key": f"{unique}d:{{_id}}", "sync": "watermark", "watermark": "at"},
    }


def findings(finished: Finished, route: str) -> dict[str, int]:
    row = finished.route(route)
    return {name: row[name] for name in ("missing", "differs", "extra")}


CLEAN = {"missing": 0, "differs": 0, "extra": 0}


@VERSIONS
def test_a_migration_is_checked_copied_synced_verified_and_repaired(
    server: DocumentDB, stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    things = database["things"]
    now = dt.datetime.now(dt.UTC)
    things.insert_many([{"_id": own, "at": now, "n": 1} for own in [*range(300), *map(str, range(300))]])
    things.create_index("at")
    plan = write_plan(tmp_path, stores, database.name, routes(unique))
    checked = offramp("check", plan, folder=tmp_path)
    assert checked.code == 0, checked.out + checked.err
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    now = dt.datetime.now(dt.UTC)
    things.update_many({"_id": {"$lt": 50}}, {"$set": {"n": 2, "at": now}})
    things.insert_many([{"_id": f"new {own}", "at": now, "n": 3} for own in range(40)])
    things.delete_many({"_id": {"$gte": 290}})
    synced = offramp("sync", plan, "--json", folder=tmp_path)
    assert synced.code == 0, synced.out + synced.err
    assert synced.route("streamed")["sync"]["events"] >= 100
    assert [synced.route(name)["sync"]["by_silence"] for name in ("streamed", "scanned")] == [True, False]
    with Redis.from_url(stores.redis) as redis:
        redis.delete(f"{unique}f:n:7")
        redis.set(f"{unique}f:n:8", b"{}")
    found = offramp("verify", plan, "--json", folder=tmp_path)
    assert {name: findings(found, name) for name in ("streamed", "scanned", "dated")} == {
        "streamed": {"missing": 1, "differs": 1, "extra": 0},
        "scanned": CLEAN,
        "dated": {**CLEAN, "extra": 10},  # A watermark sees no deletes.
    }
    repaired = offramp("repair", plan, "--route", "streamed", folder=tmp_path)
    assert repaired.code == 0, repaired.out + repaired.err
    again = offramp("verify", plan, "--json", "--route", "streamed", folder=tmp_path)
    assert findings(again, "streamed") == CLEAN
    assert not any("modifyChangeStreams" in command for command in server.sent)


def test_streams_that_are_off_are_told_before_anything_is_copied(
    server: DocumentDB, stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    server.enable(enable=False)
    database["things"].insert_one({"_id": 1, "at": dt.datetime.now(dt.UTC)})
    plan = write_plan(tmp_path, stores, database.name, {"streamed": routes(unique)["streamed"]})
    checked = offramp("check", plan, folder=tmp_path)
    assert enabling(database.name) in checked.out
    server.enable(database.name)
    assert enabling(database.name) not in offramp("check", plan, folder=tmp_path).out


def test_streams_that_were_off_halt_a_route_for_good(
    server: DocumentDB, stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    """Turned on again, a stream tells nothing of what happened meanwhile."""
    things = database["things"]
    things.insert_one({"_id": 1})
    plan = write_plan(tmp_path, stores, database.name, {"streamed": routes(unique)["streamed"]})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert offramp("sync", plan, folder=tmp_path).code == 0
    server.enable(enable=False)
    things.insert_one({"_id": 2})
    halted = offramp("sync", plan, "--json", folder=tmp_path)
    assert (halted.code, "E-SYNC-HALTED" in halted.route("streamed")["reasons"][0]) == (3, True)
    server.enable()
    things.insert_one({"_id": 3})
    again = offramp("sync", plan, "--json", folder=tmp_path)
    assert (again.code, "change streams were off" in again.route("streamed")["reasons"][0]) == (3, True)
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0
    assert offramp("sync", plan, folder=tmp_path).code == 0
    verified = offramp("verify", plan, "--json", folder=tmp_path)
    assert findings(verified, "streamed") == CLEAN


def test_a_route_that_needs_earlier_forms_of_documents_is_refused_with_the_way_round(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    database["players"].insert_many([{"_id": own, "n": own, "player": f"p{own}"} for own in range(5)])
    scores = {
        "collection": "players",
        "use_case": "leaderboard",
        "key": f"{unique}-scores",
        "score": "n",
        "member": "player",
    }
    for way in ("stream", "rescan"):
        plan = write_plan(tmp_path, stores, database.name, {f"by-{way}": {**scores, "sync": way}})
        checked = offramp("check", plan, folder=tmp_path)
        if way == "stream":
            assert "Amazon DocumentDB 5.0 never does: key the records by _id" in " ".join(checked.out.split())
        assert offramp("backfill", plan, folder=tmp_path).code == 0
        refused = offramp("sync", plan, folder=tmp_path)
        assert refused.code == 2
        assert "E-KEY-NOTDERIVABLE" in refused.err
        assert "key the records by _id" in refused.err
        assert "newer" not in refused.err + checked.out


def test_a_server_that_is_too_old_is_told_by_its_name(
    stores: Stores, mongodb_url: str, database: Documents, tmp_path: Path, unique: str
) -> None:
    with documentdb(mongodb_url, "4.0") as old:
        plan = write_plan(tmp_path, replace(stores, mongodb=old.url), database.name, routes(unique))
        refused = offramp("check", plan, folder=tmp_path)
    assert "E-SRC-VERSION" in refused.out + refused.err
    assert "Amazon DocumentDB 4.0" in refused.out + refused.err


def test_an_instance_without_a_cursor_to_spare_is_told_as_that(
    stores: Stores, mongodb_url: str, database: Documents, tmp_path: Path, unique: str
) -> None:
    database["things"].insert_many([{"_id": own} for own in range(5)])
    with documentdb(mongodb_url, most_cursors=0) as full:
        source = {"uri": full.url, "database": database.name, "retry_deadline_s": 0.5}
        chosen = {"scanned": routes(unique)["scanned"]}
        plan = write_plan(tmp_path, stores, database.name, chosen, source=source)
        refused = offramp("backfill", plan, folder=tmp_path)
    assert refused.code != 0
    assert "E-SRC-CURSORS" in refused.out + refused.err
