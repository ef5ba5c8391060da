"""The body of every task, wherever it runs: it loads the plan, does its job, and stops when the state says so.

Its functions are plain: Prefect sends a task to another process with what its body names, and a lock or an event cannot
be sent.
"""

from __future__ import annotations

from typing import TypeVar

from flows.connect.progress import SILENT
from flows.connect.stores import open_state
from flows.orchestration.artifacts import LOOK_EVERY_S, Counted, artifact_key, shown
from flows.orchestration.plan_source import PlanSource, open_plan
from flows.run.jobs import Job
from stores.contract.stop import PolledStop

_POLL_EVERY_S = 1.0

R = TypeVar("R")


def run_job(plan: PlanSource, job: Job[R], *, look_every_s: float = LOOK_EVERY_S) -> R:
    """Run the job under the plan of this source and return its result; an artifact shows its progress.

    Copying has no artifact here: the flow shows its progress.
    """
    loaded = open_plan(plan)
    with open_state(loaded) as state:
        stop = PolledStop(lambda: state.work_requests.stopped(job.lease), every_s=_POLL_EVERY_S)
        if job.kind == "copy":
            return job.run(loaded, SILENT, stop)
        counted = Counted(job.route)
        with shown(artifact_key(loaded.name, job.route, job.kind), counted.far, look_every_s):
            return job.run(loaded, counted, stop)
