"""Every command on a state that is on PostgreSQL, directly and through PgBouncer, with each runner of one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from hosts.network import require_hosts
from ordinary_user import NOBODY, as_user
from plans import Finished, Stores, offramp, offramp_process, start, write_plan
from postgresqls import PASSWORD, Postgresql
from prefect_servers import LIMIT_S, PrefectServer, prefect_server
from pymongo.database import Database
from redis import Redis

DOCUMENTS = 400
ENVIRONMENT = {"STATE_PASSWORD": quote(PASSWORD, safe="")}
MAPPER = """
import os
from pathlib import Path
from mappers.redis import String
from mappers.identity import identity

def noting(document, *, folder, prefix):
    (Path(folder) / f"pid-{os.getpid()}").touch()
    return [String(prefix + identity(document), b"")]
"""
SERVING = """
import sys
from pathlib import Path
from postgresqls import postgresql_server
with postgresql_server(Path("server")) as server:
    print(server.url("own"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def schema(postgresql: Postgresql, unique: str) -> Iterator[str]:
    yield unique
    postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


def plan(folder: Path, stores: Stores, database: Database[dict[str, Any]], url: str, unique: str, **run: Any) -> Path:
    """Write a plan whose state's password comes from the environment."""
    routes = {
        "things": {"use_case": "cache", "key": f"{unique}:{{_id}}"},
        # Its documents need a name.
        "named": {"use_case": "cache", "collection": "things", "key": f"{unique}n:{{name}}:{{_id}}"},
    }
    state = url.replace(quote(PASSWORD, safe=""), "${STATE_PASSWORD}")
    return write_plan(folder, stores, database.name, routes, state=state, run=run)


def test_a_plan_goes_through_all_its_commands(
    stores: Stores,
    database: Database[dict[str, Any]],
    postgresql: Postgresql,
    pgbouncer_port: int,
    schema: str,
    tmp_path: Path,
) -> None:
    """Each command by the other way, so that both see one state."""
    direct, through = postgresql.url(schema), postgresql.url(schema, port=pgbouncer_port)
    (tmp_path / "direct").mkdir()
    (tmp_path / "through").mkdir()
    paths = [
        plan(tmp_path / "direct", stores, database, direct, schema, runner="processes", workers=2),
        plan(tmp_path / "through", stores, database, through, schema, runner="threads", workers=4),
    ]
    database.things.insert_many(
        [{"_id": number, **({} if number == 7 else {"name": "a\0b"})} for number in range(DOCUMENTS)]
    )

    def run(which: int, *arguments: str) -> Finished:
        words = [each for each in arguments if not each.startswith("--")]
        invoke = offramp_process if which == 0 else offramp
        done = invoke(*words, paths[which], *arguments[len(words) :], folder=tmp_path, environment=ENVIRONMENT)
        assert PASSWORD not in done.out + done.err
        return done

    checked = run(1, "check")
    assert f"a run makes the schema {schema} and its tables" in checked.out, checked.err
    assert postgresql.execute(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'") == []
    first = run(0, "backfill", "--json")
    assert first.code == 1, first.err
    assert {row["route"]: (row["verdict"], row["records"], row["rejected"]) for row in first.json["routes"]} == {
        "things": ("clean", DOCUMENTS, 0),
        "named": ("rejects", DOCUMENTS - 1, 1),
    }
    listed = run(1, "rejects", "list", "--json")
    assert [(each["route"], each["id"]) for each in listed.json["rejects"]] == [("named", "n:7")]
    database.things.update_one({"_id": 7}, {"$set": {"name": "whole"}})
    assert run(0, "rejects", "retry", "--json").json["open"] == 0
    database.things.delete_one({"_id": 3})
    database.things.insert_one({"_id": DOCUMENTS, "name": "new"})
    synced = run(1, "sync", "--json", "--route=things")
    assert synced.code == 0, synced.err
    with Redis.from_url(stores.redis) as redis:
        keys = sorted(redis.scan_iter(f"{schema}:*"))
        assert len(keys) == DOCUMENTS
        redis.delete(keys[0])
    damaged = run(0, "verify", "--json", "--route=things")
    assert (damaged.code, damaged.route("things")["missing"]) == (1, 1), damaged.err
    repaired = run(1, "repair", "--json", "--route=things")
    assert repaired.code == 0, repaired.err
    clean = run(0, "verify", "--json", "--route=things")
    assert (clean.code, clean.route("things")["verdict"]) == (0, "clean")
    status = run(1, "status", "--json")
    assert status.route("things")["verdict"] == "clean"
    restarted = run(1, "backfill", "--restart", "--json", "--route=things")
    assert (restarted.code, restarted.route("things")["verdict"]) == (0, "clean"), restarted.err
    ((runs,),) = postgresql.execute(f"SELECT count(*) FROM {schema}.runs WHERE plan = 'plan'")
    assert runs == 4  # Two copies and two verifications.


@pytest.fixture(scope="module")
def prefect(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.mark.process
@pytest.mark.parametrize("way", ["direct", "pgbouncer"])
@pytest.mark.parametrize("runner", ["threads", "processes", "dask"])
def test_workers_of_every_kind_reach_the_state_by_either_way(
    stores: Stores,
    database: Database[dict[str, Any]],
    postgresql: Postgresql,
    pgbouncer_port: int,
    prefect: PrefectServer,
    schema: str,
    tmp_path: Path,
    runner: str,
    way: str,
) -> None:
    database.things.insert_many([{"_id": number} for number in range(DOCUMENTS)])
    (tmp_path / "own.py").write_text(MAPPER)
    url = postgresql.url(schema, port=pgbouncer_port if way == "pgbouncer" else 0)
    state = url.replace(quote(PASSWORD, safe=""), "${STATE_PASSWORD}")
    options = {"folder": str(tmp_path), "prefix": f"{schema}:"}
    things = {"target": "redis", "use": "own.py:noting", "options": options, "key": f"{schema}:{{_id}}"}
    routes = {"things": {**things, "partitions": 3}}
    path = write_plan(tmp_path, stores, database.name, routes, state=state, run={"runner": runner, "workers": 2})
    environment = {**(prefect.environment if runner == "dask" else {}), **ENVIRONMENT}
    running = start("backfill", path, "--json", folder=tmp_path, environment=environment)
    done = Finished(0, *running.communicate(timeout=LIMIT_S))
    row = done.route("things")
    assert (running.returncode, row["verdict"], row["held"]) == (0, "clean", DOCUMENTS), done.out + done.err
    others = {int(each.name.removeprefix("pid-")) for each in tmp_path.glob("pid-*")} - {running.pid}
    assert bool(others) == (runner != "threads")
    ((copied,),) = postgresql.execute(f"SELECT count(*) FROM {schema}.partitions WHERE done")
    assert copied == 3


@pytest.mark.process
@pytest.mark.parametrize("user", [None, NOBODY] if os.geteuid() == 0 else [None], ids=lambda user: str(user or "own"))
def test_a_user_without_any_rights_runs_the_database_and_a_plan_on_it(
    stores: Stores, database: Database[dict[str, Any]], unique: str, user: int | None
) -> None:
    """As the suite's own user too, which may be root: PostgreSQL refuses to run as root."""
    if user is not None:
        require_hosts()  # It needs a view of its own on what root alone may enter.
    database.things.insert_many([{"_id": number} for number in range(DOCUMENTS)])
    owner = os.geteuid() if user is None else user
    with tempfile.TemporaryDirectory(prefix="of-a-user-") as name:
        folder, scratch = Path(name) / "own", Path(name) / "scratch"
        for each in (folder, scratch):
            each.mkdir()
        routes = {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}", "partitions": 3}}
        run = {"runner": "processes", "workers": 2}
        plan = write_plan(folder, stores, database.name, routes, state="${STATE}", run=run)
        Path(name).chmod(0o755)
        for each in (folder, plan):
            os.chown(each, owner, -1)
        shared = {**os.environ, "HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}

        def started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
            command = [sys.executable, *arguments]
            return subprocess.Popen(
                command if user is None else as_user(user, scratch, *command),
                env={**shared, **environment},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        with started("-c", SERVING) as serving:
            assert serving.stdin is not None
            assert serving.stdout is not None
            url = serving.stdout.readline().strip()
            servers = psutil.Process(serving.pid).children(recursive=True)
            assert 0 not in {each.uids().real for each in servers if each.name() == "postgres"}
            assert user is None or {each.uids().real for each in servers} == {user}
            running = started("-m", "flows.cli.main", "backfill", str(plan), "--json", STATE=url)
            out, err = running.communicate(timeout=LIMIT_S)
            serving.communicate(timeout=LIMIT_S)
        row = Finished(running.returncode, out, err).route("things")
        assert (running.returncode, row["verdict"], row["held"]) == (0, "clean", DOCUMENTS), err
        reports = [*(folder / ".offramp" / "reports").rglob("report.json")]
        assert [each.stat().st_uid for each in reports] == [owner]
