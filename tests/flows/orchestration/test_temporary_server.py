"""The temporary Prefect server of a run that names none: told by name if it does not start, and never left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from plans import Stores, offramp_process, start, write_plan
from prefect import get_client
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings
from pydantic import SecretStr
from pymongo.database import Database
from waiting import until

from flows.orchestration.temporary_server import temporary_server
from stores.errors import PlanError, TransientError

WITHIN = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return {"PREFECT_HOME": str(tmp_path / "prefect")}


@pytest.fixture
def plan(stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Path:
    database.things.insert_many({"_id": number} for number in range(10))
    return write_plan(
        tmp_path,
        stores,
        database.name,
        {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}},
        run={"runner": "processes", "workers": 2},
    )


@pytest.mark.process
def test_a_server_that_does_not_answer_in_time_is_told_by_name_with_what_to_do(
    plan: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """No machine starts it within the second that the user allows."""
    refused = offramp_process(
        "backfill", plan, "--prefect", "--json", folder=tmp_path, environment={**environment, WITHIN: "1"}
    )

    assert refused.code == 3, refused.err
    assert refused.json["error"]["code"] == "E-PREFECT-SERVER"
    assert "started 2 times and did not answer within 1 s" in refused.err
    assert WITHIN in refused.err
    assert "PREFECT_API_URL" in refused.err


@pytest.mark.process
def test_a_server_that_was_named_and_is_away_is_told_by_name(
    plan: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    api = "http://127.0.0.1:9/api"
    refused = offramp_process(
        "verify", plan, "--json", folder=tmp_path, environment={**environment, "PREFECT_API_URL": api}
    )

    assert refused.code == 3, refused.err
    assert refused.json["error"]["code"] == "E-DEPLOY-SERVER"
    assert api in refused.json["error"]["message"]


@pytest.mark.process
def test_the_server_of_a_run_is_that_of_all_its_processes_and_ends_with_it_however_that_ends(
    plan: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    done = offramp_process("backfill", plan, "--prefect", "--json", folder=tmp_path, environment=environment)
    assert done.code == 0, done.err
    assert done.err.count("temporary") == 1, done.err

    running = start("backfill", plan, "--prefect", "--restart", folder=tmp_path, environment=environment)
    process = psutil.Process(running.pid)
    (server,) = until(process.children, "a server")
    running.kill()
    running.communicate()
    assert server.pid != running.pid
    assert psutil.wait_procs([server], timeout=30)[1] == []


def test_a_server_is_there_for_the_body_alone(
    starts_server: None, starts_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}):
        with temporary_server():
            url = PREFECT_API_URL.value()
            with get_client(sync_client=True) as client:
                assert client.api_healthcheck() is None
            with temporary_server():
                assert PREFECT_API_URL.value() == url
        assert PREFECT_API_URL.value() is None
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        assert client.api_healthcheck() is not None


def test_a_server_answers_its_run_alone(
    starts_server: None, starts_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of the machine reaches its port, and its database has the secrets of this user's other work."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "of:another-server")
    with temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}):
        with temporary_server():
            Secret[str](value=SecretStr("hidden")).save("mongodb")
            url, everything = f"{PREFECT_API_URL.value()}/block_documents/filter", {"include_secrets": True}
            stranger = httpx.post(url, json=everything)
            user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
            member = httpx.post(url, json=everything, auth=(user, password))
        assert os.environ["PREFECT_API_AUTH_STRING"] == "of:another-server"
    assert (stranger.status_code, "hidden" in stranger.text) == (401, False)
    assert (member.status_code, "hidden" in member.text) == (200, True)


def test_a_server_is_not_waited_for_once_the_run_is_to_stop(
    starts_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    stop = threading.Event()
    stop.set()
    with (
        temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}),
        pytest.raises(TransientError, match="E-STOPPED"),
        temporary_server(stop),
    ):
        pass


def test_settings_that_allow_no_temporary_server_are_told_before_anything_is_done() -> None:
    with (
        temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}),
        pytest.raises(PlanError, match="E-PREFECT-SERVER"),
        temporary_server(),
    ):
        pass
