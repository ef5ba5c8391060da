"""What it costs to hand out a job that does nothing: to threads, as a task of Prefect, and from there to Dask.

``python -m benchmarks.hand_out PLAN WAY JOBS`` measures one way, in a process that does nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import psutil
from prefect import flow

from benchmarks.documents import Size
from benchmarks.measurements import FEW
from benchmarks.processes import child_environment, output
from benchmarks.rig import LEGS, Documents, null_rig, prefect_api
from flows.connect.progress import Observer
from flows.connect.stores import open_state
from flows.demo.dask_cluster import dask_cluster
from flows.orchestration.tasks import prefect_workers
from flows.plan.load import load
from flows.plan.model import Plan
from flows.run.workers import Threads, Workers
from stores.contract.stop import Stop
from stores.errors import PermanentError
from stores.state.claims import Work
from stores.state.leases import Lease

WAYS = ("threads", "tasks", "tasks on Dask")
WORKERS = 2
_SIZE: Size = 1
_WARMING = 20
_SERVERS: Mapping[str, Sequence[str]] = {"prefect": ("prefect", "server"), "scheduler": ("dask", "scheduler")}
"""The words of the commands of servers whose CPU counts."""


@dataclass(frozen=True, slots=True)
class IdleJob:
    """`flows.run.jobs.Job` that does nothing."""

    kind: ClassVar[str] = "copy"
    route: str
    number: int
    lease: Lease

    @property
    def claim(self) -> tuple[Work, int]:
        """What it would claim."""
        return "copy", self.number

    def run(self, plan: Plan, observer: Observer, stop: Stop) -> int:
        """Return its number."""
        return self.number


def handing_out(folder: Path, jobs: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield for each way what a job costs in milliseconds: of CPU of each process that has to do with it, and in all.

    A job on Dask and a task load the plan from the state, as every job does, in the process that does it.
    """
    environment = child_environment()
    with (
        null_rig(folder, [Documents(_SIZE, FEW)], [LEGS["elasticsearch"]]) as rig,
        prefect_api(folder / "prefect") as api,
        dask_cluster(folder / "dask", WORKERS, lambda _: environment) as cluster,
    ):
        environment = {**environment, **cluster.environment, "PREFECT_API_URL": api}
        for way in WAYS:
            keys = {"runner": "dask", "address": cluster.address} if way == "tasks on Dask" else {"runner": "threads"}
            copy = rig.plan(LEGS["elasticsearch"], Documents(_SIZE, FEW), workers=WORKERS, **keys)
            command = [sys.executable, "-m", "benchmarks.hand_out", str(copy.plan), way, str(jobs)]
            found = [json.loads(output(command, environment)) for _ in range(rounds)]
            yield {"way": way, **{name: round(median(one[name] for one in found), 2) for name in found[0]}}


def measured(workers: Workers, jobs: Sequence[IdleJob]) -> dict[str, float]:
    """Return what handing out each of the jobs took, in milliseconds; the first ones are not counted."""

    def hand_out(some: Sequence[IdleJob]) -> None:
        if [outcome for _, outcome in workers.run(some)] != [job.number for job in some]:
            raise PermanentError("E-BENCH", "a job that does nothing has failed")

    hand_out(jobs[:_WARMING])
    began, servers_s, own_s = time.perf_counter(), _servers_s(), time.process_time()
    hand_out(jobs[_WARMING:])
    number = len(jobs) - _WARMING
    spent = {
        "coordinator_ms": time.process_time() - own_s,
        **{f"{name}_ms": seconds - servers_s[name] for name, seconds in _servers_s().items()},
        "wall_ms": time.perf_counter() - began,
    }
    return {name: 1000 * seconds / number for name, seconds in spent.items()}


def _servers_s() -> dict[str, float]:
    """Return the CPU seconds that each server has used, which the parent of this process has started."""
    used = dict.fromkeys(_SERVERS, 0.0)
    for process in psutil.Process(os.getppid()).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            for name, wanted in _SERVERS.items():
                if {*wanted} <= {*words}:
                    used[name] += sum(process.cpu_times()[:2])
    return used


def main(path: str, way: str, number: str) -> None:
    """Print what a job costs that is handed out this way, as JSON."""
    plan = load(Path(path))
    (route,) = plan.routes
    with open_state(plan) as state:
        lease = state.leases.acquire(route, outlived=True)
        jobs = [IdleJob(route, at, lease) for at in range(int(number) + _WARMING)]

        @flow(name="hand out", persist_result=False)
        def as_tasks() -> dict[str, float]:
            with prefect_workers(plan) as workers:
                return measured(workers, jobs)

        found = measured(Threads(plan), jobs) if way == "threads" else as_tasks()
        state.leases.release(lease)
    print(json.dumps(found))


if __name__ == "__main__":
    # By the name under which workers import it, and not as the module that is run.
    from benchmarks import hand_out

    hand_out.main(*sys.argv[1:])
