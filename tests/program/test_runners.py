"""One plan on every task runner: partitions as tasks of processes, Dask and Ray, one of whose workers is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan
from prefect.testing.utilities import prefect_test_harness
from pymongo.database import Database

from flows import backfill
from flows.plan.load import load
from flows.reporting.model import RouteReport
from stores.state.state import State

DOCUMENTS = 3_500
MAPPER = '''
import os, signal
from pathlib import Path
from mappers.identity import identity
from mappers.redis import String

def die(document, *, folder, prefix):
    """Tell who maps, and end the process without a word at a document, once."""
    Path(folder, f"pid-{os.getpid()}").touch()
    if document["n"] == 2_600 and Path(folder, "kill").exists():
        Path(folder, "kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return [String(prefix + identity(document), str(document["n"]).encode())]
'''


@pytest.fixture(scope="module")
def server(starts_server: None) -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.mark.process
@pytest.mark.parametrize(
    ("runner", "retried"),
    [
        pytest.param("processes", False, id="processes", marks=pytest.mark.soak),
        pytest.param("dask", True, id="dask"),
        pytest.param("ray", True, id="ray", marks=pytest.mark.ray),
    ],
)
def test_a_worker_killed_by_its_task_loses_nothing(
    server: None,
    mongodb_url: str,
    redis_url: str,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runner: str,
    retried: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "own.py").write_text(MAPPER)
    (tmp_path / "kill").touch()
    database.things.insert_many([{"_id": number, "n": number} for number in range(DOCUMENTS)])
    things = {
        "target": "redis",
        "use": "own.py:die",
        "options": {"folder": str(tmp_path), "prefix": f"{unique}:"},
        "key": f"{unique}:{{_id}}",
        "partitions": 3,
    }
    run = {"runner": runner, "workers": 2, "window": 1}
    path = write_plan(tmp_path, Stores(mongodb_url, redis_url, "", ""), database.name, {"things": things}, run=run)

    def row() -> RouteReport:
        return backfill.run(path, [], "full").routes[0]

    found = row()
    assert not (tmp_path / "kill").exists()
    if not retried:
        assert found.verdict == "failed"
        assert "E-WORKER-DIED" in found.reasons[0]
        found = row()
    assert (found.verdict, found.read, found.records, found.held) == ("clean", *[DOCUMENTS] * 3), found.reasons
    pids = {int(each.name.removeprefix("pid-")) for each in tmp_path.glob("pid-*")}
    assert len(pids - {os.getpid()}) >= 2
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    assert [part.done for part in state.partitions.of_route("things")] == [True] * 3
    state.close()
