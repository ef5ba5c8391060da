"""Deployments on a Prefect server of their own: registered, pruned, scheduled, killed, taken over, served, watched."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from plans import offramp
from prefect import Flow, flow, task
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_servers import ASK_EVERY_S, LIMIT_S, PrefectServer, forward_records, free_port, prefect_server, running
from pymongo.database import Database
from redis import Redis
from waiting import ending, until

from flows import backfill, check, mismatch_repair, reject_retry, sync, verification
from flows.connect.lease_renewal import LEASE_HELD
from flows.connect.stores import open_state
from flows.orchestration import deployments
from flows.orchestration import registration as deploying
from flows.orchestration.artifacts import artifact_key, copying_shown
from flows.orchestration.deployments import Wanted
from flows.orchestration.plan_blocks import read_plan_block
from flows.orchestration.plan_source import PlanSource
from flows.orchestration.tasks import prefect_workers
from flows.orchestration.waiting import wait_for_routes
from flows.orchestration.worker_entry import run_job
from flows.plan.load import load
from flows.reporting.model import Report
from flows.run.backfill import backfill as run_backfill
from flows.run.workers import Run
from flows.verifier.job import Verified, VerifyJob, VerifyOptions
from stores.errors import PlanError, TransientError
from stores.state.state import State

LAST_DAY = {"since": (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).isoformat()}
# Of the checkout: an installed package is without them.
SHIPPED = Path(__file__).parents[2] / "config" / "prefect.yaml"
AUTOMATIONS = SHIPPED.with_name("automations.yaml")

Documents = Database[dict[str, Any]]
WritePlan = Callable[..., Path]


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def write_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mongodb_url: str, redis_url: str, database: Documents, unique: str
) -> WritePlan:
    """Write a plan of one route of 400 documents, named as the test; keys replace those of the plan."""
    database["sessions"].insert_many({"_id": number, "user": f"user {number}"} for number in range(400))

    def write(target: Mapping[str, Any] | None = None, **keys: Any) -> Path:
        content = {
            "name": unique,
            "source": {"uri": mongodb_url, "database": database.name},
            "targets": {"redis": {"url": redis_url, "retry_deadline_s": 0.2} | dict(target or {})},
            "routes": {unique: {"use_case": "session", "collection": "sessions", "partitions": 2}},
        }
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(content | keys))
        return path

    return write


# --- what is registered -------------------------------------------------------------------------------------------


def described(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """What a deployment comes to, without what a server adds of its own."""
    same = ("name", "description", "entrypoint", "parameters", "tags", "paused", "work_pool_name", "job_variables")
    more = ("parameter_openapi_schema", "enforce_parameter_schema", "concurrency_options")
    schedules = [
        (one["active"], one["slug"], {key: one["schedule"].get(key) for key in ("interval", "cron", "timezone")})
        for one in deployment["schedules"]
    ]
    limit = deployment["global_concurrency_limit"]["limit"]
    return {name: deployment[name] for name in (*same, *more)} | {"schedules": schedules, "limit": limit}


@pytest.mark.process
def test_the_shipped_file_registers_what_the_command_does(server: PrefectServer, tmp_path: Path) -> None:
    server.prefect("--no-prompt", "deploy", "--prefect-file", str(SHIPPED), "--all")
    by_file = {name: described(one) for name, one in server.deployments("shop").items()}

    made = deployments.deployments(deployments.EXAMPLE)
    assert deploying.register(made, "shop", deploying.Place(str(tmp_path), "offramp")) == []
    by_command = server.deployments("shop")

    assert by_command.keys() == by_file.keys()
    for name, one in by_command.items():
        # A file cannot say that runs may have no other plan than this one.
        limits = one["parameter_openapi_schema"]["properties"]["plan"]
        assert (limits.pop("readOnly"), limits.pop("enum")) == (True, ["plan.yaml"])
        for what, value in described(one).items():
            assert value == by_file[name][what], f"{name}: {what}"
    assert [pull for one in by_command.values() for pull in one["pull_steps"]] == [
        deployments.working_in(str(tmp_path))
    ] * len(made)
    level = by_file["flows.verification.verification shop"]["parameter_openapi_schema"]["properties"]["level"]
    assert level["enum"] == ["counts", "sample", "full"]
    assert by_file["flows.verification.verification shop"]["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_the_shipped_file_is_current() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == deployments.as_yaml(deployments.deployments(deployments.EXAMPLE))


def test_a_flows_name_is_the_one_its_deployments_are_told_by() -> None:
    flows: list[Flow[..., Any]] = [
        *(backfill.backfill, check.check, sync.sync, verification.verification),
        *(mismatch_repair.mismatch_repair, reject_retry.reject_retry),
    ]
    named = {one.entrypoint: one.full_name for one in deployments.deployments(deployments.EXAMPLE)}
    for one in flows:
        assert named[f"{one.fn.__module__}.{one.fn.__name__}"] == f"{one.name}/shop"


def test_what_a_plan_no_longer_wants_is_removed_and_nothing_else(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    path = write_plan()
    other = deployments.deployments(Wanted(f"{unique}b", "other.yaml", ("a",), kinds=("backfill",)))
    deploying.register(other, f"{unique}b", deploying.Place("/", "offramp"))

    first = offramp("deploy", path, "--sync-every", f"{unique}=1", folder=tmp_path)
    again = offramp("deploy", path, "--only", "verification", "--verify-at", "23:10", folder=tmp_path)

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert f"offramp sync/{unique}-{unique}: every minute\n" in first.out
    assert f"now:  prefect deployment run 'offramp backfill/{unique}'" in first.out
    assert again.out.splitlines() == [
        f"offramp verification/{unique}: each day at 23:10 UTC",
        f"offramp backfill/{unique}: removed",
        f"offramp check/{unique}: removed",
        f"offramp repair/{unique}: removed",
        f"offramp retry/{unique}: removed",
        f"offramp sync/{unique}-{unique}: removed",
        "next: prefect worker start --pool offramp",
    ]
    (left,) = server.deployments(unique).values()
    assert [one["schedule"]["cron"] for one in left["schedules"]] == ["10 23 * * *"]
    assert left["parameters"] == {"plan": str(path), "level": "full", "wait_minutes": 30}
    assert len(server.deployments(f"{unique}b")) == 1


def test_routes_with_a_schedule_of_their_own_are_not_in_the_common_one() -> None:
    wanted = Wanted("shop", "plan.yaml", ("a", "b", "c"), kinds=("sync",), alone_s={"b": 60})

    made = deployments.deployments(wanted)

    assert [(one.name, one.parameters.get("routes"), one.schedule and one.schedule["interval"]) for one in made] == [
        ("shop", ["a", "c"], 300),
        ("shop-b", ["b"], 60),
    ]
    assert [tag for tag in made[0].tags if tag.startswith("route:")] == ["route:a", "route:c"]
    (alone,) = deployments.deployments(dataclasses.replace(wanted, routes=("b",)))
    assert alone.name == "shop-b"


def test_a_pool_of_containers_is_taken_where_its_plan_is_named(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    path = write_plan()
    server.post("work_pools/", {"name": unique, "type": "docker"}).raise_for_status()

    refused = offramp("deploy", path, "--work-pool", unique, folder=tmp_path)
    taken = offramp("deploy", path, "--work-pool", unique, "--plan-at", "/srv/p/plan.yaml", folder=tmp_path)

    assert refused.code == 2
    assert "E-DEPLOY-POOL" in refused.err
    assert "is of type docker" in refused.err
    assert taken.code == 0, taken.err
    for one in server.deployments(unique).values():
        assert one["parameters"]["plan"] == "/srv/p/plan.yaml"
        assert one["pull_steps"] == [deployments.working_in("/srv/p")]


def test_job_variables_that_a_person_has_set_stay_until_another_pool_is_named(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    path = write_plan()
    server.post("work_pools/", {"name": unique, "type": "docker"}).raise_for_status()

    def deployed(pool: str) -> Mapping[str, Any]:
        """The job variables of the plan's backfill, once it was deployed to the pool."""
        options = ("--only", "backfill", "--work-pool", pool, "--plan-at", "/srv/p/plan.yaml")
        done = offramp("deploy", path, *options, folder=tmp_path)
        assert done.code == 0, done.err
        (one,) = server.deployments(unique).values()
        own.append(one["id"])
        return dict(one["job_variables"])

    own: list[str] = []
    assert deployed("offramp") == {}
    own_variables = {"env": {"LIMIT": "7"}}
    httpx.patch(f"{server.api}/deployments/{own[0]}", json={"job_variables": own_variables}).raise_for_status()
    assert deployed("offramp") == own_variables
    assert deployed(unique) == {}
    assert len({*own}) == 1


def test_a_block_holds_the_plan_of_what_is_registered(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    def kept(pool: str, **plan: Any) -> tuple[int, str | None]:
        """The exit code of a deployment to the pool, and what the block holds after it."""
        path = write_plan(**plan)
        code = offramp("deploy", path, "--plan-block", unique, "--work-pool", pool, folder=tmp_path).code
        types = server.get("block_types/slug/offramp-plan")
        if types.status_code == httpx.codes.NOT_FOUND:
            return code, None
        found = server.get(f"block_types/slug/offramp-plan/block_documents/name/{unique}")
        return code, found.json()["data"]["text"] if found.is_success else None

    assert kept("nowhere") == (2, None)
    code, first = kept("offramp")
    assert (code, yaml.safe_load(first or "")["name"]) == (0, unique)
    assert kept("nowhere", run={"workers": 3}) == (2, first)
    assert kept("offramp", run={"workers": 3}) != (0, first)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--work-pool", "nowhere"], "E-DEPLOY-POOL there is no work pool 'nowhere'"),
        (["--sync-every", "0"], "'0' is not [ROUTE=]MINUTES"),
        (["--sync-every", "nowhere=5"], "E-PLAN-ROUTE"),
        (["--verify-at", "24:00"], "'24:00' is not HH:MM"),
        (["--time-zone", "Mars/Olympus"], "'Mars/Olympus' is not a time zone"),
        (["--serve", "--yaml"], "remove --yaml"),
        (["--plan-block", "b", "--plan-at", "/p"], "remove --plan-at"),
        (["--plan-block", "A b"], "E-DEPLOY-BLOCK"),
    ],
)
def test_what_cannot_be_deployed_is_told_and_nothing_is_registered(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path, arguments: list[str], told: str
) -> None:
    refused = offramp("deploy", write_plan(), *arguments, folder=tmp_path)
    assert refused.code == 2
    assert told in refused.err
    assert server.deployments(unique) == {}


def test_a_plan_in_which_a_secret_can_be_read_is_kept_in_no_block(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    path = write_plan()
    path.write_text(f"# was mongodb://ada:planted-secret@h/\n{path.read_text()}")
    refused = offramp("deploy", path, "--plan-block", unique, "--run-in", ".", folder=tmp_path)
    assert (refused.code, "planted" in refused.err) == (2, False)
    assert "E-DEPLOY-BLOCK a secret can be read in the plan at a comment (line 1)" in refused.err
    with pytest.raises(PlanError, match="has no plan in a block"):
        read_plan_block(unique)
    assert server.deployments(unique) == {}


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        (None, 2, "set PREFECT_API_URL"),
        ("http://127.0.0.1:{port}/api", 3, "does not answer as a Prefect server"),
        ("{api}/../wrong", 3, "end in /api"),
    ],
    ids=["no server", "a server that is away", "not its API"],
)
def test_a_server_that_cannot_be_used_is_told_in_words(
    server: PrefectServer, write_plan: WritePlan, tmp_path: Path, url: str | None, code: int, told: str
) -> None:
    named = url and url.format(port=free_port(), api=server.api)
    with temporary_settings({PREFECT_API_URL: named}):
        refused = offramp("deploy", write_plan(), folder=tmp_path)
    assert (refused.code, told in refused.err) == (code, True), refused.err


def test_a_name_that_prefect_refuses_is_refused_before(write_plan: WritePlan, tmp_path: Path) -> None:
    refused = offramp("deploy", write_plan(name="shop/eu"), "--yaml", folder=tmp_path)
    assert refused.code == 2
    assert "E-DEPLOY-NAME" in refused.err


def test_a_file_made_of_a_plan_names_the_plan_and_its_folder(write_plan: WritePlan, tmp_path: Path) -> None:
    path = write_plan()
    made = yaml.safe_load(offramp("deploy", path, "--yaml", "--work-pool", "big", folder=tmp_path).out)
    assert made["pull"] == [deployments.working_in(str(tmp_path))]
    assert {one["parameters"]["plan"] for one in made["deployments"]} == {str(path)}
    assert {one["work_pool"]["name"] for one in made["deployments"]} == {"big"}


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(starts_process: None, server: PrefectServer, tmp_path: Path) -> Iterator[Path]:
    """A process worker; returns where it logs."""
    log = tmp_path / "worker.log"
    with running(log, server.environment, tmp_path, "prefect", "worker", "start", "--pool", "offramp"):
        yield log


def holder(path: Path, route: str) -> int | None:
    """The process at work on the route."""
    plan = load(path)
    state = State(plan.state, plan.name)
    try:
        return int(name.rpartition("/")[2]) if (name := state.leases.holder(route)) else None
    finally:
        state.close()


def fence(path: Path) -> int:
    """How often a run has taken the plan's only route."""
    with contextlib.closing(sqlite3.connect(path.parent / ".offramp" / "state.db")) as db:
        return int(db.execute("SELECT max(fence) FROM leases").fetchone()[0])


def test_a_scheduled_sync_goes_on_where_one_was_killed_and_another_was_cancelled(
    server: PrefectServer,
    worker: Path,
    write_plan: WritePlan,
    database: Documents,
    redis_url: str,
    unique: str,
    tmp_path: Path,
) -> None:
    path = write_plan()
    assert backfill.run(path, [], "none").verdict == "clean"
    database["sessions"].update_many({}, {"$set": {"again": True}})
    database["sessions"].delete_many({"_id": {"$gte": 390}})
    write_plan({"max_rate": 20})
    (one,) = deployments.deployments(Wanted(unique, str(path), (unique,), kinds=("sync",), sync_every_s=4))
    deploying.register([one], unique, deploying.Place(str(tmp_path), "offramp"))
    (deployment,) = server.deployments(unique).values()

    def held() -> list[Any]:
        with Redis.from_url(redis_url) as target:
            values = target.mget([f"{unique}:n:{number}" for number in range(400)])
        return [json.loads(value) for value in values if value is not None]

    def at_work(than: int | None) -> int | None:
        """The process of a run that holds the route and has written something."""
        process = holder(path, unique)
        return process if process != than and any("again" in document for document in held()) else None

    logs = (worker, server.log)
    killed = until(lambda: at_work(None), "run at work", *logs, limit_s=LIMIT_S)
    assert killed is not None
    psutil.Process(killed).kill()
    (crashed,) = until(
        lambda: server.runs(deployment, "CRASHED"), "crash noticed", *logs, limit_s=LIMIT_S, every_s=ASK_EVERY_S
    )
    until(lambda: at_work(killed), "run that takes over", *logs, limit_s=LIMIT_S)
    (second,) = server.runs(deployment, "RUNNING")
    write_plan()  # Without a ceiling from the next run on.
    cancelling = {"state": {"type": "CANCELLING"}}
    server.post(f"flow_runs/{second['id']}/set_state", cancelling).raise_for_status()
    until(lambda: server.runs(deployment, "CANCELLED"), "cancellation", *logs, limit_s=LIMIT_S, every_s=ASK_EVERY_S)
    (completed,) = until(
        lambda: server.runs(deployment, "COMPLETED"), "run that completed", *logs, limit_s=LIMIT_S, every_s=ASK_EVERY_S
    )

    assert [run["auto_scheduled"] for run in (crashed, second, completed)] == [True] * 3
    assert crashed["start_time"] < second["start_time"] < completed["start_time"]
    assert fence(path) >= 4
    assert [document.get("again") for document in held()] == [True] * 390
    # No run failed: each that was not stopped went on from what it found.
    assert server.runs(deployment, "FAILED") == [], ending(worker)
    assert server.newest(artifact_key(unique, "sync"))["flow_run_id"] == completed["id"]
    assert verification.run(path, [], "full").verdict == "clean"


@pytest.mark.process
def test_a_served_plan_runs_here_and_its_schedules_rest_when_it_ends(
    server: PrefectServer, write_plan: WritePlan, unique: str, tmp_path: Path
) -> None:
    path = write_plan()
    made = deployments.deployments(Wanted(unique, str(path), (unique,), kinds=("verification", "backfill")))
    deploying.register(made, unique, deploying.Place(str(tmp_path), "offramp"))
    log = tmp_path / "serve.log"
    arguments = ("flows.cli.main", "deploy", str(path), "--serve", "--only", "backfill", "--only", "verification")
    with running(log, server.environment, tmp_path, *arguments) as process:

        def taken_over() -> list[dict[str, Any]]:
            found = list(server.deployments(unique).values())
            return found if len(found) == 2 and all(one["work_pool_name"] is None for one in found) else []

        served = until(taken_over, "deployments without a pool", log, server.log, limit_s=LIMIT_S, every_s=ASK_EVERY_S)
        copying = next(one for one in served if one["entrypoint"] == "flows.backfill.backfill")
        start = f"deployments/{copying['id']}/create_flow_run"

        def asked(verify: str) -> list[httpx.Response]:
            """Ask for a run, once; no answer counts while the server is busy, which it says by 503."""
            answer = server.post(start, {"parameters": {"verify": verify}, "idempotency_key": verify})
            return [answer] if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE else []

        (wrong,) = until(lambda: asked("hastily"), "refusal", server.log, every_s=ASK_EVERY_S)
        (begun,) = until(lambda: asked("counts"), "run", server.log, every_s=ASK_EVERY_S)
        begun.raise_for_status()
        until(
            lambda: server.runs(copying, "COMPLETED"), "run that completed", log, limit_s=LIMIT_S, every_s=ASK_EVERY_S
        )
        process.terminate()
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "end of serving", log)

    assert (wrong.status_code, "hastily" in wrong.text) == (409, True)
    assert [one["paused"] for one in server.deployments(unique).values()] == [True, True]
    assert json.loads((tmp_path / ".offramp/reports" / unique / "report.json").read_text())["verdict"] == "clean"


@pytest.mark.process
def test_a_route_that_is_not_clean_raises_the_shipped_alert_and_no_address_leaves(
    server: PrefectServer, write_plan: WritePlan, redis_url: str, unique: str
) -> None:
    server.prefect("automation", "create", "--from-file", str(AUTOMATIONS))
    path = write_plan()
    assert backfill.run(path, [], "none").verdict == "clean"
    with Redis.from_url(redis_url) as target:
        target.delete(f"{unique}:n:7")
    assert verification.run(path, [], "full").routes[0].missing == 1

    def told(event: str) -> list[dict[str, Any]]:
        wanted = {"event": {"name": [event]}, "resource": {"id": [f"offramp.route.{unique}.{unique}"]}}
        return server.found("events", filter=wanted | {"occurred": LAST_DAY})

    until(lambda: told("offramp.route.clean"), "event of the backfill", server.log, every_s=ASK_EVERY_S)
    (event,) = until(lambda: told("offramp.route.mismatches"), "event of the verification", every_s=ASK_EVERY_S)
    assert event["resource"]["offramp.target"] == "redis"
    assert event["payload"]["missing"] == 1
    assert any(related["prefect.resource.role"] == "flow-run" for related in event["related"])
    (alert,) = [one for one in server.found("automations") if one["name"] == "offramp routes that are not clean"]

    def raised() -> list[dict[str, Any]]:
        wanted = {"event": {"name": ["prefect.automation.triggered"]}, "occurred": LAST_DAY}
        return server.found("events", filter=wanted | {"resource": {"id": [f"prefect.automation.{alert['id']}"]}})

    until(raised, "alert", server.log, every_s=ASK_EVERY_S)
    page = server.newest(artifact_key(unique, "report"))
    assert page["type"] == "markdown"
    assert "1 missing: the source has them, the target does not" in page["data"]
    assert f"{unique}:n:7" not in json.dumps([page, event])


def test_the_automation_that_ends_dead_runs_looks_at_runs_of_offramp_alone(
    server: PrefectServer, write_plan: WritePlan, unique: str
) -> None:
    shipped = yaml.safe_load(AUTOMATIONS.read_text())["automations"][0]["trigger"]
    trigger = EventTrigger.model_validate(shipped)
    assert backfill.run(write_plan(), [], "none").verdict == "clean"

    @flow(name=f"another {unique}")
    def another() -> None:
        pass

    another()
    forward_records()

    def completed() -> dict[str, bool]:
        """Whether the trigger covers the event, by the name of its flow."""
        wanted = {"event": {"name": ["prefect.flow-run.Completed"]}, "occurred": LAST_DAY}
        covered = {}
        for event in server.found("events", filter=wanted):
            received = ReceivedEvent.model_validate(event)
            names = [each.name for each in received.related if each.role == "flow"]
            run_name = received.resource.name or ""
            covered[run_name if run_name.startswith(unique) else str(names[0])] = trigger.covers(received)
        return covered if {f"{unique} backfill", f"another {unique}"} <= covered.keys() else {}

    found = until(completed, "events of both runs", server.log, every_s=ASK_EVERY_S)
    assert (found[f"{unique} backfill"], found[f"another {unique}"]) == (True, False)


def test_progress_is_shown_while_copying_and_while_verifying(
    server: PrefectServer, write_plan: WritePlan, unique: str
) -> None:
    path = write_plan({"max_rate": 200})
    loaded = load(path)
    routes = loaded.chosen(())

    @flow
    def copying() -> Report:
        with prefect_workers(loaded) as workers, copying_shown(loaded, routes, look_every_s=0.05):
            return run_backfill(Run(loaded, routes, workers), VerifyOptions("none"))

    @task
    def verifying(job: VerifyJob) -> Verified:
        return run_job(PlanSource(path), job, look_every_s=0.05)

    @flow
    def proving() -> Verified:
        with open_state(loaded) as state:
            lease = state.leases.acquire(unique)
            try:
                return verifying(VerifyJob(unique, VerifyOptions("sample"), lease))
            finally:
                state.leases.release(lease)

    assert copying().routes[0].copied == 400
    assert proving().sampled is not None

    copied = server.newest(artifact_key(unique, "progress"))
    verified = server.newest(artifact_key(unique, unique, "verify"))
    assert (copied["type"], copied["data"]) == ("progress", 100.0)
    assert copied["description"] == f"{unique}: 400 of about 400 documents copied"
    assert verified["data"] == 100.0
    assert (copied["flow_run_id"] is None, verified["task_run_id"] is None) == (False, False)


# --- waiting ------------------------------------------------------------------------------------------------------


def test_a_run_waits_for_anothers_turn_to_end_and_for_nothing_else() -> None:
    now = dt.datetime.now(dt.UTC)
    report = Report("shop", "", now, now, ())
    held = TransientError(LEASE_HELD, "another run is at work")

    def run(*outcomes: Report | TransientError) -> Callable[[], Report]:
        left = iter(outcomes)

        def one() -> Report:
            outcome = next(left)
            if isinstance(outcome, Report):
                return outcome
            raise outcome

        return one

    assert wait_for_routes(run(held, held, report), 1, poll_every_s=0.01) is report
    with pytest.raises(TransientError, match="another run"):
        wait_for_routes(run(held, report), 0)
    with pytest.raises(TransientError, match="E-STATE-BUSY"):
        wait_for_routes(run(TransientError("E-STATE-BUSY", "busy"), report), 1)
