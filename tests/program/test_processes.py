"""Workers that are processes: killed, stopped, orphaned, and what they tell their parent."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from gated_mapper import DOCUMENTS, gated_plan, reached_file
from plans import Stores, offramp, start
from pymongo.database import Database
from waiting import until

from flows.plan.load import load
from flows.run.jobs import CopyJob
from flows.run.processes import Processes, local_workers
from flows.run.rebalancing import POLL_EVERY_S
from stores.contract.source import Partition
from stores.errors import LeaseLost, PermanentError
from stores.state.leases import Lease
from stores.state.state import State

SLOW_START = """
import os, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    open(os.environ["GATE"] + ".starting", "w").close()
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.02)
"""


class Heard:
    """An observer that counts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.documents: Counter[str] = Counter()

    def began(self, route: str, stage: str, documents: int) -> None:
        self.calls[f"began {stage}"] += 1

    def advanced(self, route: str, stage: str, documents: int) -> None:
        self.documents[stage] += documents

    def ended(self, route: str, stage: str, complete: bool) -> None:
        self.calls[f"ended {stage}"] += 1


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "go"


def plan_of(
    use: str, gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, **route: Any
) -> Path:
    run = {"runner": "processes", "workers": 2, "window": 1}
    return gated_plan(use, gate, stores, database, unique, run, **route)


def positions(folder: Path) -> list[bytes | None]:
    with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
        return [at for (at,) in db.execute("SELECT position FROM partitions ORDER BY number")]


def begun(folder: Path) -> bool:
    try:
        return any(at is not None for at in positions(folder))
    except sqlite3.OperationalError:
        return False


def whole(row: Mapping[str, Any]) -> bool:
    return (row["read"], row["records"], row["held"], row["extra"], row["verdict"]) == (*[DOCUMENTS] * 3, 0, "clean")


def workers_of(process: int) -> list[psutil.Process]:
    """The worker processes among the children; Python's own tracker of resources is one, too."""
    children = psutil.Process(process).children()
    return [child for child in children if any("spawn_main" in part for part in child.cmdline())]


@pytest.mark.process
def test_a_worker_that_is_killed_is_replaced_and_its_partition_goes_on_at_its_checkpoint(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    plan = plan_of("wait", gate, stores, database, unique, partitions=1)
    running = start("-v", "backfill", plan, "--json", folder=tmp_path)
    until(lambda: begun(tmp_path) or running.poll() is not None, "a first checkpoint")
    assert running.poll() is None, running.communicate()
    (worker,) = workers_of(running.pid)
    # No address of a store stands where every user of the machine may read it.
    assert not any(stores.mongodb in part or stores.redis in part for part in worker.cmdline())
    worker.kill()
    gate.touch()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "was ended by signal 9; its job begins again at its last checkpoint" in err
    assert whole(json.loads(out)["routes"][0])
    # What a worker logs is in the program's log.
    assert "things partition 0: " in err


def test_a_job_that_kills_every_worker_fails_its_route_and_the_same_command_resumes(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    plan = plan_of("die", gate, stores, database, unique)
    gate.write_text("always")
    failed = offramp("backfill", plan, "--json", folder=tmp_path)
    row = failed.route("things")
    assert failed.code == 3
    assert row["verdict"] == "failed"
    assert "E-WORKER-DIED" in row["reasons"][0]
    assert 1_000 <= row["read"] < DOCUMENTS
    gate.write_text("")  # Once.
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.out
    assert not gate.exists()
    assert whole(resumed.route("things"))


@pytest.mark.process
def test_a_stop_by_signal_reaches_the_workers_and_ends_them_at_a_checkpoint(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    plan = plan_of("wait", gate, stores, database, unique)
    running = start("backfill", plan, "--json", folder=tmp_path)
    until(lambda: begun(tmp_path) or running.poll() is not None, "a first checkpoint")
    workers = workers_of(running.pid)
    for each in (*workers, psutil.Process(running.pid)):  # As a terminal does, and as systemd does.
        each.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in err
    row = json.loads(out)["routes"][0]
    assert row["verdict"] == "stopped"
    assert 1_000 <= row["read"] < DOCUMENTS
    assert not any(worker.is_running() for worker in workers)
    gate.touch()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert whole(resumed.route("things"))


@pytest.mark.process
def test_workers_that_are_still_starting_are_not_waited_for_once_the_run_is_stopped(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """They start after the file appears, which it does not."""
    plan = plan_of("wait", gate, stores, database, unique, partitions=2)
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_START)
    environment = {"PYTHONPATH": os.pathsep.join([str(slow), *filter(None, [os.environ.get("PYTHONPATH")])])}
    running = start("backfill", plan, "--json", folder=tmp_path, environment=environment | {"GATE": str(gate)})
    reached = Path(f"{gate}.starting")
    until(lambda: reached.exists() or running.poll() is not None, "a worker that starts")
    workers = workers_of(running.pid)
    for each in (*workers, psutil.Process(running.pid)):
        each.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGINT, err
    assert "ended, as not everything had stopped" not in err
    row = json.loads(out)["routes"][0]
    assert (row["verdict"], row["codes"], row["read"]) == ("stopped", ["E-STOPPED"], 0)
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    gate.touch()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert whole(resumed.route("things"))


@pytest.mark.process
def test_workers_whose_parent_was_killed_end_and_the_same_command_resumes_at_once(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    plan = plan_of("wait", gate, stores, database, unique)
    running = start("backfill", plan, "--json", folder=tmp_path)
    reached = reached_file(gate)  # Where the worker tells its parent nothing.
    until(lambda: reached.exists() or running.poll() is not None, "the document where the mapper waits")
    workers = workers_of(running.pid)
    running.kill()
    running.communicate()
    assert workers
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert (len(gone), alive) == (len(workers), [])
    gate.touch()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.out
    assert whole(resumed.route("things"))


@pytest.mark.process
def test_what_workers_find_and_how_far_they_are_comes_back_and_errors_keep_their_class(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    gate.touch()
    path = plan_of("wait", gate, stores, database, unique, partitions=3)
    plan, heard = load(path), Heard()
    state = State(plan.state, plan.name)
    stale = state.leases.acquire("things")
    state.partitions.begin(stale, {}, "", "", [Partition(0)])
    state.leases.release(stale)
    lease = state.leases.acquire("things")
    with local_workers(plan, heard) as workers:
        assert isinstance(workers, Processes)
        ((_, lost),) = workers.run([CopyJob("things", 0, stale)])
        assert isinstance(lost, LeaseLost)
        ((_, unknown),) = workers.run([CopyJob("nowhere", 0, Lease(plan.name, "nowhere", "", 1))])
        assert isinstance(unknown, PermanentError)
        assert "E-INTERNAL" in str(unknown)
        ((_, span),) = workers.run([CopyJob("things", 0, lease)])
        assert not isinstance(span, Exception), span
        assert len(workers.pids) == 1  # The one that was idle was taken again.
        assert os.getpid() not in workers.pids
        assert heard.documents["copy"] == DOCUMENTS
        # The plan's file is no longer the plan of the run: a worker that begins now must not follow it.
        path.write_text(path.read_text().replace("things:", "others:"))
        psutil.Process(workers.pids[0]).kill()
        ((_, changed),) = workers.run([CopyJob("things", 0, lease)])
        assert isinstance(changed, PermanentError)
        assert "E-CONFIG-CHANGED" in str(changed)
        pids = workers.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    state.leases.release(lease)
    state.close()


@pytest.mark.process
def test_a_straggler_is_split_for_the_worker_that_has_nothing_to_do(
    gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    more = 12_000
    database.things.insert_many([{"_id": number, "n": number} for number in range(DOCUMENTS, DOCUMENTS + more)])
    plan = plan_of("wait", gate, stores, database, unique, options={"gate": str(gate), "prefix": f"{unique}:"})
    running = start("-v", "backfill", plan, "--json", folder=tmp_path)
    reached = reached_file(gate)

    def split_next() -> bool:
        """Whether the worker finds the request as soon as it goes on: it looks again a second after its last look."""
        waits = reached.exists() and time.time() - reached.stat().st_mtime > POLL_EVERY_S
        return (waits and partition_requested(tmp_path)) or running.poll() is not None

    until(split_next, "a request for another partition that the worker looks for next")
    gate.touch()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    row = json.loads(out)["routes"][0]
    documents = DOCUMENTS + more
    assert (row["documents"], row["read"], row["records"], row["held"]) == (*[documents] * 4,)
    with sqlite3.connect(tmp_path / "state.db") as db:
        tallies = [json.loads(tally)["read"] for (tally,) in db.execute("SELECT tally FROM partitions")]
    assert len(tallies) > 1, err
    assert all(tallies)
    assert sum(tallies) == documents


def partition_requested(folder: Path) -> bool:
    try:
        with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
            return any(wanted > 0 for (wanted,) in db.execute("SELECT wanted FROM wishes"))
    except sqlite3.OperationalError:
        return False
