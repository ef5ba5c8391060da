"""A sync of several routes: what keeps one from it keeps no other, and the report and the exit code say so."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from redis import Redis
from waiting import until

from flows.plan.load import load
from stores.state.state import State

Documents = Database[dict[str, Any]]
NAMES = ("copied", "other", "never")


def a_plan(stores: Stores, database: Documents, folder: Path, unique: str) -> Path:
    """Return the plan of three routes of which one is not backfilled; both collections change after that."""
    for name in NAMES:
        database[name].insert_many([{"_id": number} for number in range(3)])
    routes = {name: {"use_case": "session", "key": f"{unique}:{name}:{{_id}}"} for name in NAMES}
    plan = write_plan(folder, stores, database.name, routes)
    done = offramp("backfill", plan, "--route", "copied", "--route", "other", "--json", folder=folder)
    assert done.code == 0, done.err
    for name in NAMES:
        database[name].insert_one({"_id": "new"})
    return plan


def has_new(stores: Stores, unique: str) -> set[str]:
    with Redis.from_url(stores.redis) as redis:
        return {name for name in NAMES if redis.exists(f"{unique}:{name}:s:new")}


@contextmanager
def another_run(plan: Path, *routes: str) -> Iterator[None]:
    loaded = load(plan)
    state = State(loaded.state, loaded.name)
    leases = [state.leases.acquire(route) for route in routes]
    yield
    state.leases.release(*leases)
    state.close()


def test_a_route_never_copied_keeps_no_other_from_its_sync(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    plan = a_plan(stores, database, tmp_path, unique)
    done = offramp("sync", plan, "--json", folder=tmp_path)
    assert done.code == 3
    assert has_new(stores, unique) == {"copied", "other"}
    assert {row["route"]: (row["verdict"], row["codes"]) for row in done.json["routes"]} == {
        "copied": ("clean", []),
        "other": ("clean", []),
        "never": ("failed", ["E-SYNC-BACKFILL"]),
    }
    assert "it is not copied completely; run backfill first, which resumes" in done.route("never")["reasons"][0]


def test_routes_none_of_which_was_copied_are_a_fault_of_the_command(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    plan = a_plan(stores, database, tmp_path, unique)
    done = offramp("sync", plan, "--route", "never", "--json", folder=tmp_path)
    assert (done.code, done.json["error"]["code"]) == (2, "E-SYNC-BACKFILL")
    assert done.json["error"]["message"].startswith("route never: it is not copied completely")


def test_a_route_that_another_run_works_on_keeps_no_other_from_its_sync(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    plan = a_plan(stores, database, tmp_path, unique)
    with another_run(plan, "other"):
        done = offramp("sync", plan, "--route", "copied", "--route", "other", "--json", folder=tmp_path)
    assert done.code == 3
    assert has_new(stores, unique) == {"copied"}
    assert done.route("copied")["verdict"] == "clean"
    row = done.route("other")
    assert (row["verdict"], row["codes"]) == ("failed", ["E-LEASE-HELD"])
    assert "another run" in row["reasons"][0]
    assert offramp("sync", plan, "--route", "other", "--json", folder=tmp_path).code == 0


@pytest.mark.parametrize("command", ["sync", "backfill", "verify", "repair"])
def test_where_other_runs_work_on_routes_each_is_named_and_nothing_is_done(
    command: str, stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    """A sync does nothing where it can sync none; the others do nothing unless they have every route."""
    plan = a_plan(stores, database, tmp_path, unique)
    chosen = NAMES[:2] if command == "sync" else NAMES
    with another_run(plan, *NAMES[:2]):
        done = offramp(
            command, plan, *(text for name in chosen for text in ("--route", name)), "--json", folder=tmp_path
        )
    assert (done.code, done.json["error"]["code"]) == (3, "E-LEASE-HELD")
    first, *others = done.json["error"]["message"].split("\n")
    assert first == f"other runs are working on 2 of {len(chosen)} routes, so nothing was done"
    assert [line.strip().split(":")[0] for line in others] == ["route copied", "route other"]
    assert has_new(stores, unique) == set()
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("SELECT count(*) FROM routes WHERE route = 'never'").fetchone() == (0,)
        assert db.execute("SELECT owner FROM leases WHERE route = 'never'").fetchall() in ([], [("",)])


@pytest.mark.process
def test_a_route_that_is_copied_while_others_are_followed_is_taken_in(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    plan = a_plan(stores, database, tmp_path, unique)
    following = start("sync", plan, "--follow", "--json", folder=tmp_path)
    until(lambda: has_new(stores, unique) == {"copied", "other"} or following.poll() is not None, "a first sync")
    assert following.poll() is None, following.communicate()
    copied = offramp("backfill", plan, "--route", "never", "--json", folder=tmp_path)
    assert copied.code == 0, copied.err
    database["never"].delete_one({"_id": "new"})
    until(lambda: has_new(stores, unique) == {"copied", "other"} or following.poll() is not None, "its first sync")
    ended(following, dict.fromkeys(NAMES, "clean"))


@pytest.mark.process
def test_a_route_that_another_run_frees_while_others_are_followed_is_taken_in(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    plan = a_plan(stores, database, tmp_path, unique)
    with another_run(plan, "other"):
        following = start("sync", plan, "--follow", "--json", folder=tmp_path)
        until(lambda: has_new(stores, unique) == {"copied"} or following.poll() is not None, "a first sync")
        assert following.poll() is None, following.communicate()
    until(lambda: has_new(stores, unique) == {"copied", "other"} or following.poll() is not None, "its first sync")
    said = ended(following, {"copied": "clean", "other": "clean", "never": "failed"})
    assert "never is not followed: E-SYNC-BACKFILL" in said
    assert "other is not followed: E-LEASE-HELD" in said


def ended(following: subprocess.Popen[str], verdicts: Mapping[str, str]) -> str:
    """Stop the sync, whose report has these verdicts; returns its standard error."""
    following.send_signal(signal.SIGTERM)
    out, err = following.communicate(timeout=60)
    assert following.returncode == 128 + signal.SIGTERM, err
    assert {row["route"]: row["verdict"] for row in json.loads(out)["routes"]} == verdicts, err
    return err
