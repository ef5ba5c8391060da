"""Ctrl-C and SIGTERM: obeyed wherever a command is, though a store is silent, and the same command resumes."""

from __future__ import annotations

import dataclasses
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from silent_relay import SilentRelay, silent_relay
from waiting import until

from flows.cli.signals import STOP_WITHIN_S
from flows.connect.route_steps import ROUTES_AT_ONCE

DOCUMENTS = 30_000
ROUTES = 4 * ROUTES_AT_ONCE
OBEYED_WITHIN_S = 60
"""Far above what a signal takes: what a command prints says whether it waited for the silent server."""
NOT_WAITED_FOR = f"offramp: ended, as not everything had stopped within {STOP_WITHIN_S:g} s; the same command resumes"
NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def relay(mongodb_url: str) -> Iterator[tuple[str, SilentRelay]]:
    with silent_relay(mongodb_url) as opened:
        yield opened


@pytest.fixture
def relayed(stores: Stores, relay: tuple[str, SilentRelay]) -> Stores:
    return dataclasses.replace(stores, mongodb=relay[0])


def things(
    folder: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, documents: int = 10, **run: Any
) -> Path:
    database.things.insert_many([{"_id": number, "n": number} for number in range(documents)])
    routes = {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}}
    return write_plan(folder, stores, database.name, routes, run=run)


def ask(folder: Path, query: str) -> int:
    """Return a number from the state, 0 before there is one."""
    try:
        with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def reach(query: str, running: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the command has brought the state so far that the query has another answer than 0."""
    until(lambda: ask(folder, query) or running.poll() is not None, query)
    assert running.poll() is None, running.communicate()


def obeyed(running: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send the signal; return what the command printed, which ended by it."""
    running.send_signal(number)
    out, err = running.communicate(timeout=OBEYED_WITHIN_S)
    assert running.returncode == 128 + number, err
    assert "stopping at the next checkpoint" in err
    return out, err


def open_files(running: subprocess.Popen[str]) -> list[str]:
    return [file.path for file in psutil.Process(running.pid).open_files()]


@pytest.mark.process
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("command", ["check", "backfill", "verify", "sync", "repair"])
def test_a_signal_is_obeyed_while_a_silent_source_is_checked(
    command: str,
    number: signal.Signals,
    relay: tuple[str, SilentRelay],
    relayed: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = things(tmp_path, relayed, database, unique)
    assert offramp("backfill", plan, "--json", folder=tmp_path).code == 0
    relay[1].silence()
    relay[1].withheld.clear()
    running = start(command, plan, folder=tmp_path)
    assert relay[1].withheld.wait(OBEYED_WITHIN_S)
    _, err = obeyed(running, number)
    assert "E-STOPPED stopped by a signal while checking" in err
    relay[1].passing.set()
    resumed = offramp(command, plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.err


@pytest.mark.process
@pytest.mark.parametrize("command", ["backfill", "verify"])
def test_a_command_that_begins_anew_is_not_the_one_that_resumes(
    command: str,
    relay: tuple[str, SilentRelay],
    relayed: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = things(tmp_path, relayed, database, unique)
    relay[1].silence()
    running = start(command, plan, "--restart", folder=tmp_path)
    assert relay[1].withheld.wait(OBEYED_WITHIN_S)
    _, err = obeyed(running, signal.SIGINT)
    assert "stopping at the next checkpoint; the same command without --restart resumes" in err


@pytest.mark.process
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_signal_is_obeyed_while_a_silent_source_is_copied_and_verified(
    runner: str,
    relay: tuple[str, SilentRelay],
    relayed: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = things(tmp_path, relayed, database, unique, DOCUMENTS, runner=runner, workers=2)
    for number, reached in (
        (signal.SIGINT, "SELECT count(*) FROM partitions WHERE position IS NOT NULL AND NOT done"),
        (signal.SIGTERM, "SELECT count(*) FROM pass_parts WHERE stage = 'compare' AND position IS NOT NULL"),
    ):
        running = start("backfill", plan, "--json", folder=tmp_path)
        reach(reached, running, tmp_path)
        relay[1].silence()
        out, err = obeyed(running, number)
        assert NOT_WAITED_FOR not in err
        assert json.loads(out)["verdict"] == "stopped"
        relay[1].passing.set()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.err
    row = resumed.route("things")
    assert (row["read"], row["records"], row["held"], row["extra"]) == (DOCUMENTS, DOCUMENTS, DOCUMENTS, 0)


@pytest.mark.process
def test_a_signal_is_obeyed_while_a_silent_source_is_followed(
    relay: tuple[str, SilentRelay],
    relayed: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = things(tmp_path, relayed, database, unique)
    assert offramp("backfill", plan, "--json", folder=tmp_path).code == 0
    running = start("sync", plan, "--follow", folder=tmp_path)
    database.things.insert_one({"_id": "new"})
    reach("SELECT events FROM syncs", running, tmp_path)
    relay[1].silence()
    relay[1].withheld.clear()
    assert relay[1].withheld.wait(OBEYED_WITHIN_S)
    _, err = obeyed(running, signal.SIGTERM)
    assert NOT_WAITED_FOR not in err
    relay[1].passing.set()
    assert offramp("sync", plan, "--json", folder=tmp_path).code == 0
    assert offramp("verify", plan, "--json", folder=tmp_path).code == 0


@pytest.mark.process
def test_after_a_signal_no_route_is_begun(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """Those that were being begun are begun or not; none is half begun."""
    names = [f"c{number:03}" for number in range(ROUTES)]
    for name in names:
        database[name].insert_many([{"_id": number} for number in range(3)])
    routes = {name: {"use_case": "session", "key": f"{unique}:{name}:{{_id}}"} for name in names}
    plan = write_plan(tmp_path, stores, database.name, routes)
    running = start("backfill", plan, "--json", folder=tmp_path)
    reach("SELECT count(*) FROM routes", running, tmp_path)
    running.send_signal(signal.SIGSTOP)
    begun = ask(tmp_path, "SELECT count(*) FROM routes")
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGCONT)
    out, err = running.communicate(timeout=OBEYED_WITHIN_S)
    assert running.returncode == 128 + signal.SIGINT, err
    assert ask(tmp_path, "SELECT count(*) FROM routes") <= begun + ROUTES_AT_ONCE < ROUTES
    assert (
        ask(
            tmp_path,
            "SELECT count(*) FROM routes WHERE NOT EXISTS (SELECT 1 FROM partitions p WHERE p.route = routes.route)",
        )
        == 0
    )
    report = json.loads(out)
    assert {row["route"] for row in report["routes"]} == {*names}
    assert all("E-STOPPED" in row["reasons"][0] for row in report["routes"])
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.err
    assert {row["held"] for row in resumed.json["routes"]} == {3}


@pytest.mark.process
def test_a_signal_is_obeyed_while_another_process_keeps_the_state_to_itself(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """SQLite waits without giving Python a chance to look at a signal."""
    plan = things(tmp_path, stores, database, unique)
    assert offramp("backfill", plan, "--json", folder=tmp_path).code == 0
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        running = start("verify", plan, folder=tmp_path)
        until(lambda: str(tmp_path / "state.db-wal") in open_files(running), "a look at the state")
        _, err = obeyed(running, signal.SIGINT)
        assert NOT_WAITED_FOR in err
        db.execute("ROLLBACK")


@pytest.mark.process
def test_a_second_signal_ends_the_program_at_once_and_says_so(
    relay: tuple[str, SilentRelay],
    relayed: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = things(tmp_path, relayed, database, unique, DOCUMENTS)
    running = start("backfill", plan, folder=tmp_path)
    reach("SELECT count(*) FROM partitions WHERE position IS NOT NULL", running, tmp_path)
    relay[1].silence()
    assert running.stderr is not None
    running.send_signal(signal.SIGTERM)
    seen = ""
    while "stopping at the next checkpoint" not in seen:
        line = running.stderr.readline()
        assert line, seen
        seen += line
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=OBEYED_WITHIN_S)
    assert running.returncode == 128 + signal.SIGTERM
    assert "offramp: ended at once; what was in flight is done again: the same command resumes" in err
