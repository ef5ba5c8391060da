"""Rejects from the command line: listed, shown, retried, exported, accepted; budgets that stop a route (R140, R142)."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

from flows.plan.load import load
from stores.state.state import State

SECRET = "4111-1111"

Command = Callable[..., Finished]


@pytest.fixture
def path(mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Path:
    """A plan of one route whose keys need a name."""
    route = {"use_case": "cache", "key": f"{unique}:{{name}}:{{_id}}"}
    stores = Stores(mongodb_url, redis_url, "", "")
    return write_plan(tmp_path, stores, database.name, {"things": route})


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return lambda *arguments: offramp(*arguments, folder=tmp_path)


def say(path: Path, **keys: Any) -> None:
    plan = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**plan, **keys}))


def fill(database: Database[dict[str, Any]], nameless: set[int], documents: int = 6, padding: str = "") -> None:
    database.things.insert_many(
        [
            {"_id": n, "card": SECRET, "padding": padding} | ({} if n in nameless else {"name": f"n{n}"})
            for n in range(documents)
        ]
    )


def test_rejects_are_settled_one_by_one_until_the_verdict_is_clean(
    path: Path, command: Command, database: Database[dict[str, Any]], redis_url: str, unique: str, tmp_path: Path
) -> None:
    fill(database, {1, 2, 3})
    first = command("backfill", path, "--json")
    assert (first.code, first.route("things")["verdict"], first.route("things")["rejected"]) == (1, "rejects", 3)

    listed = command("rejects", "list", path, "--json")
    assert [(one["id"], one["stage"], one["attempts"]) for one in listed.json["rejects"]] == [
        ("n:1", "map", 1),
        ("n:2", "map", 1),
        ("n:3", "map", 1),
    ]
    shown = command("rejects", "show", path, "--id", "n:1")
    assert "not kept" in shown.out
    assert command("rejects", "show", path, "--id", "n:9").code == 2
    assert command("rejects", "list", path, "--code", "E-NONE").out == "no reject is on record\n"

    say(path, rejects={"documents": True})
    again = command("rejects", "retry", path, "--json")
    assert (again.code, again.json["open"]) == (1, 3)
    assert again.json["routes"][0] | {"route": ""} == {
        "route": "",
        "chosen": 3,
        "mended": 0,
        "gone": 0,
        "rejected": 3,
        "nameless": 0,
        "failure": "",
    }
    assert SECRET in command("rejects", "show", path, "--id", "n:2").out
    text = command("rejects", "list", path)
    assert "n:2" in text.out
    assert SECRET not in text.out + listed.out + command("status", path).out

    file = tmp_path / "rejects.ndjson"
    assert command("rejects", "export", path, "--out", file, "--id", "n:2").code == 0
    [line] = [json.loads(one) for one in file.read_text().splitlines()]
    assert (line["_id"], line["document"]["card"], line["attempts"]) == ({"$numberInt": "2"}, SECRET, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert command("rejects", "export", path, "--out", file).code == 2

    # One is accepted, one mended in the source, one leaves it.
    assert command("rejects", "drop", path, "--id", "n:1").code == 2
    assert command("rejects", "drop", path, "--reason", "all of them").code == 2
    dropped = command("rejects", "drop", path, "--id", "n:1", "--reason", "test data", "--by", "anna")
    assert (dropped.code, dropped.out) == (0, "things: 1 reject accepted\n")
    database.things.update_one({"_id": 2}, {"$set": {"name": "late"}})
    database.things.delete_one({"_id": 3})
    mended = command("rejects", "retry", path, "--json")
    assert (mended.code, mended.json["open"]) == (0, 0)
    assert [mended.json["routes"][0][name] for name in ("chosen", "mended", "gone", "rejected")] == [2, 1, 1, 0]
    with Redis.from_url(redis_url) as redis:
        assert len(list(redis.scan_iter(f"{unique}:late:*"))) == 1
    assert command("status", path, "--json").json["routes"][0]["verdict"] is None

    verified = command("verify", path, "--json")
    row = verified.route("things")
    assert (verified.code, row["verdict"], row["rejected"], row["accepted"]) == (0, "clean", 1, 1), row["reasons"]
    [said] = row["accepted_rejects"]
    assert (said["by"], said["why"], said["documents"], said["example"]) == ("anna", "test data", 1, "n:1")
    assert [(one["command"], one["done"], one["count"]) for one in row["repairs"]] == [
        ("retry", "copied", 1),
        ("retry", "gone", 1),
        ("retry", "rejected", 1),
    ]
    page = (tmp_path / ".offramp" / "reports" / "plan" / "report.md").read_text()
    assert "accepted by anna" in page
    assert "retry: 1 copied" in page
    assert "retry: 1 gone from the source" in page
    assert "anna" in command("rejects", "list", path, "--accepted").out

    # What was accepted is one document: another that takes its place was accepted by nobody.
    database.things.delete_one({"_id": 1})
    database.things.insert_one({"_id": 7, "card": SECRET})
    other = command("verify", path, "--json")
    assert (other.code, other.route("things")["verdict"]) == (1, "rejects")


def test_status_counts_no_reject_as_open_that_was_corrected_before_the_others_were_accepted(
    path: Path, command: Command, database: Database[dict[str, Any]]
) -> None:
    fill(database, {1, 2, 3})
    assert command("backfill", path).code == 1
    database.things.update_many({"_id": {"$in": [2, 3]}}, {"$set": {"name": "late"}})
    for _again in range(3):
        assert command("rejects", "retry", path, "--id", "n:1").code == 1
    assert command("rejects", "retry", path).code == 1
    row = command("verify", path, "--json").route("things")
    done = [(one["command"], one["done"], one["count"]) for one in row["repairs"]]
    assert done == [("retry", "copied", 2), ("retry", "rejected", 1)]
    assert command("rejects", "drop", path, "--all", "--reason", "known").code == 0
    [state] = command("status", path, "--json").json["routes"]
    assert (state["rejected"], state["accepted"], state["rejects"]) == (1, 1, [])
    shown = command("status", path).out
    assert "more reject" not in shown
    assert "1 reject is accepted" in shown


def test_an_acceptance_can_be_taken_back(path: Path, command: Command, database: Database[dict[str, Any]]) -> None:
    fill(database, {1})
    assert command("backfill", path).code == 1
    assert command("rejects", "drop", path, "--all", "--reason", "known").code == 0
    row = command("backfill", path, "--json")
    assert (row.code, row.route("things")["verdict"], row.route("things")["accepted"]) == (0, "clean", 1)
    assert (
        command("rejects", "list", path).out
        == "no reject is open; 1 is accepted: offramp rejects list PLAN --accepted\n"
    )
    assert command("rejects", "drop", path, "--all", "--undo").out == "things: 1 reject opened again\n"
    assert command("rejects", "list", path, "--accepted").out.startswith("no reject is accepted; 1 is open")
    assert command("verify", path).code == 1
    assert command("rejects", "drop", path, "--all", "--undo").code == 2


def test_a_document_accepted_and_replaced_before_anything_was_copied_again_is_not_clean(
    path: Path, command: Command, database: Database[dict[str, Any]]
) -> None:
    """The sums of copying still close; only the comparison, by `_id`, sees that another document is rejected now."""
    fill(database, {1})
    assert command("backfill", path).code == 1
    assert command("rejects", "drop", path, "--all", "--reason", "known").code == 0
    database.things.delete_one({"_id": 1})
    database.things.insert_one({"_id": 9, "card": SECRET})
    verified = command("verify", path, "--json")
    assert (verified.code, verified.route("things")["verdict"]) == (1, "rejects")


def test_a_route_over_its_budget_stops_early_and_goes_on_once_it_is_raised(
    path: Path, command: Command, database: Database[dict[str, Any]], redis_url: str, unique: str
) -> None:
    fill(database, set(range(2_000, 2_010)), 8_000, padding="x" * 1_000)
    say(path, rejects={"in_a_row": 50, "most": 9})
    stopped = command("backfill", path, "--json")
    row = stopped.route("things")
    assert (stopped.code, row["verdict"], row["verified"]) == (4, "stopped", "none")
    assert "10 documents were rejected (limit: rejects.most 9); most often map: E-" in row["reasons"][0]
    assert row["read"] < 8_000
    assert row["backfill_s"] > 0
    assert row["read"] == row["dropped"] + row["rejected"] + row["copied"]
    assert row["records"] == len([*Redis.from_url(redis_url).scan_iter(f"{unique}:*", count=1_000)])
    status = command("status", path, "--json").json["routes"][0]
    assert (status["stage"], "rejects.most 9" in status["stopped"]) == ("copying", True)
    same = command("backfill", path, "--json")
    assert (same.code, same.route("things")["read"]) == (4, row["read"])
    page = (path.parent / ".offramp" / "reports" / "plan" / "report.md").read_text()
    assert "Stopped at a checkpoint before the end" in page
    assert "All that could be moved" not in page

    say(path, rejects={"in_a_row": 50, "most": 10})
    done = command("backfill", path, "--json").route("things")
    assert (done["verdict"], done["read"], done["rejected"], done["verified"]) == ("rejects", 8_000, 10, "full")
    assert "stopped" not in done["reasons"][0]


def test_rejects_cannot_be_settled_while_another_run_holds_the_route(
    path: Path, command: Command, database: Database[dict[str, Any]]
) -> None:
    fill(database, {1})
    assert command("backfill", path).code == 1
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    state.leases.acquire("things")
    try:
        for arguments in (("retry",), ("drop", "--all", "--reason", "known")):
            held = command("rejects", arguments[0], path, *arguments[1:])
            assert (held.code, "E-LEASE-HELD" in held.err) == (3, True)
    finally:
        state.close()
    assert len(command("rejects", "list", path, "--json").json["rejects"]) == 1


def backfill_rescanned(path: Path, command: Command, database: Database[dict[str, Any]], unique: str) -> Any:
    """Return the plan: the route is copied without a reject, is synced by comparing, and stops after three rejects."""
    plan = yaml.safe_load(path.read_text())
    plan["routes"]["things"]["key"] = f"{unique}:{{_id}}"
    plan["routes"]["things"] |= {"sync": "rescan", "value": "name", "format": "raw", "rejects": {"most": 3}}
    path.write_text(yaml.safe_dump(plan))
    fill(database, set())
    assert command("backfill", path).code == 0
    return plan


def test_what_a_stopped_sync_has_deleted_is_counted(
    path: Path, command: Command, database: Database[dict[str, Any]], redis_url: str, unique: str
) -> None:
    backfill_rescanned(path, command, database, unique)
    database.things.update_many({"_id": {"$lt": 4}}, {"$unset": {"name": 1}})
    stopped = command("sync", path, "--json")
    row = stopped.route("things")
    assert (stopped.code, row["verdict"]) == (4, "stopped")
    with Redis.from_url(redis_url) as redis:
        left = len(list(redis.scan_iter(f"{unique}:*")))
    assert (left, row["sync"]["deleted"], row["read"]) == (2, 4, 6)
    assert "4 addresses deleted" in command("status", path).out


def test_a_sync_over_its_budget_stops_and_goes_on_once_it_is_raised(
    path: Path, command: Command, database: Database[dict[str, Any]], redis_url: str, unique: str
) -> None:
    plan = backfill_rescanned(path, command, database, unique)
    database.things.insert_many([{"_id": 10 + n} for n in range(4)])
    database.things.update_one({"_id": 5}, {"$set": {"name": "new"}})
    stopped = command("sync", path, "--json")
    assert (stopped.code, stopped.route("things")["verdict"]) == (4, "stopped")
    assert "E-REJECTS-BUDGET" in stopped.route("things")["reasons"][0]
    plan["routes"]["things"]["rejects"] = {"most": 4}
    path.write_text(yaml.safe_dump(plan))
    assert command("sync", path).code == 1
    with Redis.from_url(redis_url) as redis:
        assert redis.get(f"{unique}:n:5") == b"new"
    assert command("rejects", "drop", path, "--all", "--reason", "known").code == 0
    verified = command("verify", path, "--json")
    assert (verified.code, verified.route("things")["accepted"]) == (0, 4), verified.route("things")["reasons"]
