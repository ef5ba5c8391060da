"""A Prefect server of the tests' own, what it has on record, and workers as processes."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from waiting import until

LIMIT_S = 90.0
ANSWER_S = 180.0
"""A server that writes much into its SQLite file, on a busy machine, has been silent for more than a minute."""
ASK_EVERY_S = 0.2
"""How often a test asks the server for what it waits for; a question takes processor time of both."""
_TLS = ssl.create_default_context()
"""Made once: httpx would read the machine's authorities for each request, which takes longer than the request."""


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server, and the environment of commands that use it."""

    api: str
    folder: Path
    environment: Mapping[str, str]
    auth: tuple[str, str] | None = None

    @property
    def log(self) -> Path:
        """What the server has printed."""
        return self.folder / "server.log"

    @property
    def home(self) -> Path:
        """The folder of the server's database, and of the results that runs persist."""
        return self.folder / "prefect"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.api}/{path}", auth=self.auth, timeout=ANSWER_S, verify=_TLS)

    def post(self, path: str, content: Any) -> httpx.Response:
        return httpx.post(f"{self.api}/{path}", json=content, auth=self.auth, timeout=ANSWER_S, verify=_TLS)

    def found(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        answer = self.post(f"{what}/filter", wanted).raise_for_status().json()
        return list(answer["events"] if what == "events" else answer)

    def deployments(self, plan: str) -> dict[str, dict[str, Any]]:
        """The plan's deployments by entrypoint and name."""
        found = self.found("deployments", deployments={"tags": {"all_": [f"plan:{plan}"]}})
        return {f"{one['entrypoint']} {one['name']}": one for one in found}

    def runs(self, deployment: Mapping[str, Any], *states: str) -> list[dict[str, Any]]:
        """The deployment's runs in these states, in the order they started."""
        wanted = {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": list(states)}}}
        return self.found("flow_runs", flow_runs=wanted, sort="START_TIME_ASC")

    def ended_run(self, deployment: Mapping[str, Any], parameters: Mapping[str, Any], *logs: Path) -> dict[str, Any]:
        """Start a run of the deployment and return it once it has ended."""
        return self.ended(self.started_run(deployment, parameters), *logs)

    def started_run(self, deployment: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
        """Start a run of the deployment and return its id."""
        asked = {"parameters": dict(parameters), "idempotency_key": uuid4().hex}
        path = f"deployments/{deployment['id']}/create_flow_run"

        def answer() -> list[httpx.Response]:
            """The server's answer; while it is busy, which it says by 503, it has none."""
            answered = self.post(path, asked)
            return [answered] if answered.status_code != httpx.codes.SERVICE_UNAVAILABLE else []

        (answered,) = until(answer, "run", self.log, every_s=ASK_EVERY_S)
        return str(answered.raise_for_status().json()["id"])

    def ended(self, run_id: str, *logs: Path) -> dict[str, Any]:
        """Return the run once it has ended."""

        def ended() -> dict[str, Any]:
            run = dict(self.get(f"flow_runs/{run_id}").raise_for_status().json())
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else {}

        return until(ended, "end of the run", self.log, *logs, limit_s=LIMIT_S, every_s=ASK_EVERY_S)

    def newest(self, key: str) -> dict[str, Any]:
        """The newest artifact of this key."""
        return dict(self.get(f"artifacts/{key}/latest").raise_for_status().json())

    def prefect(self, *arguments: str) -> None:
        """Run Prefect's command line to its end, which must be a good one."""
        told = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0, told.stdout + told.stderr


@contextmanager
def prefect_server(folder: Path, auth: tuple[str, str] | None = None) -> Iterator[PrefectServer]:
    """A server with a work pool, which flows and commands of this process use too; with `auth` it asks for that."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "DO_NOT_TRACK": "1",
    }
    if auth is not None:
        words = ":".join(auth)
        environment |= {"PREFECT_SERVER_API_AUTH_STRING": words, "PREFECT_API_AUTH_STRING": words}
    server = PrefectServer(api, folder, environment, auth)
    start = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    with running(server.log, environment, folder, *start):
        until(
            lambda: answers(f"{api}/health"),
            "answer of the server",
            server.log,
            limit_s=LIMIT_S,
            every_s=ASK_EVERY_S,
        )
        server.post("work_pools/", {"name": "offramp", "type": "process"}).raise_for_status()
        here = {PREFECT_API_URL: api, PREFECT_LOCAL_STORAGE_PATH: str(server.home / "storage")}
        with temporary_settings(here | ({PREFECT_API_AUTH_STRING: ":".join(auth)} if auth else {})):
            yield server
            forward_records()


def forward_records() -> None:
    """What this process still has to send is with the server, which it would try for a minute at its end."""
    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@contextmanager
def running(log: Path, environment: Mapping[str, str], cwd: Path, *module: str) -> Iterator[psutil.Process]:
    """A module run as a process of its own, ended with all its children afterwards."""
    with log.open("wb") as output:
        process = psutil.Popen([sys.executable, "-m", *module], env=environment, cwd=cwd, stdout=output, stderr=output)
        try:
            yield process
        finally:
            family = [process, *process.children(recursive=True)] if process.is_running() else []
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.terminate()
            _, left = psutil.wait_procs(family, timeout=5)
            for member in left:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(left, timeout=5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, verify=_TLS).status_code == 200
    except httpx.TransportError:
        return False
