"""A Prefect work pool with the state on PostgreSQL: the workers share that state, and have no file of the plan."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from plans import offramp
from postgresqls import PASSWORD, Postgresql
from prefect.blocks.system import Secret
from prefect_servers import PrefectServer, prefect_server, running
from pymongo.database import Database
from redis import Redis
from waiting import ending

from flows.orchestration.deployments import working_in

# Of the checkout: an installed package is without it.
JOB_VARIABLES = Path(__file__).parents[2] / "config" / "kubernetes" / "prefect-job-variables.yaml"
DOCUMENTS = 300
MAPPER = """\
from mappers.identity import identity
from mappers.redis import String

def own(document, *, prefix):
    return [String(prefix + identity(document), document["value"].encode())]
"""


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def plan(
    server: PrefectServer, postgresql: Postgresql, database: Database[dict[str, Any]], unique: str
) -> Iterator[dict[str, Any]]:
    """A plan with a mapper of its own; the password of its state is in a Secret block, its stores in variables."""
    database["things"].insert_many({"_id": number, "value": f"v{number}"} for number in range(DOCUMENTS))
    password: Any = quote(PASSWORD, safe="")
    Secret(value=password).save(unique)
    own = {"target": "redis", "use": "own.py:own", "options": {"prefix": f"{unique}:"}, "key": f"{unique}:{{_id}}"}
    yield {
        "name": unique,
        "state": postgresql.url(unique).replace(password, f"${{prefect-secret:{unique}}}"),
        "source": {"uri": "${SOURCE_URI}", "database": database.name, "retry_deadline_s": 10},
        "targets": {"redis": {"url": "${TARGET_URL}", "retry_deadline_s": 10}},
        "run": {"runner": "processes", "workers": 2},
        "routes": {"things": own},
    }
    postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


def test_runs_on_workers_that_share_the_state_alone(
    server: PrefectServer,
    starts_process: None,
    plan: dict[str, Any],
    mongodb_url: str,
    redis_url: str,
    unique: str,
    tmp_path: Path,
) -> None:
    stores = {"SOURCE_URI": mongodb_url, "TARGET_URL": redis_url}
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "own.py").write_text(MAPPER)
    (desk / "plan.yaml").write_text(yaml.safe_dump(plan))
    arguments = ("--plan-block", unique, "--run-in", ".")
    deployed = offramp("deploy", desk / "plan.yaml", *arguments, folder=desk, environment=stores)
    assert deployed.code == 0, deployed.err
    for path in desk.iterdir():
        path.unlink()
    deployments = {each["entrypoint"].split(".")[1]: each for each in server.deployments(unique).values()}
    server.post(f"deployments/{deployments['sync']['id']}/pause_deployment", {}).raise_for_status()

    def ended(machine: str, kind: str) -> dict[str, Any]:
        """Return the run of a worker of its own, which has another folder and an empty home."""
        home, folder, log = (tmp_path / machine / name for name in ("home", "folder", "worker.log"))
        home.mkdir(parents=True)
        folder.mkdir()
        settings = {name: value for name, value in server.environment.items() if name.startswith("PREFECT_")}
        environment = {"PATH": os.environ["PATH"], **settings, "HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
        worker = ("prefect", "worker", "start", "--pool", "offramp", "--name", machine)
        with running(log, environment | stores, folder, *worker):
            run = server.ended_run(deployments[kind], {}, log)
        message = run["state"]["message"]
        assert (run["state_type"], message) == ("COMPLETED", "verdict clean: 1 of 1 route clean"), ending(log)
        assert run["labels"]["prefect.worker.name"] == machine
        assert PASSWORD not in log.read_text()
        return run

    def report(number: int) -> Any:
        """Return the report of a run, 1 for the latest, from the state alone: on a third machine that saw no run."""
        third = tmp_path / f"third-{number}"
        third.mkdir()
        state = plan["state"].replace(f"prefect-secret:{unique}", "STATE_PASSWORD")
        (third / "plan.yaml").write_text(yaml.safe_dump({"name": unique, "state": state}))
        asked = ("report", third / "plan.yaml", "--run", str(number), "--json")
        found = offramp(*asked, folder=third, environment={"STATE_PASSWORD": quote(PASSWORD, safe="")})
        assert found.code == 0, found.err
        return found.json

    ended("first", "backfill")
    with Redis.from_url(redis_url) as target:
        keys = [f"{unique}:n:{number}" for number in range(DOCUMENTS)]
        assert target.mget(keys) == [f"v{number}".encode() for number in range(DOCUMENTS)]
        assert sorted(target.scan_iter(f"{unique}:*")) == sorted(key.encode() for key in keys)
    ended("second", "verification")
    copied, verified = report(2), report(1)
    for found, command in ((copied, "backfill"), (verified, "verify")):
        (route,) = found["routes"]
        assert (found["command"], found["verdict"]) == (command, "clean")
        # A full verification is clean without a copy on record too; its figures are of none then.
        assert (route["verified"], route["figures"]) == ("full", "copy")
        assert (route["read"], route["copied"], route["held"], route["extra"]) == (DOCUMENTS, DOCUMENTS, DOCUMENTS, 0)
    assert [(run["command"], run["verdict"]) for run in verified["history"]] == [("backfill", "clean")]
    assert [path for machine in ("first", "second") for path in (tmp_path / machine / "folder").iterdir()] == []
    assert [*desk.iterdir()] == []


def test_a_pool_of_containers_is_taken_as_its_example_says(
    server: PrefectServer, plan: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.yaml"
    (tmp_path / "own.py").write_text(MAPPER)
    path.write_text(yaml.safe_dump(plan))
    server.post("work_pools/", {"name": unique, "type": "docker"}).raise_for_status()
    (command,) = re.findall(r"^# +offramp (deploy .+)$", JOB_VARIABLES.read_text(), re.MULTILINE)
    own = {"plan.yaml": str(path), "offramp": unique, "shop": unique}
    arguments = [own.get(word, word) for word in command.split()]
    stores = {"SOURCE_URI": "mongodb://h", "TARGET_URL": "redis://h"}

    refused = offramp(*arguments[: arguments.index("--run-in")], folder=tmp_path, environment=stores)
    taken = offramp(*arguments, folder=tmp_path, environment=stores)

    assert (refused.code, "--run-in where they work" in refused.err) == (2, True), refused.err
    assert taken.code == 0, taken.err
    for each in server.deployments(unique).values():
        assert each["parameters"]["plan"] == f"block:{unique}"
        assert each["pull_steps"] == [working_in(arguments[-1])]
