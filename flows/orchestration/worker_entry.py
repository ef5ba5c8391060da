"""The body of every task, wherever it runs: it loads the plan, does its job, and stops when the state says so.

Its functions are plain: Prefect sends a task to another process with what its body names, and a lock or an event cannot
be sent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from flows.connect.progress import SILENT
from flows.connect.stores import keep_open, open_state
from flows.orchestration.artifacts import LOOK_EVERY_S, Counted, artifact_key, shown
from flows.orchestration.plan_source import WorkerPlan, open_for_work
from flows.run.jobs import Job
from stores.contract.stop import PROCESS_STOP, PolledStop, Stop
from stores.errors import OfframpError

_POLL_EVERY_S = 0.5
_KEEP_OPEN_S = 30.0
"""How long a worker that has nothing to do keeps its connections: the next partition comes soon, or none does."""

R = TypeVar("R")


def run_job(plan: WorkerPlan, job: Job[R], *, look_every_s: float = LOOK_EVERY_S) -> R:
    """Run the job under the plan that it belongs to and return its result; an artifact shows its progress.

    Copying has no artifact here: the flow shows its progress.
    """
    with open_for_work(plan, job.route) as loaded, open_state(loaded) as state:
        if loaded.run.runner != "threads":
            keep_open(_KEEP_OPEN_S)
        stop = PolledStop(lambda: state.work_requests.latest(job.lease).stopped, every_s=_POLL_EVERY_S)
        with ExitStack() as ending:
            if loaded.run.runner != "threads" and not loaded.run.address:  # This process works for no other run.
                ending.enter_context(_waits_ended_by(stop))
            if job.kind == "copy":
                return job.run(loaded, SILENT, stop)
            counted = Counted(job.route)
            ending.enter_context(shown(artifact_key(loaded.name, job.route, job.kind), counted.far, look_every_s))
            return job.run(loaded, counted, stop)


@contextmanager
def _waits_ended_by(stop: Stop) -> Iterator[None]:
    """Let every wait of this process end, for a rate or before another attempt, once the stop is set."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_EVERY_S):
            if _is_set(stop):
                PROCESS_STOP.set()
                return

    watching = threading.Thread(target=watch, name="stop", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def _is_set(stop: Stop) -> bool:
    try:
        return stop.is_set()
    except OfframpError:  # A state that does not answer now; the job meets the error itself.
        return False
