"""What a task does wherever it runs: plain values in, the plan loaded anew, stopped by way of the state.

Plain functions: Prefect sends a task to another process with what its body names, and a lock or an event cannot go
along.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from flows.connect.progress import SILENT
from flows.connect.stores import open_state
from flows.orchestration.artifacts import Counted, artifact_key, shown
from flows.plan.load import load
from flows.run.jobs import Job
from stores.state.leases import Lease
from stores.state.state import State
from stores.throttling.backoff import STOPPING

_LOOK_EVERY_S = 1.0

R = TypeVar("R")


def run_job(plan: str, job: Job[R]) -> R:
    """Return what came of the job, by the plan that is read from this path; copying is shown by its flow instead."""
    loaded = load(Path(plan))
    with open_state(loaded) as state:
        stopping = _asked(state, job.lease)
        if job.kind == "copy":
            return job.run(loaded, SILENT, stopping)
        counted = Counted(job.route)
        with shown(artifact_key(loaded.name, job.route, job.kind), counted.far):
            return job.run(loaded, counted, stopping)


def _asked(state: State, lease: Lease) -> Callable[[], bool]:
    """Return what tells whether the route is to stop, asking the state now and then: the run may be elsewhere."""
    asked_at = 0.0
    told = False

    def stopping() -> bool:
        nonlocal asked_at, told
        if not told and time.monotonic() - asked_at >= _LOOK_EVERY_S:
            asked_at = time.monotonic()
            told = state.work_requests.stopped(lease)
        return told or STOPPING.is_set()

    return stopping
