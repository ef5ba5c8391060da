"""The flows on a Prefect server: what a run shows, what fails it, what is retried, and a schedule on a real worker."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactCollectionFilter,
    ArtifactCollectionFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import State as RunState
from prefect.client.schemas.objects import TaskRun
from prefect.tasks import Task
from prefect.testing.utilities import prefect_test_harness
from prefect.utilities.callables import parameter_schema
from pymongo.database import Database
from redis import Redis
from reports import STARTED, row
from waiting import until

from flows import backfill, check, mismatch_repair, reject_retry, sync, verification
from flows.orchestration import tasks
from flows.orchestration.artifacts import artifact_key, show
from flows.orchestration.ending import call_flow
from flows.orchestration.plan_source import PlanSource
from flows.orchestration.tasks import TaskFailed, copy_partition, prefect_workers, verify_route
from flows.plan.load import load
from flows.reporting.markdown_text import prose
from flows.reporting.model import Report
from flows.run.jobs import CopyJob
from flows.verifier.job import Verified, VerifyJob, VerifyOptions
from stores.contract.source import Partition
from stores.errors import LeaseLost, PlanError, TransientError
from stores.state.state import State

LIMIT_S = 90.0
SHIPPED = Path(__file__).parents[2] / "config" / "prefect.yaml"

FLOWS: list[Any] = [
    *(backfill.backfill, check.check, sync.sync, verification.verification),
    *(mismatch_repair.mismatch_repair, reject_retry.reject_retry),
]

Documents = Database[dict[str, Any]]
WritePlan = Callable[..., Path]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(starts_server: None) -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def write_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mongodb_url: str, redis_url: str, database: Documents, unique: str
) -> WritePlan:
    """Write a plan of one route, named as the test, into the working directory; keys replace those of the plan."""
    monkeypatch.chdir(tmp_path)
    database["sessions"].insert_many({"_id": number, "user": f"user {number}"} for number in range(60))

    def write(**keys: Any) -> Path:
        content = {
            "name": unique,
            "source": {"uri": mongodb_url, "database": database.name},
            "targets": {"redis": {"url": redis_url, "retry_deadline_s": 0.2}},
            "routes": {unique: {"use_case": "session", "collection": "sessions", "partitions": 3}},
        }
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(content | keys))
        return path

    return write


def ended_tasks(number: int, **filters: Any) -> list[TaskRun]:
    """The task runs once so many of them have ended: the server learns of them a little later."""

    def ended() -> list[TaskRun]:
        with get_client(sync_client=True) as client:
            done = [run for run in client.read_task_runs(**filters) if run.end_time]
        return done if len(done) >= number else []

    return until(ended, f"{number} ended tasks")


def ended_flow(called: Flow[..., Any], **parameters: Any) -> tuple[RunState[Any], Any]:
    """The state in which the server has the flow run, and the outcome that its caller gets."""
    states: list[RunState[Any]] = []
    watched = called.with_options(
        on_completion=[lambda *seen: states.append(seen[2])], on_failure=[lambda *seen: states.append(seen[2])]
    )
    outcome = call_flow(watched, **parameters)
    return states[0], outcome


def tasks_of(state: RunState[Any], number: int) -> list[TaskRun]:
    """The tasks of the flow run that ended in this state."""
    assert state.state_details.flow_run_id is not None
    wanted = FlowRunFilterId(any_=[state.state_details.flow_run_id])
    return ended_tasks(number, flow_run_filter=FlowRunFilter(id=wanted))


def attempts(state: RunState[Any]) -> int:
    """How often the task that ended in this state was attempted, as the server has it."""
    assert state.state_details.task_run_id is not None
    wanted = TaskRunFilterId(any_=[state.state_details.task_run_id])
    return ended_tasks(1, task_run_filter=TaskRunFilter(id=wanted))[0].run_count


def table(key: str) -> list[dict[str, Any]]:
    """The rows of the newest artifact of this key."""
    wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_latest_artifacts(artifact_filter=wanted)
    assert artifact.type == "table"
    assert isinstance(artifact.data, str)
    return list(json.loads(artifact.data))


def test_a_flow_copies_every_partition_proves_it_and_shows_the_table(
    server: None, write_plan: WritePlan, redis_url: str, unique: str, tmp_path: Path
) -> None:
    path = write_plan(run={"workers": 1})

    (state, report) = ended_flow(backfill.backfill, plan=str(path))

    assert state.is_completed()
    assert state.message == "verdict clean: 1 of 1 route clean"
    assert report.verdict == "clean"
    assert (report.routes[0].read, report.routes[0].held) == (60, 60)
    with Redis.from_url(redis_url) as target:
        assert json.loads(target.get(f"{unique}:n:7"))["user"] == "user 7"
    assert json.loads((tmp_path / ".offramp/reports" / unique / "report.json").read_text())["verdict"] == "clean"
    (row,) = table(f"offramp-{unique}")
    assert (row["route"], row["read"], row["held"], row["verdict"]) == (unique, "60", "60", "clean")
    runs = tasks_of(state, 4)
    names = [f"copy {unique} partition {number}" for number in range(3)]
    assert sorted(run.name for run in runs) == [*names, f"verify {unique}"]
    # workers: 1 lets no two of them run at a time.
    spans = sorted((run.start_time, run.end_time) for run in runs if run.start_time and run.end_time)
    assert len(spans) == len(runs)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_an_artifact_shows_names_letter_by_letter(server: None, unique: str) -> None:
    name = "<b>|[x](y)"

    @flow
    def showing() -> None:
        show(Report(unique, "f", STARTED, STARTED, [row(name, verdict="mismatches", missing=1)]), [])

    showing()
    (cells,) = table(f"offramp-{unique}")
    assert (cells["route"], cells["missing"]) == (prose(name), "1")
    assert "<b>" not in cells["route"]


def test_a_route_that_is_imported_has_a_task_that_loads_it(
    server: None, write_plan: WritePlan, dynamodb_endpoint: str, unique: str
) -> None:
    s3 = boto3.client("s3", endpoint_url=dynamodb_endpoint)
    s3.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    route = {"use_case": "entity", "collection": "sessions", "load": "import", "import_bucket": unique}
    target = {"region": "eu-west-1", "endpoint": dynamodb_endpoint, "s3_endpoint": dynamodb_endpoint}
    path = write_plan(targets={"dynamodb": target}, routes={unique: route})

    (state, report) = ended_flow(backfill.backfill, plan=str(path))

    assert (report.verdict, report.routes[0].held) == ("clean", 60), report.routes[0].reasons
    names = [f"copy {unique} partition 0", f"load {unique}", f"verify {unique}"]
    assert sorted(run.name for run in tasks_of(state, 3)) == names


def test_a_record_changed_behind_its_back_fails_the_verification(
    server: None, write_plan: WritePlan, redis_url: str, unique: str
) -> None:
    path = write_plan()
    assert backfill.run(path, [], "none").verdict == "clean"
    with Redis.from_url(redis_url) as target:
        stored = target.get(f"{unique}:n:7")
        target.set(f"{unique}:n:7", stored.replace(b"user 7", b"user 8"))

    (state, report) = ended_flow(verification.verification, plan=str(path), routes=[unique])

    assert state.is_failed()
    assert report.verdict == "mismatches"
    assert report.routes[0].differs == 1
    with get_client(sync_client=True) as client:
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        shown = client.read_flow_run(run_id).state
    assert shown is not None
    assert shown.is_failed()
    assert shown.message == f"verdict mismatches: 0 of 1 route clean; {unique}: mismatches (1 differs)"
    assert table(f"offramp-{unique}")[0]["verdict"] == "mismatches"
    # Restarting copies it again; the report of a run through `run` is returned, clean or not.
    assert verification.run(path, [], "full").verdict == "mismatches"
    assert backfill.run(path, [unique], "full", restart=True).verdict == "clean"


def test_an_error_of_a_run_reaches_the_caller_as_itself(server: None, write_plan: WritePlan, unique: str) -> None:
    path = write_plan()
    with pytest.raises(PlanError, match="nowhere"):
        backfill.run(path, ["nowhere"], "full")
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    lease = state.leases.acquire(unique)
    with pytest.raises(TransientError, match="E-LEASE-HELD"):
        verification.run(path, [], "full")
    state.leases.release(lease)
    state.close()
    assert backfill.run(path, [], "none").verdict == "clean"
    write_plan(routes={unique: {"use_case": "session", "collection": "sessions", "fields": {"drop": ["user"]}}})
    with pytest.raises(PlanError, match="E-CONFIG-CHANGED"):
        backfill.run(path, [], "full")


def test_a_copy_that_met_a_full_server_is_tried_again_and_arrives(
    server: None, write_plan: WritePlan, redis_server: Callable[..., str], monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    url = redis_server()
    path = write_plan(
        targets={"redis": {"url": url, "retry_deadline_s": 0.2}},
        routes={unique: {"use_case": "session", "collection": "sessions", "partitions": 1}},
    )

    def fill_up_at_first(_task: Task[..., Any], run: TaskRun, _state: RunState) -> None:
        with Redis.from_url(url) as target:
            target.config_set("maxmemory", "1" if run.run_count == 1 else "0")

    impatient = copy_partition.with_options(retry_delay_seconds=0, on_running=[fill_up_at_first])
    monkeypatch.setattr(tasks, "copy_partition", impatient)

    (state, report) = ended_flow(backfill.backfill, plan=str(path))

    assert report.verdict == "clean"
    counted = {run.name: run.run_count for run in tasks_of(state, 2)}
    assert counted == {f"copy {unique} partition 0": 2, f"verify {unique}": 1}


# Outside of a flow Prefect has no run to file the tasks' log under, and says so.
@pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted to send logs")
def test_a_transient_error_is_tried_four_times_and_no_other(server: None, write_plan: WritePlan, unique: str) -> None:
    path = write_plan(targets={"redis": {"url": f"redis://127.0.0.1:{free_port()}", "retry_deadline_s": 0.1}})
    verify = verify_route.with_options(retry_delay_seconds=0)
    copy = copy_partition.with_options(retry_delay_seconds=0)
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    stale = state.leases.acquire(unique)
    state.partitions.begin(stale, {}, "", "", [Partition(0)])
    state.leases.release(stale)
    held = state.leases.acquire(unique)
    state.close()

    away = verify(PlanSource(path), VerifyJob(unique, VerifyOptions("counts"), held), return_state=True)
    lost = copy(PlanSource(path), CopyJob(unique, 0, stale), return_state=True)
    absent = verify(
        PlanSource(Path("no such plan.yaml")), VerifyJob(unique, VerifyOptions("counts"), held), return_state=True
    )

    ends: list[RunState[Any]] = [away, lost, absent]
    failures = [ended.result(raise_on_failure=False) for ended in ends]
    found = [
        (type(failure.error) if isinstance(failure, TaskFailed) else None, attempts(ended))
        for failure, ended in zip(failures, ends, strict=True)
    ]
    assert found == [(TransientError, 4), (LeaseLost, 1), (PlanError, 1)]


@pytest.mark.process
def test_an_error_takes_the_place_of_its_result_and_an_unknown_one_ends_the_run(
    server: None, write_plan: WritePlan, unique: str
) -> None:
    path = write_plan()
    loaded = load(path)
    with_state = State(loaded.state, loaded.name)
    lease = with_state.leases.acquire(unique)
    with_state.partitions.begin(lease, {}, "", "", [Partition(0)])
    with_state.leases.release(lease)
    held = with_state.leases.acquire(unique)
    with_state.close()

    @flow
    def two_copies() -> tuple[object, object, object]:
        with prefect_workers(loaded) as workers:
            jobs = [CopyJob(unique, 0, lease), CopyJob(unique, 0, lease)]
            (_, first), (_, second) = workers.run(jobs)
            ((_, verified),) = workers.run([VerifyJob(unique, VerifyOptions("counts"), held)])
        return first, second, verified

    @flow
    def stray() -> None:
        with prefect_workers(loaded) as workers:
            workers.run([VerifyJob("nowhere", VerifyOptions("counts"), lease)])

    first, second, verified = two_copies()
    assert (type(first), type(second), type(verified)) == (LeaseLost, LeaseLost, Verified)
    with pytest.raises(KeyError):
        stray()


@pytest.mark.parametrize("one", FLOWS, ids=lambda one: one.name)
def test_every_parameter_is_explained_to_whoever_starts_a_run(one: Any) -> None:
    properties = parameter_schema(one).properties
    assert {"plan", "routes"} <= set(properties)
    assert [name for name, described in properties.items() if not described.get("description")] == []


def test_a_failed_task_survives_pickling_and_its_text_is_the_code_alone() -> None:
    failed = pickle.loads(pickle.dumps(TaskFailed(PlanError("E-PLAN", "a text with a value"))))

    assert (type(failed.error), str(failed.error)) == (PlanError, "E-PLAN a text with a value")
    assert repr(failed).startswith("TaskFailed('E-PLAN: ")
    assert "value" not in repr(failed)


@pytest.mark.parametrize(
    ("name", "key"),
    [("shop", "offramp-shop"), ("Shop_2026 (EU)", "offramp-shop-2026-eu"), ("\u00e9", "offramp")],
)
def test_an_artifacts_key_is_of_lowercase_letters_digits_and_dashes(name: str, key: str) -> None:
    assert artifact_key(name) == key
