"""Ctrl-C, SIGTERM and Prefect's cancellation of a flow: it ends at a checkpoint, says so, and the next run resumes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gated_mapper import DOCUMENTS, gated_plan, reached_file
from plans import Stores, offramp, offramp_process, start
from prefect_servers import LIMIT_S, PrefectServer, prefect_server, running
from pymongo.database import Database
from waiting import until

from flows.orchestration.task_runners import signals_blocked
from stores.contract.stop import PROCESS_STOP


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "go"


def plan_of(runner: str, gate: Path, stores: Stores, database: Database[dict[str, Any]], unique: str) -> Path:
    run = {"runner": runner, "workers": 1, "window": 1}
    return gated_plan("wait", gate, stores, database, unique, run, name=unique, partitions=1)


def resume(plan: Path, gate: Path) -> None:
    """The next run goes on at the checkpoint, and everything is there in the end."""
    gate.touch()
    PROCESS_STOP.clear()
    resumed = offramp_process("backfill", plan, "--json", folder=gate.parent, environment={"PREFECT_API_URL": ""})
    row = resumed.route("things")
    assert (resumed.code, row["read"], row["records"], row["held"], row["extra"]) == (0, *[DOCUMENTS] * 3, 0)


@pytest.mark.parametrize(
    ("runner", "number"), [("threads", signal.SIGINT), ("processes", signal.SIGTERM), ("dask", signal.SIGINT)]
)
def test_a_signal_to_all_processes_of_a_flow_ends_it_at_a_checkpoint(
    runner: str,
    number: signal.Signals,
    server: PrefectServer,
    starts_process: None,
    gate: Path,
    stores: Stores,
    database: Database[dict[str, Any]],
    unique: str,
) -> None:
    plan = plan_of(runner, gate, stores, database, unique)
    command = start("backfill", plan, "--prefect", "--json", folder=gate.parent, environment=server.environment)
    until(
        lambda: reached_file(gate).exists() or command.poll() is not None,
        "the document where the mapper waits",
        limit_s=LIMIT_S,
    )
    family = psutil.Process(command.pid).children(recursive=True)
    for process in (*family, command):  # As a terminal does, and as systemd does.
        process.send_signal(number)
    out, err = command.communicate(timeout=LIMIT_S)

    assert command.returncode == 128 + number, err
    assert "stopping at the next checkpoint" in err
    (run,) = server.found("flow_runs", flow_runs={"name": {"any_": [f"{unique} backfill"]}})
    assert (run["state_name"], run["state_type"]) == ("Stopped", "CANCELLED"), err
    assert psutil.wait_procs(family, timeout=30)[1] == []
    if "offramp: ended" not in err:  # A machine with too much to do has no time for it.
        row = json.loads(out)["routes"][0]
        assert (row["verdict"], row["codes"]) == ("stopped", ["E-STOPPED"])
        assert 1_000 <= row["read"] < DOCUMENTS
    resume(plan, gate)


def test_a_run_that_prefect_cancels_ends_at_a_checkpoint_with_its_report(
    server: PrefectServer,
    starts_process: None,
    gate: Path,
    stores: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
) -> None:
    plan = plan_of("threads", gate, stores, database, unique)
    assert offramp("deploy", plan, "--only", "backfill", folder=tmp_path).code == 0
    (deployment,) = server.deployments(unique).values()
    log = tmp_path / "worker.log"
    with running(log, server.environment, tmp_path, "prefect", "worker", "start", "--pool", "offramp"):
        run = server.started_run(deployment, {})
        until(
            lambda: reached_file(gate).exists(), "the document where the mapper waits", server.log, log, limit_s=LIMIT_S
        )
        cancelling = {"state": {"type": "CANCELLING"}, "force": False}
        server.post(f"flow_runs/{run}/set_state", cancelling).raise_for_status()
        ended = server.ended(run, log)

    assert ended["state_type"] == "CANCELLED", ended["state"]
    report = json.loads((tmp_path / ".offramp" / "reports" / unique / "report.json").read_text())
    assert [(row["verdict"], row["codes"]) for row in report["routes"]] == [("stopped", ["E-STOPPED"])]
    resume(plan, gate)


def test_what_begins_while_signals_are_blocked_takes_none(starts_process: None) -> None:
    with signals_blocked():
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert {signal.SIGINT, signal.SIGTERM} <= blocked
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
