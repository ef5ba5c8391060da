"""A plan in a block, run by a worker that has no file of it: every flow, its name, its state and what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import offramp
from prefect import flow
from prefect.blocks.system import Secret
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect_servers import LIMIT_S, PrefectServer, prefect_server, running
from pymongo.database import Database
from redis import Redis
from waiting import until

from flows import backfill, check, mismatch_repair, reject_retry
from flows.connect.lease_renewal import hold_leases
from flows.connect.stores import open_state
from flows.orchestration.plan_blocks import PlanBlock, read_plan_block, save_plan_block
from flows.orchestration.plan_source import find_plan, name_run
from flows.orchestration.secret_blocks import read_secret
from flows.plan.load import load
from flows.plan.references import UnresolvedError
from stores.errors import PlanError

MAPPER = """\
from mappers.identity import identity
from mappers.redis import String

def own(document, *, prefix):
    if document.get("refused"):
        raise ValueError("refused")
    return [String(f"{prefix}{identity(document)}", b"x")]
"""

Documents = Database[dict[str, Any]]


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def plan(
    server: PrefectServer, tmp_path: Path, mongodb_url: str, redis_url: str, database: Documents, unique: str
) -> Path:
    """A plan of two routes; the source's URL is a Secret block, the target's a file."""
    save_secret(unique, mongodb_url)
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "redis-url").write_text(f"{redis_url}\n")
    (work / "own.py").write_text(MAPPER)
    database["users"].insert_many({"_id": number} for number in range(20))
    database["orders"].insert_many({"_id": number, "refused": number == 3} for number in range(5))
    own = {"target": "redis", "use": "own.py:own", "options": {"prefix": f"{unique}o:"}, "key": f"{unique}o:{{_id}}"}
    content = {
        "name": unique,
        "source": {"uri": f"${{prefect-secret:{unique}}}", "database": database.name},
        "targets": {"redis": {"url": f"${{file:{tmp_path / 'redis-url'}}}", "retry_deadline_s": 0.2}},
        "routes": {"users": {"use_case": "session", "key": f"{unique}u:{{_id}}"}, "orders": own},
    }
    path = work / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def save_secret(name: str, value: Any) -> None:
    Secret(value=value).save(name)


def test_every_flow_runs_on_a_worker_whose_plan_is_in_a_block(
    server: PrefectServer,
    starts_process: None,
    plan: Path,
    database: Documents,
    redis_url: str,
    unique: str,
    tmp_path: Path,
) -> None:
    deployed = offramp("deploy", plan, "--plan-block", unique, "--run-in", plan.parent, folder=tmp_path)
    assert deployed.code == 0, deployed.err
    text, mapper = plan.read_text(), plan.with_name("own.py")
    plan.unlink()
    mapper.unlink()
    assert read_plan_block(unique) == PlanBlock(text, {"own.py": MAPPER})
    log = tmp_path / "worker.log"
    deployments = {name.split()[0].split(".")[1]: one for name, one in server.deployments(unique).items()}
    assert set(deployments) == {"backfill", "check", "mismatch_repair", "reject_retry", "sync", "verification"}
    server.post(f"deployments/{deployments['sync']['id']}/pause_deployment", {}).raise_for_status()

    def ended(kind: str, **parameters: Any) -> tuple[str, str, str]:
        run = server.ended_run(deployments[kind], parameters, log)
        return run["state_type"], run["name"], run["state"]["message"]

    with running(log, server.environment, tmp_path, "prefect", "worker", "start", "--pool", "offramp"):
        (plan.parent / ".offramp").write_text("")  # A file where the folder of the state would be.
        blocked = ended("check")
        (plan.parent / ".offramp").unlink()
        checked = ended("check")
        copied = ended("backfill")
        with Redis.from_url(redis_url) as target:
            target.delete(f"{unique}u:n:3")
        compared = ended("verification", routes=["users"])
        repaired = ended("mismatch_repair", routes=["users"])
        database["orders"].update_one({"_id": 3}, {"$set": {"refused": False}})
        retried = ended("reject_retry")
        again = ended("reject_retry")
        wrong = ended("mismatch_repair", kinds=["extra"])

    assert (blocked[0], blocked[2].split(" (")[0].split(":")[0]) == ("FAILED", "E-PLAN")
    assert {"E-STATE-OPEN", "E-REPORT-DIR"} <= set(re.findall(r"E-[A-Z-]+", blocked[2]))
    for words in ("state.db: cannot be used", f"keys {unique}u:*", "MongoDB ", "offramp: E-PLAN 2 faults"):
        assert words in log.read_text(), words
    assert checked == ("COMPLETED", f"{unique} check", "no fault found in 2 of 2 routes")
    assert copied[:2] == ("FAILED", f"{unique} backfill")
    assert copied[2].endswith("orders: rejects (1 rejected E-MAP-FAILED)")
    assert compared[:2] == ("FAILED", f"{unique} verification users")
    assert compared[2].endswith("users: mismatches (1 missing)")
    assert repaired == ("COMPLETED", f"{unique} repair users", "1 copied again, 0 deleted, 0 left")
    assert retried == ("COMPLETED", f"{unique} retry", "1 tried again, 1 copied, 0 rejected documents left")
    assert again == ("COMPLETED", f"{unique} retry", "0 tried again, 0 copied, 0 rejected documents left")
    assert (wrong[0], wrong[2].split(":")[0]) == ("FAILED", "E-USAGE")
    assert "Traceback" not in log.read_text(), "a run that did not complete is told by its state"
    (row,) = json.loads(server.newest(f"offramp-{unique}-repair")["data"])
    assert (row["route"], row["missing"], row["copied"], row["left"], row["failed"]) == ("users", "1", "1", "0", "no")
    assert len(json.loads(server.newest(f"offramp-{unique}-check")["data"])) == 2
    with Redis.from_url(redis_url) as target:
        assert (target.exists(f"{unique}u:n:3"), target.exists(f"{unique}o:n:3")) == (1, 1)
    assert (plan.parent / ".offramp" / "reports" / unique / "report.json").exists()


def test_a_run_may_have_no_other_plan_and_waits_for_the_routes_it_needs(
    server: PrefectServer, plan: Path, unique: str, tmp_path: Path
) -> None:
    assert offramp("deploy", plan, folder=tmp_path).code == 0
    for one in server.deployments(unique).values():
        start = f"deployments/{one['id']}/create_flow_run"

        def answer(start: str = start) -> Any:
            refused = server.post(start, {"parameters": {"plan": str(tmp_path / "other.yaml")}})
            return refused if refused.status_code != 503 else None

        refused = until(answer, "refusal", server.log, limit_s=LIMIT_S)
        assert refused.status_code == 409, refused.text
        assert one["enforce_parameter_schema"]


def test_a_block_that_is_not_there_fails_a_run_in_one_line(server: PrefectServer, unique: str) -> None:
    with pytest.raises(PlanError, match="E-DEPLOY-BLOCK"):
        read_plan_block(unique)
    with pytest.raises(PlanError, match="single dashes"):
        read_plan_block("../x")
    for called in (check.check, mismatch_repair.mismatch_repair, reject_retry.reject_retry):
        state: Any = called(plan=f"block:{unique}", return_state=True)
        assert state.is_failed()
        assert state.message.startswith("E-DEPLOY-BLOCK: ")


def test_a_run_is_of_the_plan_by_which_it_is_named(server: PrefectServer, unique: str) -> None:
    save_plan_block(unique, "name: before")

    @flow(flow_run_name=name_run)
    def reading(plan: str) -> tuple[str, str | None]:
        save_plan_block(unique, "name: after")
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.name, find_plan(plan).text

    assert reading(plan=f"block:{unique}") == ("before reading", "name: before")
    assert reading(plan=f"block:{unique}") == ("after reading", "name: after")


def test_a_repair_refuses_what_the_command_refuses(server: PrefectServer, plan: Path) -> None:
    for kinds, delete_extras in ((["extra"], False), (["missing"], True)):
        state: Any = mismatch_repair.mismatch_repair(
            plan=str(plan), kinds=kinds, delete_extras=delete_extras, return_state=True
        )
        assert state.message.startswith("E-USAGE: "), state.message


def test_a_folder_that_no_report_can_be_written_to_stops_a_deploy_and_a_run_before_it_copies(
    server: PrefectServer, plan: Path, unique: str, tmp_path: Path
) -> None:
    (plan.parent / ".offramp").mkdir()
    (plan.parent / ".offramp" / "reports").write_text("a file")
    refused = offramp("deploy", plan, folder=tmp_path)
    assert (refused.code, server.deployments(unique)) == (2, {})
    assert "E-REPORT-DIR" in refused.err
    assert "--report-at" in refused.err
    taken = offramp("deploy", plan, "--report-at", tmp_path / "reports", folder=tmp_path)
    assert taken.code == 0, taken.err
    found = {name.split()[0]: one["parameters"].get("report") for name, one in server.deployments(unique).items()}
    assert found["flows.backfill.backfill"] == found["flows.verification.verification"] == str(tmp_path / "reports")

    state: Any = backfill.backfill(plan=str(plan), return_state=True)
    assert state.message.startswith("E-REPORT-DIR: ")
    with open_state(load(plan)) as kept:
        assert kept.partitions.route("users") is None, "something was copied"


def test_syncs_skipped_by_a_run_at_work_have_a_message_of_a_line_and_leave_a_run_an_hour(
    server: PrefectServer, starts_process: None, plan: Path, database: Documents, unique: str, tmp_path: Path
) -> None:
    database["orders"].delete_one({"_id": 3})
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    assert offramp("deploy", plan, "--only", "sync", folder=tmp_path).code == 0
    (deployment,) = server.deployments(unique).values()
    server.post(f"deployments/{deployment['id']}/pause_deployment", {}).raise_for_status()
    log = tmp_path / "worker.log"
    loaded = load(plan)
    with running(log, server.environment, tmp_path, "prefect", "worker", "start", "--pool", "offramp"):
        with open_state(loaded) as state, hold_leases(state, loaded, loaded.chosen(())):
            skipped = [server.ended_run(deployment, {}, log) for _ in range(3)]
            kept = server.runs(deployment, "CANCELLED")
        with open_state(loaded) as state, hold_leases(state, loaded, loaded.chosen(("orders",))):
            partly = server.ended_run(deployment, {}, log)
        synced = server.ended_run(deployment, {"routes": ["users"]}, log)

    assert {run["state_type"] for run in skipped} == {"CANCELLED"}, (skipped[0]["state"], log.read_text())
    assert {(run["state_name"], run["name"]) for run in skipped} == {("Skipped", f"{unique} sync")}
    assert skipped[0]["state"]["message"].startswith("E-LEASE-HELD: ")
    hours = [run["expected_start_time"][:13] for run in kept]
    assert sorted(hours) == sorted(set(hours)), "more than one an hour"
    assert skipped[-1]["id"] in [run["id"] for run in kept]
    assert synced["state_type"] == "COMPLETED", synced["state"]["message"]
    told = [line for line in log.read_text().splitlines() if line.startswith("offramp: ")]
    assert told == ["offramp: E-LEASE-HELD other runs are working on 2 of 2 routes, so nothing was done"] * 3
    assert "Traceback" not in log.read_text()
    assert partly["state_type"] == "COMPLETED", partly["state"]["message"]
    assert partly["state"]["message"] == "1 of 2 routes synced; skipped, as another run is at work: orders"
    about = {"resource": {"id": [f"offramp.route.{unique}.orders"]}}
    events = server.found("events", filter=about)
    assert "offramp.route.failed" not in {event["event"] for event in events}


def test_a_server_with_a_password_is_used_with_it_and_refuses_without(
    starts_server: None, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, unique: str
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "source: {uri: 'mongodb://h', database: d}\ntargets: {redis: {url: 'redis://h'}}\n"
        f"name: {unique}\nroutes: {{a: {{use_case: session}}}}\n"
    )
    with prefect_server(tmp_path_factory.mktemp("guarded"), auth=("admin", "hunter2")) as guarded:
        taken = offramp("deploy", path, folder=tmp_path)
        with temporary_settings({PREFECT_API_AUTH_STRING: None}):
            refused = offramp("deploy", path, folder=tmp_path)
        with temporary_settings({PREFECT_API_AUTH_STRING: "admin:hunter3"}):
            wrong = offramp("deploy", path, folder=tmp_path)
            with pytest.raises(PlanError, match="E-DEPLOY-AUTH"):
                read_plan_block(unique)
            with pytest.raises(UnresolvedError, match="PREFECT_API_AUTH_STRING"):
                read_secret(unique)
            checked = offramp("backfill", path, folder=tmp_path, environment={"PREFECT_API_URL": guarded.api})

    assert taken.code == 0, taken.err
    for other in (refused, wrong, checked):
        assert (other.code, "E-DEPLOY-AUTH" in other.err, "hunter" in other.err) == (2, True, False), other.err
    assert guarded.auth == ("admin", "hunter2")
