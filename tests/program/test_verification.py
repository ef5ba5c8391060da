"""Targets damaged in every way they can hold wrong data, passes cheap and complete, killed and resumed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from damage import DAMAGED, DOCUMENTS, found, route_of, whole
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from redis import Redis
from waiting import until

from flows.plan.load import load
from flows.run.verify import pass_scope
from flows.verifier.sample import bound, needed
from stores.contract.target import Listable
from stores.state.state import State
from stores.state.verification import former_log_folder


@pytest.mark.parametrize("target", list(DAMAGED))
def test_whatever_is_wrong_in_a_target_is_found_and_named_rightly(
    target: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.create_index("text", unique=False)
    database.things.insert_many([whole(number) for number in range(DOCUMENTS)])
    path = write_plan(tmp_path, stores, database.name, {"things": {**route_of(target, unique), "partitions": 3}})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    counted = offramp("verify", path, "--level", "counts", "--json", folder=tmp_path)
    assert (counted.code, counted.route("things")["held"]) == (0, DOCUMENTS)

    DAMAGED[target](stores, unique).damage()

    full = offramp("verify", path, "--json", folder=tmp_path)
    row = full.route("things")
    assert (full.code, row["verdict"]) == (1, "mismatches")
    assert (row["missing"], row["differs"], row["extra"], row["collides"]) == (1, 6, 1, 0), row["samples"]
    assert (row["unsettled"], row["inconclusive"]) == (0, 0)
    differs = [("differs", f"n:{number}", "known") for number in range(1, 7)]
    assert found(path) == [*differs, ("extra", "", ""), ("missing", "n:0", "known")]
    # One is missing and another extra: counts cannot see it, and say so.
    counted = offramp("verify", path, "--level", "counts", "--json", folder=tmp_path)
    assert counted.code == 0
    assert any("only their number was compared" in one for one in counted.route("things")["not_checked"])
    # A sample of all finds what is wrong with documents, and says that it has not listed.
    sampled = offramp("verify", path, "--level", "sample", "--json", folder=tmp_path).route("things")
    assert (sampled["missing"], sampled["differs"], sampled["extra"]) == (1, 6, None)
    assert (sampled["sampled"]["wrong"], sampled["sampled"]["at_most"], sampled["verified"]) == (7, None, "sample")
    assert any("were not looked for" in one for one in sampled["not_checked"])


def test_a_table_whose_time_to_live_is_switched_off_is_not_clean(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([whole(number) for number in range(3)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of("dynamodb", unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    client = boto3.client("dynamodb", endpoint_url=stores.dynamodb)
    off = {"Enabled": False, "AttributeName": "_ttl"}
    client.update_time_to_live(TableName=unique, TimeToLiveSpecification=off)
    row = offramp("verify", path, "--json", folder=tmp_path).route("things")
    assert row["verdict"] == "mismatches"
    assert "time to live is off" in row["reasons"][0]


def test_counts_name_the_partition_and_the_type_that_are_wrong(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    ids: list[Any] = [*range(40), *(f"s{number:02}" for number in range(40))]
    database.things.insert_many([{"_id": number} for number in ids])
    database.things.create_index("email", unique=True, sparse=True)
    route = {**route_of("redis", unique), "partitions": 4}
    path = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    clean = offramp("verify", path, "--level", "counts", "--json", folder=tmp_path).route("things")
    assert (clean["verdict"], clean["held"], clean["verified"]) == ("clean", 80, "counts")
    assert any("unique index 'email_1' (email): the target does not enforce" in note for note in clean["notes"])
    # The same number, of another type: no total shows it.
    database.things.delete_one({"_id": 3})
    database.things.insert_one({"_id": "s99"})
    wrong = offramp("verify", path, "--level", "counts", "--json", folder=tmp_path).route("things")
    assert wrong["verdict"] == "mismatches"
    told = [reason for reason in wrong["reasons"] if reason.startswith("partition")]
    assert len(told) == 2
    assert any("int" in reason for reason in told)
    assert any("string" in reason for reason in told)


def test_a_sample_says_what_it_proves_and_never_more(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(2_000)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of("redis", unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    told = offramp("verify", path, "--level", "sample", "--sample", "300", "--json", folder=tmp_path)
    row = told.route("things")
    drawn = row["sampled"]["documents"]
    assert (told.code, row["verdict"]) == (0, "clean")
    assert 200 <= drawn <= 300
    assert row["sampled"]["at_most"] == pytest.approx(1 - 0.05 ** (1 / drawn))
    assert row["sampled"]["at_most_documents"] == -(-2_000 * row["sampled"]["at_most"] // 1)
    assert row["sampled"]["beside"] > 0
    text = offramp("verify", path, "--level", "sample", "--at-most", "0.01", "--confidence", "0.99", folder=tmp_path)
    assert "no difference in " in text.out
    assert "at 99 % confidence at most" in text.out
    assert "100 %" not in text.out
    assert "only sampled: things" in text.out
    wrong = offramp("verify", path, "--sample", "5", folder=tmp_path)
    assert (wrong.code, "--sample needs --level sample" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("documents", "confidence", "least"),
    [(1_000, 0.95, 0.002991), (30_000, 0.95, 0.00009985), (300_000, 0.95, 0.000009986), (1_000, 0.99, 0.0045946)],
)
def test_the_bound_of_a_sample_is_exact(documents: int, confidence: float, least: float) -> None:
    assert bound(documents, confidence) == pytest.approx(least, rel=1e-3)
    assert needed(bound(documents, confidence), confidence) in (documents, documents + 1)


def test_the_bound_needs_as_many_as_computed_to_see_one_in_a_million() -> None:
    assert needed(1e-6, 0.95) == 2_995_731


def kept(folder: Path) -> tuple[bytes | None, int]:
    """How far the pass has come: the position of its second part, and how often it was gone on with."""
    try:
        with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
            row = db.execute(
                "SELECT position, resumed FROM pass_parts JOIN passes USING (route) WHERE stage = 'compare'"
            ).fetchone()
    except sqlite3.OperationalError:
        return None, 0
    return (row[0], row[1]) if row else (None, 0)


@pytest.mark.process
def test_a_verification_that_is_killed_goes_on_and_keeps_to_its_ceiling(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    documents = 4_000
    database.things.insert_many([{"_id": number, "n": number} for number in range(documents)])
    path = write_plan(
        *(tmp_path, stores, database.name, {"things": route_of("redis", unique)}),
        run={"window": 1},
        verification={"max_rate": 700},
    )
    assert offramp("backfill", path, "--verify", "none", folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        redis.delete(f"{unique}:n:10")
        redis.set(f"{unique}:n:{documents - 10}", "wrong")
    running = start("verify", path, folder=tmp_path)
    try:
        until(lambda: kept(tmp_path)[0] is not None or running.poll() is not None, "a first checkpoint")
        assert running.poll() is None, running.communicate()
    finally:
        running.kill()
        running.communicate()
    resumed = offramp("verify", path, "--json", folder=tmp_path).route("things")
    assert (resumed["missing"], resumed["differs"], resumed["held"]) == (1, 1, documents - 1)
    assert resumed["verification"]["resumed"] == 1
    assert found(path) == [("differs", f"n:{documents - 10}", "known"), ("missing", "n:10", "known")]
    assert kept(tmp_path) == (None, 0)
    assert not (tmp_path / "state.db.verification").exists()


def test_a_pass_is_void_once_the_target_was_written_to(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(10)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of("redis", unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    lease = state.leases.acquire("things")
    room = state.verification
    room.begin(lease, {"plan": "as it was"}, 1, [], {})
    state.leases.release(lease)
    state.close()
    # What an earlier release has left beside the state of a pass of its own.
    logs = former_log_folder(loaded.state, loaded.name, "things")
    assert logs is not None
    logs.mkdir(parents=True)
    (logs / "part-0000").write_bytes(b"log")
    row = offramp("verify", path, "--json", folder=tmp_path).route("things")
    assert (row["verdict"], row["verification"]["resumed"]) == ("clean", 0)
    assert not logs.parent.exists()


def test_a_pass_is_about_what_sync_has_written_so_far(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """R156: what was compared before a sync says nothing of what the sync wrote."""
    database.things.insert_many([{"_id": number} for number in range(3)])
    route = {**route_of("redis", unique), "sync": "rescan"}
    path = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    loaded = load(path)
    state = State(loaded.state, loaded.name)

    def scope() -> Mapping[str, Any]:
        return pass_scope(state, loaded.routes["things"], "", "")

    before = scope()
    assert offramp("sync", path, folder=tmp_path).code == 0
    unchanged = scope()
    database.things.update_one({"_id": 1}, {"$set": {"n": 1}})
    assert offramp("sync", path, folder=tmp_path).code == 0
    assert scope() != unchanged
    assert before.keys() == unchanged.keys()
    state.close()


def test_a_route_that_was_never_backfilled_is_compared_and_no_copy_is_claimed(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": n} for n in range(183)])
    route = {"use_case": "session", "key": f"{unique}:{{_id}}"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    found = offramp("verify", plan, "--json", folder=tmp_path)
    row = found.route("things")
    assert (found.code, row["verdict"], row["figures"], row["missing"]) == (1, "mismatches", "none", 183)
    assert [row[name] for name in ("read", "dropped", "copied", "records")] == [0, 0, 0, 0]
    assert row["compared"] == {"documents": 183, "dropped": 0, "rejected": 0, "records": 183}
    text = offramp("verify", plan, folder=tmp_path).out
    assert "things: not backfilled: this plan's state has no copy of the route" in text
    for form in ("md", "html"):
        page = (tmp_path / ".offramp" / "reports" / "plan" / f"report.{form}").read_text()
        assert "not backfilled" in page
        assert "offramp backfill PLAN" in re.sub("<[^>]+>", "", page)
        assert "--route ROUTE" not in re.sub("<[^>]+>", "", page)
        assert "--restart" not in page
        assert "closes" not in page
    refused = offramp("repair", plan, folder=tmp_path)
    assert (refused.code, "E-NOT-COPIED" in refused.out + refused.err) == (3, True)
    # What another state has copied is compared as it is, and may be right.
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    (tmp_path / "state.db").unlink()
    other = offramp("verify", plan, "--json", folder=tmp_path)
    assert (other.code, other.route("things")["figures"], other.route("things")["held"]) == (0, "none", 183)


def test_what_a_sync_has_overtaken_is_not_shown_as_what_the_target_holds(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": n, "name": "n"} for n in range(50)])
    route = {"use_case": "session", "key": f"{unique}:{{_id}}", "value": "name", "format": "raw", "sync": "rescan"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.insert_many([{"_id": n, "name": "n"} for n in range(50, 90)])
    assert offramp("sync", plan, folder=tmp_path).code == 0
    counted = offramp("verify", plan, "--level", "counts", "--json", folder=tmp_path)
    row = counted.route("things")
    assert (counted.code, row["figures"], row["held"], row["documents"]) == (0, "past", 90, 90), row["reasons"]
    shown = offramp("verify", plan, "--level", "counts", folder=tmp_path).out
    assert " 50 " not in shown
    assert "the figures of the copy are history" in shown
    sampled = offramp("verify", plan, "--level", "sample", "--sample", "30", "--json", folder=tmp_path)
    assert (sampled.code, sampled.route("things")["figures"]) == (0, "sample")
    page = (tmp_path / ".offramp" / "reports" / "plan" / "report.md").read_text()
    assert "does not close" not in page
    status = offramp("status", plan, folder=tmp_path).out
    assert "things: synced since its backfill" in status
    assert " 50 " not in status


@pytest.mark.parametrize("keys", [{"use_case": "cache"}, {"use_case": "entity"}, {"use_case": "search"}], ids=str)
def test_a_synced_route_is_counted_by_what_the_source_counts_now(
    keys: dict[str, Any], stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": n, "n": n} for n in range(20)])
    place = {"cache": "key", "entity": "table", "search": "index"}[keys["use_case"]]
    route = keys | {place: f"{unique}:{{_id}}" if place == "key" else unique}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})

    def counted() -> tuple[int, Any]:
        done = offramp("verify", plan, "--level", "counts", "--json", folder=tmp_path)
        return done.code, done.route("things")

    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.insert_many([{"_id": n, "n": n} for n in (30, 31, 32)])
    database.things.delete_one({"_id": 1})
    assert offramp("sync", plan, folder=tmp_path).code == 0
    code, row = counted()
    assert (code, row["verdict"], row["verified"], row["held"]) == (0, "clean", "counts", 22), row["reasons"]
    # A change that is not synced yet may hide or explain any difference: nothing is claimed, and the advice ends it.
    database.things.delete_one({"_id": 2})
    code, row = counted()
    assert (code, row["verdict"]) == (3, "failed")
    shown = offramp("verify", plan, "--level", "counts", folder=tmp_path).out
    assert "next: Counting proves nothing here. Bring over what changed with 'offramp sync PLAN', then" in shown
    assert "same command" not in shown
    assert offramp("sync", plan, folder=tmp_path).code == 0
    assert offramp("verify", plan, "--level", "full", folder=tmp_path).code == 0
    assert counted()[0] == 0
    # What the target lost is no clean count.
    with closing(load(plan).routes["things"].target()) as target:  # Behind the program's back.
        assert isinstance(target, Listable)
        target.delete([next(iter(target.addresses()))])
    code, row = counted()
    assert (code, row["verdict"]) == (1, "mismatches")
    assert "holds 20 records, and should hold 21" in row["reasons"][0]


def test_a_synced_route_whose_documents_need_not_have_a_record_each_is_not_counted(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": n, "player": f"p{n}", "points": n} for n in range(20)])
    database.command({"collMod": "things", "changeStreamPreAndPostImages": {"enabled": True}})
    route = {"use_case": "leaderboard", "key": f"{unique}:board", "member": "player", "score": "points"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    database.things.update_one({"_id": 1}, {"$set": {"player": "other"}})
    assert offramp("sync", plan, folder=tmp_path).code == 0
    shown = offramp("verify", plan, "--level", "counts", folder=tmp_path)
    assert shown.code == 3
    assert "need not have one record each" in shown.out
    assert "'offramp verify PLAN --level full'" in shown.out
    assert offramp("verify", plan, "--level", "full", folder=tmp_path).code == 0
