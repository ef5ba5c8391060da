"""Secret blocks of a Prefect server in a plan: read for a command and for a task, and what is said where one is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plans import offramp
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_servers import PrefectServer, free_port, prefect_server

from flows.orchestration.secret_blocks import read_secret
from flows.plan.load import load
from flows.plan.references import UnresolvedError
from stores.errors import PlanError

PLAN = """\
source: {{uri: "mongodb://u:${{prefect-secret:{name}}}@h", database: shop}}
targets: {{redis: {{url: "redis://h"}}}}
routes: {{a: {{use_case: session{more}}}}}
"""


@pytest.fixture(scope="module")
def server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


def save_secret(name: str, value: Any) -> None:
    Secret(value=value).save(name)


def test_a_secret_block_is_filled_in_and_no_fault_shows_it(server: PrefectServer, tmp_path: Path) -> None:
    save_secret("mongodb-password", "hunter2")
    save_secret("number", 8125)
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(name="mongodb-password", more=""))
    assert load(path).source.uri == "mongodb://u:hunter2@h"
    assert read_secret("number") == "8125"

    path.write_text(PLAN.format(name="mongodb-password", more=", ttl_s: '${prefect-secret:mongodb-password}'"))
    refused = offramp("status", path, folder=tmp_path)
    assert (refused.code, "hunter2" in refused.err) == (2, False)
    assert "routes.a.ttl_s: found '${prefect-secret:mongodb-password}'" in refused.err


def test_a_secret_block_that_cannot_be_read_is_a_fault_of_the_plan(server: PrefectServer, tmp_path: Path) -> None:
    save_secret("json", {"password": "hunter2"})
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(name="nowhere", more=""))
    with pytest.raises(PlanError, match=r"source\.uri: there is no Secret block 'nowhere' on http"):
        load(path)
    with pytest.raises(UnresolvedError, match="holds no text") as refused:
        read_secret("json")
    assert "hunter2" not in str(refused.value)
    away = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: away}), pytest.raises(PlanError, match="stopped answering"):
        load(path)
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(PlanError, match="set PREFECT_API_URL"):
        load(path)
