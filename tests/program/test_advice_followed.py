"""The advice of a report is followed as a user does it, command by command, and leads to the end it promises."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from plans import Finished, Stores, offramp, start, write_plan
from pymongo.database import Database
from waiting import until

from flows.connect.route_steps import ROUTES_AT_ONCE

Documents = Database[dict[str, Any]]
Delete = Callable[[], object]
Exists = Callable[[], bool]

RESTART = "offramp backfill PLAN --restart"


def advised(finished: Finished) -> list[str]:
    """Return the commands in the lines `next:` of a report, in their order."""
    lines = [line for line in finished.out.splitlines() if line.startswith("next: ")]
    return [command for line in lines for command in re.findall(r"'(offramp [^']+)'", line)]


def follow(command: str, plan: Path) -> Finished:
    words = shlex.split(command.replace("PLAN", str(plan)))[1:]
    return offramp(*words, folder=plan.parent)


def fill(database: Documents, *collections: str, documents: int = 8) -> None:
    for name in collections:
        database[name].insert_many([{"_id": n, "player": f"p{n}", "points": n} for n in range(documents)])


@pytest.fixture(params=["dynamodb", "elasticsearch"])
def place(request: pytest.FixtureRequest, stores: Stores, unique: str) -> tuple[dict[str, Any], Delete, Exists]:
    """The keys of a route, a way to delete its table or index behind offramp's back, and whether it is there."""
    if request.param == "dynamodb":
        client = boto3.client("dynamodb", endpoint_url=stores.dynamodb, region_name="eu-west-1")
        return (
            {"use_case": "entity", "table": unique},
            lambda: client.delete_table(TableName=unique),
            lambda: unique in client.list_tables()["TableNames"],
        )
    index = f"{stores.elasticsearch}/{unique}"
    return (
        {"use_case": "search", "index": unique},
        lambda: httpx.delete(index).raise_for_status(),
        lambda: httpx.head(index).status_code == 200,
    )


def test_a_target_that_was_deleted_is_not_made_empty_and_the_advice_copies_it_anew(
    place: tuple[dict[str, Any], Delete, Exists], stores: Stores, database: Documents, tmp_path: Path
) -> None:
    keys, delete, exists = place
    fill(database, "things")
    plan = write_plan(tmp_path, stores, database.name, {"things": keys})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    delete()
    for command in ("backfill", "verify", "sync"):
        refused = offramp(command, plan, folder=tmp_path)
        assert refused.code == 3, refused.out
        assert "E-MADE-ANEW the target was deleted since the run began" in refused.out
        assert advised(refused) == [RESTART]
        assert "same command" not in refused.out
        assert not exists(), command
    explained = offramp("explain", "E-MADE-ANEW", folder=tmp_path)
    assert RESTART in explained.out
    assert "same command" not in explained.out
    anew = follow(RESTART, plan)
    assert anew.code == 0, anew.out
    for command in ("sync", "verify"):
        assert offramp(command, plan, folder=tmp_path).code == 0


def test_a_route_whose_addresses_move_is_synced_after_what_the_advice_says(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    """Beside a route that can be synced, the report and not an error says what to do."""
    fill(database, "players", "things")
    database.command({"collMod": "players", "changeStreamPreAndPostImages": {"enabled": False}})
    routes = {
        "players": {"use_case": "leaderboard", "key": f"{unique}:board", "member": "player", "score": "points"},
        "things": {"use_case": "cache", "key": f"{unique}:t:{{_id}}"},
    }
    plan = write_plan(tmp_path, stores, database.name, routes)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    refused = offramp("sync", plan, folder=tmp_path)
    assert refused.code == 3, refused.out
    assert "E-KEY-NOTDERIVABLE" in refused.out
    assert "same command" not in refused.out
    command = f"{RESTART} --route players"
    assert command in advised(refused)
    database.command({"collMod": "players", "changeStreamPreAndPostImages": {"enabled": True}})
    assert follow(command, plan).code == 0
    database.players.update_one({"_id": 3}, {"$set": {"player": "moved"}})
    assert offramp("sync", plan, folder=tmp_path).code == 0
    assert offramp("verify", plan, folder=tmp_path).code == 0


@pytest.mark.process
def test_after_a_signal_while_routes_are_prepared_no_target_is_said_to_be_gone_that_was_never_made(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    names = [f"r{number:02}" for number in range(3 * ROUTES_AT_ONCE)]
    fill(database, *names, documents=2)
    routes = {name: {"use_case": "search", "index": f"{unique}-{name}"} for name in names}
    plan = write_plan(tmp_path, stores, database.name, routes)
    running = start("backfill", plan, folder=tmp_path)

    def made() -> bool:
        assert running.poll() is None
        return bool(httpx.get(f"{stores.elasticsearch}/{unique}-*/_settings").json())

    until(made, "the first index")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    # A machine under load may not stop within the time for it, and ends without a report.
    assert "E-STOPPED stopped by a signal while preparing" in out or "not everything had stopped" in err
    assert "E-ES-NOINDEX" not in out
    assert "start over" not in out
    assert "backfill --restart" not in out
    assert "Not backfilled" not in out
    again = offramp("backfill", plan, folder=tmp_path)
    assert again.code == 0, again.out
    assert "E-ES-NOINDEX" not in again.out


def test_what_was_never_copied_is_told_alike_and_the_advice_copies_it(
    stores: Stores, database: Documents, tmp_path: Path, unique: str
) -> None:
    fill(database, "caches", "items", "texts", "others")
    database.caches.insert_one({"_id": "nameless"})
    routes = {
        "caches": {"use_case": "cache", "key": f"{unique}:c:{{player}}:{{_id}}"},
        "items": {"use_case": "entity", "table": unique},
        "texts": {"use_case": "search", "index": unique},
        "others": {"use_case": "cache", "key": f"{unique}:o:{{_id}}"},
    }
    plan = write_plan(tmp_path, stores, database.name, routes)
    three = [word for name in ("caches", "items", "texts") for word in ("--route", name)]
    verified = offramp("verify", plan, *three, folder=tmp_path)
    assert verified.code == 3, verified.out
    assert "E-NOT-COPIED it was never copied, and there is no table" in verified.out
    assert "E-NOT-COPIED it was never copied, and there is no index" in verified.out
    assert "rejects list" not in verified.out  # Nothing is on record that it could list.
    assert "--restart" not in verified.out
    commands = advised(verified)
    assert "offramp backfill PLAN --route items --route texts" in commands
    assert "offramp backfill PLAN --route caches" in commands
    repaired = offramp("repair", plan, *three, folder=tmp_path)
    assert repaired.code == 3
    for name in ("caches", "items", "texts"):
        assert f"{name}: E-NOT-COPIED it was never copied; run backfill first" in repaired.out
    database.caches.delete_one({"_id": "nameless"})
    for command in commands:
        if command.startswith("offramp backfill"):
            assert follow(command, plan).code == 0
    assert offramp("verify", plan, folder=tmp_path).code == 0
