"""Sync as its user runs it: against real servers, under a writer, killed, and when its stream breaks."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from mongodbs import LISTENER
from plans import Finished, Stores, offramp, start, write_plan
from pymongo.database import Database
from redis import Redis
from waiting import until

from flows.demo import servers
from flows.plan.load import load
from stores.state.state import State

Documents = Database[dict[str, Any]]

WRITER = """
import random, sys, threading
from pymongo import MongoClient
url, name, seed = sys.argv[1:]
database, chance = MongoClient(url)[name], random.Random(seed)
print("begun", flush=True)
number = 0
while True:
    number += 1
    one = chance.randrange(400)
    for collection in ("things", "players"):
        documents = database[collection]
        what = chance.random()
        if what < 0.6:
            change = {"$set": {"n": number, "player": f"{one} {number}", "pad": "x" * chance.randrange(300)}}
            documents.update_one({"_id": one}, change, upsert=True)
        elif what < 0.8:
            documents.delete_one({"_id": one})
        elif what < 0.9:
            documents.delete_one({"_id": one})
            documents.insert_one({"_id": one, "n": number, "player": f"{one} {number}", "again": True})
        else:
            several = [{"_id": f"{number}.{at}", "n": number, "player": f"{at} of {number}"} for at in range(5)]
            documents.insert_many(several)
    threading.Event().wait(0.003)
"""


@pytest.fixture(scope="module")
def mongodb_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose oplog holds what these tests write."""
    with servers.mongodb(tmp_path_factory.mktemp("mongodb")) as url:
        yield url


@contextmanager
def writing(stores: Stores, database: Documents) -> Iterator[None]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, stores.mongodb, database.name, "7"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        yield
        assert writer.poll() is None, "the writer ended before its time"
    finally:
        writer.kill()
        writer.communicate()


def seeded(database: Documents, count: int = 400) -> None:
    for name in ("things", "players"):
        database[name].insert_many([{"_id": n, "n": n, "player": f"{n} 0"} for n in range(count)])
    database.command({"collMod": "players", "changeStreamPreAndPostImages": {"enabled": True}})


def routes(unique: str) -> dict[str, Any]:
    """A route to each target by `_id`, and one whose members are named by another field."""
    return {
        "items": {"collection": "things", "use_case": "entity", "table": unique},
        "strings": {"collection": "things", "use_case": "session", "key": f"{unique}:{{_id}}"},
        "texts": {"collection": "things", "use_case": "search", "index": unique, "where": {"n": {"$gte": 0}}},
        "scores": {
            "collection": "players",
            "use_case": "leaderboard",
            "key": f"{unique}-scores",
            "score": "n",
            "member": "player",
            "where": {"n": {"$gte": 0}},
        },
    }


def synced(folder: Path, route: str = "items") -> int:
    with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
        (events,) = db.execute("SELECT events FROM syncs WHERE route = ?", (route,)).fetchone()
    return int(events)


def begin_passes(plan: Path, names: Sequence[str]) -> None:
    state = State(load(plan).state, load(plan).name)
    for name in names:
        state.verification.begin(lease := state.leases.acquire(name), {}, 1, [], {})
        state.leases.release(lease)
    state.close()


def passes_under_way(plan: Path) -> list[str]:
    state = State(load(plan).state, load(plan).name)
    found = [name for name in ("items", "strings") if state.verification.under_way(name) is not None]
    state.close()
    return found


def findings(finished: Finished, route: str) -> dict[str, int]:
    return findings_of(finished.route(route))


def findings_of(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("missing", "differs", "extra")}


@pytest.mark.process
def test_a_sync_killed_again_and_again_under_a_writer_ends_with_what_the_source_has(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    seeded(database)
    plan = write_plan(tmp_path, stores, database.name, routes(unique))
    with writing(stores, database):
        offramp("backfill", plan, "--verify", "none", folder=tmp_path)
        for ending in (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            before = synced(tmp_path)
            process = start("sync", plan, "--follow", "--json", folder=tmp_path)
            try:
                until(lambda: synced(tmp_path) > before + 30, "changes to be synced")  # noqa: B023
            finally:
                process.send_signal(ending)
                out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, err
        assert {route["verdict"] for route in json.loads(out)["routes"]} == {"clean"}
    caught_up = offramp("sync", plan, "--json", folder=tmp_path)
    assert caught_up.code == 0, caught_up.out + caught_up.err
    verified = offramp("verify", plan, "--json", folder=tmp_path)
    assert verified.code == 0, verified.out + verified.err
    for name in routes(unique):
        row = verified.route(name)
        assert row["documents"] == row["read"] == row["held"] > 0
        assert row["sync"]["events"] > 0


def test_what_changed_is_told_before_the_sync_and_gone_after_it(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    seeded(database, 50)
    plan = write_plan(tmp_path, stores, database.name, routes(unique))
    refused = offramp("sync", plan, "--json", folder=tmp_path)
    assert (refused.code, "E-SYNC-BACKFILL" in refused.err) == (2, True)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    for name in ("things", "players"):
        database[name].update_one({"_id": 1}, {"$set": {"n": -1}})  # Leaves the filter.
        database[name].update_one({"_id": 2}, {"$set": {"player": "moved"}})
        database[name].delete_one({"_id": 3})
        database[name].insert_one({"_id": "new", "n": 7, "player": "new"})
    database["players"].update_one({"_id": 4}, {"$set": {"n": Decimal128("Infinity")}})
    stale = offramp("verify", plan, "--json", folder=tmp_path)
    assert stale.code == 1
    assert findings(stale, "items") == {"missing": 1, "differs": 2, "extra": 1}
    assert findings(stale, "texts") == {"missing": 1, "differs": 1, "extra": 2}
    assert findings(stale, "scores") == {"missing": 2, "differs": 0, "extra": 4}
    begin_passes(plan, ["items", "strings"])
    report = tmp_path / "sync report"
    done = offramp("sync", plan, "--json", "--report", report, folder=tmp_path)
    assert done.code == 1
    assert done.json == json.loads((report / "report.json").read_text())
    assert passes_under_way(plan) == []  # What they saw is void, and so is the verdict.
    assert offramp("status", plan, "--json", folder=tmp_path).json["routes"][0]["verdict"] is None
    assert [done.route(name)["verdict"] for name in routes(unique)] == ["clean", "clean", "clean", "rejects"]
    assert (done.route("texts")["copied"], done.route("texts")["sync"]["deleted"]) == (2, 2)
    verified = offramp("verify", plan, "--json", folder=tmp_path)
    for name in routes(unique):
        assert findings(verified, name) == {"missing": 0, "differs": 0, "extra": 0}
    assert verified.route("scores")["rejected"] == 1
    database["players"].update_one({"_id": 4}, {"$set": {"n": 4}})
    begin_passes(plan, ["items"])
    assert offramp("sync", plan, folder=tmp_path).code == 0
    assert passes_under_way(plan) == ["items"]  # Nothing was written there.
    assert offramp("verify", plan, folder=tmp_path).code == 0
    counted = offramp("verify", plan, "--level", "counts", "--route", "items", "--json", folder=tmp_path)
    assert (counted.code, counted.route("items")["verified"]) == (0, "counts")
    (row, *_) = offramp("status", plan, "--json", folder=tmp_path).json["routes"]
    assert (row["stage"], row["rejected"], row["sync"]["events"]) == ("synced", 0, 4)
    assert "synced" in offramp("status", plan, folder=tmp_path).out


def test_a_collection_that_is_gone_halts_its_route_alone_and_one_command_copies_it_anew(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    seeded(database, 30)
    chosen = {name: keys for name, keys in routes(unique).items() if name != "texts"}
    plan = write_plan(tmp_path, stores, database.name, chosen)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database["things"].drop()
    database["players"].delete_one({"_id": 1})
    for what in ("E-SYNC-HALTED", "E-MADE-ANEW"):
        halted = offramp("sync", plan, "--json", folder=tmp_path)
        assert halted.code == 3
        assert [halted.route(name)["verdict"] for name in chosen] == ["failed", "failed", "clean"]
        assert what in halted.route("items")["reasons"][0]
        assert "backfill --restart" in halted.route("items")["reasons"][0]
        for n in range(10, 15):
            database["things"].update_one({"_id": n}, {"$set": {"n": n}}, upsert=True)
    anew = offramp("backfill", plan, "--restart", "--route", "items", "--route", "strings", "--json", folder=tmp_path)
    assert anew.code == 0, anew.out
    for name in ("items", "strings"):
        assert findings(anew, name) == {"missing": 0, "differs": 0, "extra": 0}
        assert anew.route(name)["held"] == 5
    database["things"].delete_one({"_id": 10})
    assert offramp("sync", plan, folder=tmp_path).code == 0
    assert offramp("verify", plan, folder=tmp_path).code == 0
    # What one document was before it changed was not kept.
    for kept in (False, True):
        database.command({"collMod": "players", "changeStreamPreAndPostImages": {"enabled": kept}})
        database["players"].update_one({"_id": 2}, {"$set": {"player": f"moved {kept}"}})
    for _again in range(2):
        halted = offramp("sync", plan, "--json", folder=tmp_path)
        assert halted.code == 3
        assert [halted.route(name)["verdict"] for name in chosen] == ["clean", "clean", "failed"]
        assert "--restart --route scores" in halted.route("scores")["reasons"][0]
    stages = {row["route"]: row["stage"] for row in offramp("status", plan, "--json", folder=tmp_path).json["routes"]}
    assert stages == {"items": "synced", "strings": "synced", "scores": "halted"}
    # A position from before all the source can tell: nothing is guessed, and the same command helps.
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("UPDATE syncs SET time = 1, token = x''")
    lost = offramp("sync", plan, "--json", folder=tmp_path)
    assert lost.code == 3
    for name in ("items", "strings"):
        assert "E-SRC-HISTORY-LOST" in lost.route(name)["reasons"][0]
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0
    assert offramp("sync", plan, folder=tmp_path).code == 0


def test_a_route_whose_addresses_move_is_refused_without_what_documents_were(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    seeded(database, 5)
    database.command({"collMod": "players", "changeStreamPreAndPostImages": {"enabled": False}})
    plan = write_plan(tmp_path, stores, database.name, {"scores": routes(unique)["scores"]})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    refused = offramp("sync", plan, folder=tmp_path)
    assert refused.code == 2
    assert "E-KEY-NOTDERIVABLE" in refused.err
    command = '{"collMod": "players", "changeStreamPreAndPostImages": {"enabled": true}}'
    assert command in refused.err
    assert command in offramp("check", plan, folder=tmp_path).out


def test_what_a_backfill_reads_is_of_its_position_or_later(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    """R102: a member that lags would else give a state from before what the stream tells."""
    seeded(database, 20)
    plan = write_plan(tmp_path, stores, database.name, {"strings": routes(unique)["strings"]})
    LISTENER.heard = []
    try:
        assert offramp("backfill", plan, folder=tmp_path).code == 0
        # Those of a check are of single documents, before there is a position.
        reads = [one for one in LISTENER.heard if one.get("find") == "things" and "limit" not in one]
        heard = [one["readConcern"] for one in reads]
    finally:
        LISTENER.heard = None
    with sqlite3.connect(tmp_path / "state.db") as db:
        ((began,),) = db.execute("SELECT began FROM syncs").fetchall()
    assert len(heard) == 2  # The copy and its verification.
    for concern in heard:
        assert concern["level"] == "majority"
        assert concern["afterClusterTime"].time << 32 | concern["afterClusterTime"].inc >= began


def test_changes_that_the_first_sync_brings_over_let_it_begin_and_are_never_called_clean(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    """`offramp backfill --verify none && offramp sync` under a writer gets to its second command."""
    things = database["things"]
    things.insert_many([{"_id": n, "at": dt.datetime.now(dt.UTC)} for n in range(20)])
    keys = {"collection": "things", "use_case": "session"}
    ways = {
        "followed": {**keys, "key": f"{unique}f:{{_id}}"},
        "scanned": {**keys, "key": f"{unique}s:{{_id}}", "sync": "rescan"},
        "dated": {**keys, "key": f"{unique}d:{{_id}}", "sync": "watermark", "watermark": "at"},
    }
    plan = write_plan(tmp_path, stores, database.name, ways)
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    # As a writer does while the copy runs: more documents, one of a type that the copy did not meet.
    things.insert_many([{"_id": at, "at": dt.datetime.now(dt.UTC)} for at in (20, 21, "text")])
    unsynced = ("--route", "followed", "--route", "scanned")
    copied = offramp("backfill", plan, "--verify", "none", *unsynced, "--json", folder=tmp_path)
    assert (copied.code, copied.json["verdict"]) == (0, "pending")
    assert {copied.route(name)["verdict"] for name in ("followed", "scanned")} == {"pending"}
    assert "3 have changed since the copy began" in copied.route("followed")["reasons"][0]
    assert "2 with changes pending" in (tmp_path / ".offramp" / "reports" / "plan" / "report.md").read_text()
    dated = offramp("backfill", plan, "--verify", "none", "--route", "dated", "--json", folder=tmp_path)
    assert (dated.code, dated.json["verdict"]) == (1, "mismatches")  # It would not see a delete.
    assert offramp("backfill", plan, "--verify", "counts", "--route", "followed", folder=tmp_path).code == 1

    assert offramp("sync", plan, *unsynced, folder=tmp_path).code == 0
    verified = offramp("verify", plan, *unsynced, "--json", folder=tmp_path)
    assert (verified.code, verified.json["verdict"]) == (0, "clean")


def test_updates_alone_are_pending_until_a_sync_has_brought_them_over(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    """No number of documents tells of them."""
    things = database["things"]
    things.insert_many([{"_id": n} for n in range(20)])
    database["others"].insert_one({"_id": 1})
    ways = {name: {"use_case": "session", "key": f"{unique}:{name}:{{_id}}"} for name in ("things", "others")}
    plan = write_plan(tmp_path, stores, database.name, ways)

    def verdicts() -> list[str]:
        copied = offramp("backfill", plan, "--verify", "none", "--json", folder=tmp_path)
        assert copied.code == 0
        return [copied.route(name)["verdict"] for name in ("things", "others")]

    assert verdicts() == ["clean", "clean"]
    for n in (1, 2):
        things.update_one({"_id": 3}, {"$set": {"n": n}})  # As a writer does while the copy runs, and after the sync.
        assert verdicts() == ["pending", "clean"]
        assert offramp("sync", plan, folder=tmp_path).code == 0
        assert verdicts() == ["clean", "clean"]
    assert offramp("verify", plan, folder=tmp_path).code == 0


def test_a_rescan_and_a_watermark_find_what_changed_where_there_is_no_stream(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    things = database["things"]
    things.insert_many([{"_id": n, "n": n, "at": now()} for n in range(30)])
    keys = {"collection": "things", "use_case": "session"}
    plan = write_plan(
        tmp_path,
        stores,
        database.name,
        {
            "scanned": {**keys, "key": f"{unique}s:{{_id}}", "sync": "rescan"},
            "dated": {**keys, "key": f"{unique}d:{{_id}}", "sync": "watermark", "watermark": "at"},
        },
    )
    began = now().replace(microsecond=0)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    with closing(State(f"sqlite:///{tmp_path / 'state.db'}", "plan")) as state:
        noted = state.sync_positions.get("scanned")
    # Until its first pass has ended, a rescanned route is as far as its copy, not as 1970.
    assert noted is not None
    assert noted.position.time >> 32 >= began.timestamp()
    things.delete_one({"_id": 1})  # Before the first pass, which has nothing to compare with.
    deleted = []
    for round_ in range(2):
        things.update_one({"_id": 2}, {"$set": {"n": -round_, "at": now()}})
        things.update_one({"_id": f"new {round_}"}, {"$set": {"at": now()}}, upsert=True)
        things.update_one({"_id": 3}, {"$set": {"n": round_ + 100}})  # Without its date.
        things.delete_one({"_id": 4 + round_})
        done = offramp("sync", plan, "--json", folder=tmp_path)
        assert done.code == 0, done.out + done.err
        deleted.append(done.route("scanned")["sync"]["deleted"])
        verified = offramp("verify", plan, "--json", folder=tmp_path)
        assert findings(verified, "scanned") == {"missing": 0, "differs": 0, "extra": 0}
        assert verified.route("scanned")["verdict"] == "clean"
        # It cannot see deletes, nor writes that leave the date as it is, and verification says so.
        assert findings(verified, "dated")["extra"] == 2 + round_
        assert findings(verified, "dated")["missing"] == 0
    assert done.route("scanned")["copied"] == 3
    assert deleted == [2, 3]
    # What a repair wrote is not what the last pass remembers: neither a document that is again what it was then, nor
    # one that came and went between two passes.
    only = ("--route", "scanned")
    things.update_one({"_id": 2}, {"$set": {"n": 7}})
    things.insert_one({"_id": "brief"})
    stale = offramp("verify", plan, *only, "--json", folder=tmp_path)
    assert findings(stale, "scanned") == {"missing": 1, "differs": 1, "extra": 0}
    assert offramp("repair", plan, *only, folder=tmp_path).code == 0
    things.update_one({"_id": 2}, {"$set": {"n": -1}})
    things.delete_one({"_id": "brief"})
    assert offramp("sync", plan, *only, folder=tmp_path).code == 0
    verified = offramp("verify", plan, *only, "--json", folder=tmp_path)
    assert findings(verified, "scanned") == {"missing": 0, "differs": 0, "extra": 0}
    notes = offramp("check", plan, folder=tmp_path).out
    assert "dated: things: sync by at cannot see deletes" in notes


@pytest.mark.process
def test_a_verification_under_a_writer_confirms_what_is_wrong_and_nothing_else(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    seeded(database, 500)
    kept = f"{unique}:n:"
    plan = write_plan(tmp_path, stores, database.name, {"strings": routes(unique)["strings"]})
    wrong = {"missing": [f"{kept}450"], "differs": [f"{kept}451"], "extra": [f"{kept}9000"]}
    with writing(stores, database), Redis.from_url(stores.redis) as redis:
        offramp("backfill", plan, "--verify", "none", folder=tmp_path)
        assert offramp("sync", plan, folder=tmp_path).code == 0
        right = redis.get(f"{kept}451")
        redis.rename(f"{kept}450", f"{kept}9000")
        redis.set(f"{kept}451", "{}")
        inserted = {"_id": {"$type": "string"}}
        before = database.things.count_documents(inserted)
        until(lambda: database.things.count_documents(inserted) > before + 20, "changes that are not synced")
        live = offramp("verify", plan, "--json", folder=tmp_path).route("strings")
        told = dict(live["samples"])
        assert told.pop("unsettled"), live
        assert (told, findings_of(live)) == (wrong, {"missing": 1, "differs": 1, "extra": 1})
        assert any("offramp sync" in reason for reason in live["reasons"])
    assert offramp("sync", plan, folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        still = offramp("verify", plan, "--json", folder=tmp_path).route("strings")
        assert (still["verdict"], still["unsettled"], still["samples"]) == ("mismatches", 0, wrong)
        redis.rename(f"{kept}9000", f"{kept}450")
        redis.set(f"{kept}451", right)
    clean = offramp("verify", plan, "--json", folder=tmp_path).route("strings")
    assert clean["verdict"] == "clean", clean["reasons"]
