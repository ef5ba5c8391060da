"""Nothing of a document reaches Prefect: planted ids, values and field names are searched for in all that it keeps."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import offramp, offramp_process
from prefect import flow, task
from prefect.client.schemas.objects import State as RunState
from prefect_servers import ASK_EVERY_S, PrefectServer, forward_records, prefect_server, running
from pymongo.database import Database
from redis import Redis
from waiting import ending, until

from flows.connect.progress import Observer
from flows.orchestration.ending import Ending, end_flow
from flows.orchestration.plan_source import PlanSource, open_plan
from flows.orchestration.tasks import copy_partition
from flows.plan.model import Plan
from flows.run.workers import answer
from stores.contract.stop import Stop
from stores.errors import PermanentError
from stores.state.leases import Lease

SECRET = "hunter2"
"""In every planted id, value and name of a field."""
MAPPER = """\
from mappers.identity import identity
from mappers.redis import String

def own(document, *, prefix):
    if "refused" in document:
        raise ValueError(f"cannot map {document}")
    return [String(f"{prefix}{identity(document)}", str(document).encode())]
"""

Documents = Database[dict[str, Any]]


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def plan(tmp_path: Path, mongodb_url: str, redis_url: str, database: Documents, unique: str) -> Path:
    """A plan of three routes whose backfill has rejects, losses and, once a record was changed, mismatches."""
    users = [{"_id": f"{SECRET}-id-{number}", f"{SECRET}-field": f"{SECRET} value {number}"} for number in range(20)]
    database["users"].insert_many(users)
    database["refused"].insert_many([*users, {"_id": f"{SECRET}-reject", "refused": f"{SECRET} refused"}])
    database["lossy"].insert_many([*users, {"_id": f"{SECRET}-loss", f"{SECRET}-rate": math.nan}])
    (tmp_path / "own.py").write_text(MAPPER)
    own = {"target": "redis", "use": "own.py:own", "options": {"prefix": f"{unique}r:"}, "key": f"{unique}r:{{_id}}"}
    lossy = {"use_case": "session", "key": f"{unique}l:{{_id}}", "values": {"nonfinite": "as_null"}}
    content = {
        "name": unique,
        "source": {"uri": mongodb_url, "database": database.name},
        "targets": {"redis": {"url": redis_url, "retry_deadline_s": 0.2}},
        "routes": {"users": {"use_case": "session", "key": f"{unique}u:{{_id}}"}, "refused": own, "lossy": lossy},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def kept(server: PrefectServer) -> dict[str, bytes]:
    """All that the server keeps: its database, results that were persisted, and what its API gives."""
    forward_records()
    files = {str(path): path.read_bytes() for path in server.home.rglob("*") if path.is_file()}
    api = {what: json.dumps(server.found(what)).encode() for what in ("logs", "artifacts", "flow_runs", "task_runs")}
    return files | api | {"server.log": server.log.read_bytes()}


def where_planted(server: PrefectServer) -> list[str]:
    return [name for name, content in kept(server).items() if SECRET.encode() in content]


def deployment(server: PrefectServer, kind: str, plan: str) -> dict[str, Any]:
    """The plan's deployment of this kind."""
    return next(one for name, one in server.deployments(plan).items() if name.startswith(f"flows.{kind}."))


def test_unclean_runs_of_a_worker_leave_nothing_of_a_document_in_prefect(
    server: PrefectServer, starts_process: None, plan: Path, redis_url: str, unique: str, tmp_path: Path
) -> None:
    assert offramp("deploy", plan, folder=tmp_path).code == 0
    log = tmp_path / "worker.log"
    environment = {**server.environment, "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,stores"}
    with running(log, environment, tmp_path, "prefect", "worker", "start", "--pool", "offramp"):
        copied = server.ended_run(deployment(server, "backfill", unique), {"show_values": True}, log)
        with Redis.from_url(redis_url) as target:
            target.delete(f"{unique}u:s:{SECRET}-id-3")
            target.set(f"{unique}u:s:{SECRET}-id-4", f"{SECRET} changed")
            target.set(f"{unique}u:s:{SECRET}-extra", f"{SECRET} extra")
        compared = server.ended_run(deployment(server, "verification", unique), {"show_values": True}, log)
        (tmp_path / "own.py").write_text(f"raise RuntimeError('{SECRET} while it loads')\n")
        refused = server.ended_run(deployment(server, "sync", unique), {}, log)

    assert [run["state_type"] for run in (copied, compared, refused)] == ["FAILED"] * 3, ending(log)
    assert "1 rejected E-MAP-FAILED" in copied["state"]["message"]
    assert "1 nonfinite_null lost" in copied["state"]["message"]
    assert "1 missing, 1 differs, 1 extra" in compared["state"]["message"]
    assert refused["state"]["message"].startswith("E-PLAN: ")
    report = json.loads((tmp_path / ".offramp/reports" / unique / "report.json").read_text())
    assert SECRET in json.dumps(report), "nothing was planted"
    until(
        lambda: server.found("artifacts", artifacts={"key": {"any_": [f"offramp-{unique}-report"]}}),
        "artifact",
        every_s=ASK_EVERY_S,
    )
    until(lambda: b"1 missing" in kept(server)["logs"], "log of the verification", log, every_s=ASK_EVERY_S)
    assert where_planted(server) == []
    assert not any((server.home / "storage").rglob("*")), "a result was persisted"


def test_the_command_with_prefect_prints_the_report_once_and_no_traceback(
    server: PrefectServer, starts_process: None, plan: Path, unique: str, tmp_path: Path
) -> None:
    done = offramp_process("backfill", plan, "--prefect", "--json", folder=tmp_path, environment=server.environment)

    assert done.code == 1, done.err
    assert {route["verdict"] for route in done.json["routes"]} == {"clean", "rejects", "mismatches"}
    assert ("Traceback" in done.err, "RouteReport(" in done.err, SECRET in done.err) == (False, False, False)
    assert where_planted(server) == []


@dataclass(frozen=True)
class Failing:
    """A job that fails with what a document holds."""

    error: Exception
    route: str = "users"
    number: int = 0
    kind: str = "copy"
    lease: Lease = field(default_factory=lambda: Lease("", "", "", 0))

    def run(self, plan: Plan, observer: Observer, stop: Stop) -> None:
        logging.getLogger("flows.connect").warning("route %s, %d: %s", "users", 7, self.error)
        logging.getLogger("stores.redis").warning("%s is odd", f"{SECRET} address")
        answer(self._fail)
        self._fail()

    def _fail(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError(f"{SECRET} key"), "E-INTERNAL unexpected KeyError at test_prefect_privacy.py line "),
        (PermanentError("E-STATE-GONE", f"{SECRET} text, see E-PLAN"), "E-STATE-GONE: "),
        (PermanentError("E-OWN-TARGET", f"{SECRET} text"), "E-OWN-TARGET"),
    ],
    ids=["unexpected", "known", "of a target of one's own"],
)
def test_an_error_reaches_prefect_as_its_code_from_a_task_and_from_a_flow(
    server: PrefectServer, plan: Path, error: Exception, message: str
) -> None:
    states: list[RunState[Any]] = []

    @flow
    def failing() -> Any:
        def work(_stop: Stop) -> Ending[None]:
            open_plan(PlanSource(plan))
            states.append(copy_partition(PlanSource(plan), Failing(error), return_state=True))
            raise error

        return end_flow(work)

    state: RunState[Any] = failing(return_state=True)  # type: ignore[assignment]

    assert state.is_failed()
    assert (state.message or "").startswith(message)
    assert f"TaskFailed: {message}" in (states[0].message or "")
    named = error.code if isinstance(error, PermanentError) else "KeyError"

    def logged() -> list[str]:
        forward_records()
        lines = [str(entry["message"]) for entry in server.found("logs")]
        return lines if f"route users, 7: {named}" in lines else []

    lines = until(logged, "log of the task", every_s=ASK_EVERY_S)
    assert "… is odd" in lines
    assert any(line.startswith("a job failed: E-INTERNAL") for line in lines) or isinstance(error, PermanentError)
    assert where_planted(server) == []


def test_what_a_mapper_prints_is_not_logged(server: PrefectServer) -> None:
    assert task(copy_partition.fn).log_prints is None
    assert copy_partition.log_prints is False
