"""A run with a state on PostgreSQL and workers of Dask: no secret is in the state, in Prefect or in a command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from plans import offramp_process
from postgresqls import PASSWORD, Postgresql
from prefect_servers import PrefectServer, prefect_server
from pymongo.database import Database
from states import rows

SALT = "planted-salt-of-the-plan"
MAPPER = """\
from pathlib import Path
from mappers.identity import identity
from mappers.redis import String

def made(document, *, prefix, salt, seen):
    lines = [each.read_bytes() for each in Path("/proc").glob("[0-9]*/cmdline") if each.is_file()]
    with open(seen, "ab") as file:
        file.write(b"\\n".join(lines))
    return [String(prefix + identity(document), b"x")]
"""


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.mark.process
def test_no_secret_of_the_plan_or_of_its_state_leaves_the_environment(
    server: PrefectServer,
    postgresql: Postgresql,
    mongodb_url: str,
    redis_url: str,
    database: Database[dict[str, Any]],
    unique: str,
    tmp_path: Path,
    starts_process: None,
) -> None:
    database["things"].insert_many([{"_id": number} for number in range(20)])
    (tmp_path / "own.py").write_text(MAPPER)
    state = postgresql.url(unique)
    password = quote(PASSWORD, safe="")
    options = {"prefix": f"{unique}:", "salt": "${SALT}", "seen": str(tmp_path / "seen")}
    plan = {
        "name": unique,
        "source": {"uri": mongodb_url, "database": database.name},
        "state": state.replace(password, "${STATE_PASSWORD}"),
        "targets": {"redis": {"url": redis_url}},
        "run": {"runner": "dask", "workers": 2},
        "routes": {"things": {"target": "redis", "use": "own.py:made", "options": options, "key": f"{unique}:{{_id}}"}},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    environment = {**server.environment, "STATE_PASSWORD": password, "SALT": SALT}
    try:
        ended = offramp_process("backfill", path, "-v", folder=tmp_path, environment=environment)
        assert ended.code == 0, ended.err
        tables = [name for (name,) in rows(state, f"SELECT tablename FROM pg_tables WHERE schemaname = '{unique}'")]
        kept = b"\n".join(
            value if isinstance(value, bytes) else str(value).encode()
            for table in tables
            for row in rows(state, f"SELECT * FROM {table}")
            for value in row
        )
    finally:
        postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")
    assert b"${STATE_PASSWORD}" in kept, "the plan is in the state as it is written"
    assert MAPPER.encode() in kept
    places = {
        "state": kept,
        "command lines": (tmp_path / "seen").read_bytes(),
        "output": (ended.out + ended.err).encode(),
        **{str(file): file.read_bytes() for file in server.home.rglob("*") if file.is_file()},
        **{str(file): file.read_bytes() for file in tmp_path.rglob("report.*")},
    }
    assert b"dask" in places["command lines"] or b"spawn_main" in places["command lines"], "no worker was seen"
    secrets = (SALT.encode(), PASSWORD.encode(), password.encode())
    assert [(name, secret) for name, content in places.items() for secret in secrets if secret in content] == []
