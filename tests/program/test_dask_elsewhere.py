"""A plan whose work a Dask cluster does that others started: workers in other folders, with another environment."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from dask_processes import DaskProcesses, dask_processes
from plans import Finished, Stores, offramp_process, start, write_plan
from postgresqls import Postgresql
from prefect_servers import LIMIT_S, PrefectServer, prefect_server
from pymongo.database import Database
from waiting import until

from flows.orchestration.artifacts import artifact_key
from stores.state.work_requests import LOOK_EVERY_S

DOCUMENTS = 3_000
MAPPER = '''
import os, signal, threading
from pathlib import Path
from mappers.redis import String
from mappers.identity import identity
from stores.contract.stop import PROCESS_STOP

def wait(document, *, folder, prefix):
    """Say who maps; wait at a document until the file of this process, or that of all, is there."""
    at = Path(folder)
    (at / f"pid-{os.getpid()}").touch()
    if document["n"] in (1_500, 1_501) and (at / "wait").exists():
        gates = [at / "go", at / f"go-{os.getpid()}"]
        (at / f"reached-{document['n']}-{os.getpid()}").touch()
        while not any(gate.exists() for gate in gates) and not PROCESS_STOP.is_set():
            threading.Event().wait(0.02)
    if (at / "kill").exists() and document["n"] == 1_500:
        os.kill(os.getpid(), signal.SIGKILL)
    return [String(prefix + identity(document), str(document["n"]).encode())]
'''


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def dask(starts_process: None, tmp_path: Path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path / "dask") as started:
        yield started


class Site:
    """A plan in a folder of its own, and the files by which its mapper is told what to do."""

    def __init__(self, folder: Path, server: PrefectServer, stores: Stores, database: Any, unique: str) -> None:
        self.folder = folder
        self.gates = folder.parent / "gates"
        self.environment = {**server.environment, "SECRET_REDIS": stores.redis}
        for each in (folder, self.gates):
            each.mkdir()
        (folder / "own.py").write_text(MAPPER)
        database.things.insert_many([{"_id": number, "n": number} for number in range(DOCUMENTS)])
        self._stores, self._database, self._unique = stores, database.name, unique

    def plan(
        self, address: str | None, *, partitions: int = 4, workers: int = 2, lease_s: float = 5, **keys: Any
    ) -> Path:
        """Write the plan; the URL of its target is in the environment alone."""
        things = {
            "target": "redis",
            "use": "own.py:wait",
            "options": {"folder": str(self.gates), "prefix": f"{self._unique}:"},
            "key": f"{self._unique}:{{_id}}",
            "partitions": partitions,
        }
        run = {"runner": "dask", "workers": workers, "window": 1, "lease_s": lease_s, "address": address}
        targets = {"redis": {"url": "${SECRET_REDIS}", "retry_deadline_s": 5}}
        return write_plan(
            self.folder,
            self._stores,
            self._database,
            {"things": things},
            run=run,
            targets=targets,
            name=self._unique,
            **keys,
        )

    def start(self, plan: Path, command: str = "backfill") -> Any:
        """Start a command."""
        return start(command, plan, "--json", folder=self.folder, environment=self.environment)

    def run(self, plan: Path, *options: str) -> Finished:
        """Run a backfill to its end."""
        return offramp_process("backfill", plan, *options, "--json", folder=self.folder, environment=self.environment)

    def stopped(self) -> bool:
        """Return whether the state tells the workers of a run to stop."""
        with closing(sqlite3.connect(self.folder / "state.db")) as state:
            return bool(state.execute("SELECT 1 FROM stops").fetchone())

    def reached(self, document: int = 1_500) -> list[int]:
        """Return the processes that wait, or waited, at the document."""
        return [int(each.name.rpartition("-")[2]) for each in self.gates.glob(f"reached-{document}-*")]

    def mapped(self) -> set[int]:
        """Return the processes that mapped a document."""
        return {int(each.name.removeprefix("pid-")) for each in self.gates.glob("pid-*")}


@pytest.fixture
def site(
    server: PrefectServer, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> Site:
    return Site(tmp_path / "site", server, stores, database, unique)


def ended(command: Any) -> dict[str, Any]:
    """Return the report's row of the run, which must have ended well."""
    out, err = command.communicate(timeout=LIMIT_S)
    assert out, err
    row: dict[str, Any] = json.loads(out)["routes"][0]
    row["err"] = err
    return row


def is_clean(row: dict[str, Any]) -> bool:
    figures = (row["read"], row["records"], row["held"], row["extra"])
    return (row["verdict"], *figures) == ("clean", *[DOCUMENTS] * 3, 0)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_elsewhere_need_the_state_and_the_environment_alone(
    dask: DaskProcesses, site: Site, stores: Stores, kind: str, request: pytest.FixtureRequest, unique: str
) -> None:
    """Not the plan's file, nor a Prefect server; one that joins late gets work."""
    secrets = {"SECRET_REDIS": stores.redis}
    keys: dict[str, Any] = {}
    if kind == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        url = server.url(unique)
        password = urlsplit(url).password or ""
        secrets["SECRET_STATE"] = site.environment["SECRET_STATE"] = password
        keys["state"] = url.replace(password, "${SECRET_STATE}")
        request.addfinalizer(lambda: server.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE"))
    plan = site.plan(dask.address, workers=2, **keys)
    (site.gates / "wait").touch()
    with dask.worker("first", **secrets):
        command = site.start(plan)
        until(site.reached, "worker at the gate", dask.log("first"), limit_s=LIMIT_S)
        with dask.worker("second", **secrets) as second:
            until(lambda: second.pid in site.mapped(), "work of the second", dask.log("second"), limit_s=LIMIT_S)
            (site.gates / "go").touch()
            row = ended(command)
    assert is_clean(row), row


def test_a_verification_on_a_cluster_shows_how_far_its_checkpoints_are(
    dask: DaskProcesses, site: Site, stores: Stores, server: PrefectServer, unique: str
) -> None:
    plan = site.plan(dask.address, partitions=2, workers=2)

    def shown() -> list[str]:
        """What the artifact says now, nothing before it is there."""
        found = server.get(f"artifacts/{artifact_key(unique, 'verify-progress')}/latest")
        return [found.json()["description"]] if found.is_success else []

    with dask.worker("first", SECRET_REDIS=stores.redis):
        assert site.run(plan, "--verify", "none").code == 0
        assert shown() == []
        (site.gates / "wait").touch()
        command = site.start(plan, "verify")
        until(site.reached, "worker at the gate", dask.log("first"), limit_s=LIMIT_S)
        [before] = until(shown, "progress", server.log, limit_s=LIMIT_S)
        (site.gates / "go").touch()
        row = ended(command)
    assert is_clean(row), row
    whole = "3 000 of about 3 000 documents compared"
    assert before.endswith(" of about 3 000 documents compared"), before
    assert not before.endswith(whole), before
    assert shown() == [f"things: {whole}"]


def test_a_paused_worker_that_wakes_up_counts_nothing_twice(dask: DaskProcesses, site: Site, stores: Stores) -> None:
    plan = site.plan(dask.address, partitions=1, workers=1)
    (site.gates / "wait").touch()
    with ExitStack() as closing:
        first = closing.enter_context(dask.worker("first", SECRET_REDIS=stores.redis))
        command = site.start(plan)
        until(lambda: first.pid in site.reached(), "worker at the gate", dask.log("first"), limit_s=LIMIT_S)
        first.send_signal(signal.SIGSTOP)
        closing.callback(lambda: first.poll() is None and first.send_signal(signal.SIGCONT))
        second = closing.enter_context(dask.worker("second", SECRET_REDIS=stores.redis))
        until(lambda: second.pid in site.reached(), "second worker at the gate", dask.log("second"), limit_s=LIMIT_S)
        (site.gates / f"go-{first.pid}").touch()
        first.send_signal(signal.SIGCONT)
        until(lambda: first.poll() is not None, "end of the first", dask.log("first"), limit_s=LIMIT_S)
        (site.gates / "go").touch()
        row = ended(command)
    assert is_clean(row), row
    assert "until a lost worker can write no more" in row["err"]


def test_a_worker_that_is_ended_gives_its_partition_back_and_nobody_waits(
    dask: DaskProcesses, site: Site, stores: Stores
) -> None:
    plan = site.plan(dask.address, partitions=1, workers=1, lease_s=3600)
    (site.gates / "wait").touch()
    with dask.worker("first", SECRET_REDIS=stores.redis) as first:
        command = site.start(plan)
        until(lambda: first.pid in site.reached(), "worker at the gate", dask.log("first"), limit_s=LIMIT_S)
        with dask.worker("second", SECRET_REDIS=stores.redis):
            first.send_signal(signal.SIGTERM)
            until(lambda: "SIGTERM" in dask.log("first").read_text(), "end that begins", dask.log("first"))
            (site.gates / "go").touch()
            row = ended(command)
    assert is_clean(row), row
    assert "lost worker" not in row["err"]


def test_a_partition_that_kills_its_workers_is_given_up_and_the_same_command_resumes(
    dask: DaskProcesses, site: Site, stores: Stores
) -> None:
    plan = site.plan(dask.address, partitions=2, workers=1)
    (site.gates / "kill").touch()
    with ExitStack() as closing:
        for number in range(4):
            closing.enter_context(dask.worker(f"victim-{number}", SECRET_REDIS=stores.redis))
        closing.enter_context(dask.worker("last", SECRET_REDIS=stores.redis))
        row = ended(site.start(plan))
        assert row["verdict"] == "failed"
        assert row["codes"] == ["E-WORKER-DIED"]
        (site.gates / "kill").unlink()
        until(lambda: site.run(plan).code == 0, "clean run", limit_s=LIMIT_S)


def test_a_partition_that_fails_on_one_worker_is_tried_on_another(
    dask: DaskProcesses, site: Site, stores: Stores, server: PrefectServer
) -> None:
    """The first worker cannot reach the source: its name of it leads to a port where nobody listens."""
    plan = site.plan(dask.address, partitions=1, workers=1)
    content = yaml.safe_load(plan.read_text())
    content["source"] = {"uri": "${SECRET_MONGODB}", "database": content["source"]["database"], "retry_deadline_s": 1}
    plan.write_text(yaml.safe_dump(content))
    site.environment["SECRET_MONGODB"] = stores.mongodb
    away = "mongodb://127.0.0.1:9/?directConnection=true"
    with dask.worker("blind", SECRET_REDIS=stores.redis, SECRET_MONGODB=away) as blind:
        command = site.start(plan)
        waiting = {"name": {"any_": ["AwaitingRetry"]}}
        until(lambda: server.found("task_runs", task_runs={"state": waiting}), "retry", limit_s=LIMIT_S)
        with dask.worker("seeing", SECRET_REDIS=stores.redis, SECRET_MONGODB=stores.mongodb) as seeing:
            row = ended(command)
    assert is_clean(row), row
    assert (blind.pid in site.mapped(), seeing.pid in site.mapped()) == (False, True)


def test_ctrl_c_reaches_workers_elsewhere_by_the_state_and_the_run_ends(
    dask: DaskProcesses, site: Site, stores: Stores
) -> None:
    plan = site.plan(dask.address, partitions=4, workers=2)
    (site.gates / "wait").touch()
    with dask.worker("only", SECRET_REDIS=stores.redis) as worker:
        command = site.start(plan)
        until(site.reached, "worker at the gate", dask.log("only"), limit_s=LIMIT_S)
        command.send_signal(signal.SIGINT)
        until(site.stopped, "stop in the state", dask.log("only"), limit_s=LIMIT_S)
        since = time.monotonic()
        until(lambda: time.monotonic() - since > LOOK_EVERY_S, "worker that has to look at the state again")
        (site.gates / "go").touch()
        row = ended(command)
        assert (command.returncode, row["verdict"], row["codes"]) == (130, "stopped", ["E-STOPPED"]), row
        assert row["read"] < DOCUMENTS
        assert worker.is_running()
        assert is_clean(json.loads(site.run(plan).out)["routes"][0] | {"err": ""})


def test_a_scheduler_that_goes_away_ends_the_run_and_another_resumes(
    dask: DaskProcesses, site: Site, stores: Stores, tmp_path: Path
) -> None:
    plan = site.plan(dask.address, partitions=4, workers=2)
    (site.gates / "wait").touch()
    with dask.worker("first", SECRET_REDIS=stores.redis):
        command = site.start(plan)
        until(site.reached, "worker at the gate", dask.log("first"), limit_s=LIMIT_S)
        dask.process.kill()
        row = ended(command)
        (site.gates / "go").touch()
    assert (command.returncode, row["verdict"]) == (3, "failed"), row
    assert set(row["codes"]) == {"E-CLUSTER-GONE"}
    with dask_processes(tmp_path / "other") as other, other.worker("next", SECRET_REDIS=stores.redis):
        plan = site.plan(other.address, partitions=4, workers=2)
        until(lambda: site.run(plan).code == 0, "clean run", limit_s=LIMIT_S)


def test_a_worker_without_the_package_is_named_and_another_does_the_work(
    dask: DaskProcesses, site: Site, stores: Stores, tmp_path: Path
) -> None:
    plan = site.plan(dask.address, partitions=1, workers=1)
    other = tmp_path / "other" / "mongo_offramp-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: mongo-offramp\nVersion: 9.9\n")
    with dask.worker("old", SECRET_REDIS=stores.redis, PYTHONPATH=str(other.parent)):
        row = ended(site.start(plan))
    assert (row["verdict"], row["codes"]) == ("failed", ["E-WORKER-SETUP"]), row
    assert "9.9" in row["reasons"][0]
    assert psutil.pid_exists(dask.process.pid)
