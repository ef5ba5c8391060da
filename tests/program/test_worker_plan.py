"""A worker process that has nothing of a plan but the state: it copies and verifies, or refuses by what differs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from plans import Stores, write_plan
from postgresqls import PASSWORD, Postgresql
from pymongo.database import Database
from redis import Redis

from flows.connect.stores import open_source, open_state
from flows.orchestration.plan_source import PlanSource, WorkerPlan, open_for_work, plan_for_workers
from flows.orchestration.worker_entry import run_job
from flows.plan.load import load
from flows.plan.model import Plan
from flows.run.jobs import CopyJob, Job, Span
from flows.verifier.job import Verified, VerifyJob, VerifyOptions
from stores.contract.source import Partition
from stores.errors import PermanentError
from stores.state.leases import Lease

DOCUMENTS = 300
MAPPER = """\
from mappers.identity import identity
from mappers.redis import String

def made(document, *, prefix):
    return [String(prefix + identity(document), document["value"].encode())]
"""
WORKER = """\
import pickle, sys
from flows.connect.progress import SILENT
from flows.connect.stores import open_state
from flows.orchestration.plan_source import open_for_work
from stores.contract.stop import NEVER
from stores.errors import OfframpError

plan, job = pickle.load(sys.stdin.buffer)
try:
    with open_for_work(plan, job.route) as loaded:
        outcome = job.run(loaded, SILENT, NEVER)
except OfframpError as error:
    outcome = error
sys.stdout.buffer.write(pickle.dumps(outcome))
"""


@dataclass(frozen=True)
class Elsewhere:
    """Another process, with another working directory, an empty home and an environment of its own."""

    folder: Path

    def run(self, plan: WorkerPlan, job: Job[Any], environment: Mapping[str, str]) -> Any:
        """Return the outcome of the job."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        ended = subprocess.run(
            [sys.executable, "-c", WORKER],
            input=pickle.dumps((plan, job)),
            cwd=self.folder,
            env={
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
            capture_output=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return pickle.loads(ended.stdout)


@dataclass(frozen=True)
class Begun:
    """A run whose plan is registered and whose files are gone."""

    plan: Plan
    reference: WorkerPlan
    lease: Lease
    environment: Mapping[str, str]

    @property
    def has_password(self) -> bool:
        """Return whether the state has a password."""
        return "STATE_PASSWORD" in self.environment


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, unique: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The URL of a state as a plan has it, and the environment that fills it in."""
    if request.param == "sqlite":
        yield "sqlite:///state.db", {}
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    password = quote(PASSWORD, safe="")
    yield server.url(unique).replace(password, "${STATE_PASSWORD}"), {"STATE_PASSWORD": password}
    server.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


@pytest.fixture
def write(database: Database[dict[str, Any]], state: tuple[str, Any], unique: str, tmp_path: Path) -> Path:
    """Write the plan, its mapper in a file of its own, and 300 documents; returns the plan's path."""
    database["things"].insert_many([{"_id": number, "value": f"v{number}"} for number in range(DOCUMENTS)])
    folder = tmp_path / "coordinator"
    folder.mkdir()
    (folder / "own.py").write_text(MAPPER)
    path = folder / "plan.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": unique,
                "state": state[0],
                "source": {"uri": "${SOURCE_URI}", "database": "${SOURCE_DATABASE}", "retry_deadline_s": 10},
                "targets": {"redis": {"url": "${TARGET_URL}", "retry_deadline_s": 10}},
                "routes": {
                    "things": {
                        "target": "redis",
                        "use": "own.py:made",
                        "options": {"prefix": f"{unique}:"},
                        "key": f"{unique}:{{_id}}",
                    }
                },
            }
        )
    )
    return path


@pytest.fixture
def begun(
    write: Path,
    state: tuple[str, Mapping[str, str]],
    mongodb_url: str,
    redis_url: str,
    database: Database[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Begun:
    environment = {"SOURCE_URI": mongodb_url, "SOURCE_DATABASE": database.name, "TARGET_URL": redis_url, **state[1]}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plan = load(write)
    reference = plan_for_workers(plan)
    assert not isinstance(reference, PlanSource)
    with open_state(plan) as opened:
        route = plan.routes["things"]
        lease = opened.leases.acquire("things", outlived=True)  # Whose workers are no children of its owner.
        with open_source(plan) as source:
            identity = route.source(source).identity()
        opened.partitions.begin(lease, route.fingerprint(), identity, "", [Partition(0)])
    for path in write.parent.iterdir():
        if path.suffix in (".py", ".yaml"):
            path.unlink()
    return Begun(plan, reference, lease, environment)


@pytest.mark.process
def test_a_worker_with_nothing_but_the_state_copies_and_verifies(
    begun: Begun, tmp_path: Path, redis_url: str, unique: str
) -> None:
    worker = Elsewhere(tmp_path / "worker")
    copied = worker.run(begun.reference, CopyJob("things", 0, begun.lease), begun.environment)
    assert isinstance(copied, Span), copied
    with Redis.from_url(redis_url) as target:
        assert target.get(f"{unique}:n:7") == b"v7"
    counts = VerifyJob("things", VerifyOptions("counts"), begun.lease)
    verified = worker.run(begun.reference, counts, begun.environment)
    assert isinstance(verified, Verified), verified
    sampled = worker.run(begun.reference, VerifyJob("things", VerifyOptions("sample"), begun.lease), begun.environment)
    assert isinstance(sampled, Verified), sampled
    assert sampled.comparison is not None
    assert (sampled.comparison.tally.read, sampled.comparison.balance.held) == (DOCUMENTS, DOCUMENTS)
    assert [path.name for path in worker.folder.iterdir()] == ["home"], "a worker writes no file"


@pytest.mark.process
def test_a_worker_of_another_environment_refuses_and_writes_nothing(
    begun: Begun, tmp_path: Path, redis_url: str, unique: str
) -> None:
    worker = Elsewhere(tmp_path / "worker")
    lacking, stateless = (
        {name: value for name, value in begun.environment.items() if name != absent}
        for absent in ("TARGET_URL", "STATE_PASSWORD")
    )
    other = {**begun.environment, "TARGET_URL": redis_url.replace("127.0.0.1", "localhost")}
    for environment, words in (
        (lacking, "targets.redis.url: the environment variable TARGET_URL is not set"),
        (other, "the server of its target was "),
        *([(stateless, "state: the environment variable STATE_PASSWORD is not set")] if begun.has_password else []),
    ):
        outcome = worker.run(begun.reference, CopyJob("things", 0, begun.lease), environment)
        assert isinstance(outcome, PermanentError)
        assert outcome.code == "E-WORKER-PLAN"
        assert words in outcome.message
    with Redis.from_url(redis_url) as target:
        assert target.keys(f"{unique}:*") == []


def test_a_worker_that_finds_another_collection_refuses(begun: Begun, database: Database[dict[str, Any]]) -> None:
    database.drop_collection("things")
    database["things"].insert_one({"_id": 1, "value": "of another source"})
    with pytest.raises(PermanentError, match="'things' here is not the run's") as refused:
        run_job(begun.reference, CopyJob("things", 0, begun.lease))
    assert refused.value.code == "E-WORKER-PLAN"


def test_a_worker_that_finds_another_table_refuses(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database["things"].insert_one({"_id": 1})
    path = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "entity", "table": unique}})
    plan = load(path)
    reference = plan_for_workers(plan)
    route = plan.routes["things"]
    with open_state(plan) as state, open_source(plan) as source:
        lease = state.leases.acquire("things", outlived=True)
        identity = route.source(source).identity()
        state.partitions.begin(lease, route.fingerprint(), identity, "the table of another account", [Partition(0)])
    with closing(route.target()) as target:
        target.prepare()
    with pytest.raises(PermanentError, match="its place in dynamodb here is not the run's") as refused:
        run_job(reference, CopyJob("things", 0, lease))
    assert refused.value.code == "E-WORKER-PLAN"


def test_workers_of_a_plan_with_a_readable_secret_need_its_file(
    write: Path, begun: Begun, mongodb_url: str, unique: str
) -> None:
    literal = write.with_name("literal.yaml")
    readable = mongodb_url.replace("://", "://ada:planted@")
    literal.write_text(
        f"source: {{uri: '{readable}', database: x}}\ntargets: {{redis: {{url: 'redis://h'}}}}\n"
        f"routes: {{things: {{use_case: session}}}}"
    )
    reference = plan_for_workers(load(literal))
    assert isinstance(reference, PlanSource)
    assert reference.readable == ["source.uri (line 1)"]
    with open_for_work(reference, "things") as loaded:
        assert loaded.source.uri == readable
    literal.unlink()
    with pytest.raises(PermanentError, match=r"a secret can be read in it at source\.uri \(line 1\)") as refused:
        run_job(reference, CopyJob("things", 0, begun.lease))
    assert "planted" not in str(refused.value)
