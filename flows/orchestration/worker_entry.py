"""The body of every task, wherever it runs: it loads the plan, does its job, and stops when the state says so.

Its functions are plain: a task is sent to another process with what its body names, and a lock or an event cannot be
sent.
"""

from __future__ import annotations

import pickle
import platform
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from prefect.context import FlowRunContext, TaskRunContext

from flows.connect.progress import SILENT
from flows.connect.stores import keep_open, open_state
from flows.orchestration.artifacts import LOOK_EVERY_S, Counted, artifact_key, shown
from flows.orchestration.plan_source import WorkerPlan, open_for_work
from flows.run.attempts import LEFT, SETUP
from flows.run.jobs import Job
from flows.run.workers import answer
from stores.contract.stop import PROCESS_STOP, PolledStop, Stop
from stores.errors import OfframpError, TransientError

_POLL_EVERY_S = 0.5
_KEEP_OPEN_S = 30.0
"""How long a worker that has nothing to do keeps its connections: the next partition comes soon, or none does."""
_DISTRIBUTION = "mongo-offramp"

R = TypeVar("R")


def run_job(
    plan: WorkerPlan,
    job: Job[R],
    *,
    look_every_s: float = LOOK_EVERY_S,
    leaving: Callable[[], bool] = lambda: False,
) -> R:
    """Run the job under the plan that it belongs to and return its result; an artifact shows its progress.

    Copying has no artifact here: the flow shows its progress. Nor has a job outside of a run of Prefect. Once this
    worker is `leaving` the job ends at a checkpoint, with TransientError E-WORKER-LEFT.
    """
    with open_for_work(plan, job.route) as loaded, open_state(loaded) as state:
        if loaded.run.runner != "threads":
            keep_open(_KEEP_OPEN_S)
        stop = PolledStop(lambda: state.work_requests.latest(job.lease).stopped or leaving(), every_s=_POLL_EVERY_S)
        with ExitStack() as ending:
            if loaded.run.runner != "threads" and not loaded.run.address:  # This process works for no other run.
                ending.enter_context(_waits_ended_by(stop))
            if job.kind == "copy" or (FlowRunContext.get() is None and TaskRunContext.get() is None):
                result = job.run(loaded, SILENT, stop)
            else:
                counted = Counted(job.route)
                key = artifact_key(loaded.name, job.route, job.kind)
                ending.enter_context(shown(key, counted.far, look_every_s))
                result = job.run(loaded, counted, stop)
    if leaving():
        raise TransientError(LEFT, f"route {job.route}: its worker on {socket.gethostname()} left; another goes on")
    return result


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


# --- in a worker of a cluster -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker must have as its run has it."""

    release: str
    python: str

    @classmethod
    def here(cls) -> Setup:
        """Return what is here."""
        return cls(version(_DISTRIBUTION), ".".join(platform.python_version_tuple()[:2]))


@dataclass(frozen=True, slots=True)
class Parcel:
    """A job as bytes, which only a worker with the same setup opens."""

    setup: tuple[str, str]
    job: bytes

    @classmethod
    def of(cls, plan: WorkerPlan, job: Job[Any]) -> Parcel:
        """Return the job under this plan."""
        here = Setup.here()
        return cls((here.release, here.python), pickle.dumps((plan, job)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a job: an error is a value, so that no cluster logs its text."""

    worker: str
    outcome: Any
    """The job's result, or its OfframpError."""


def do_parcel(setup: tuple[str, str], job: bytes, worker: str, leaving: Callable[[], bool] = lambda: False) -> bytes:
    """Return the answer of this worker to a job, as bytes."""
    if (fault := setup_fault(Setup(*setup), Setup.here())) is not None:
        return pickle.dumps(Answer(worker, fault))
    plan, opened = pickle.loads(job)  # noqa: S301 - whoever reaches a worker may run code in it anyway
    return pickle.dumps(Answer(worker, answer(lambda: run_job(plan, opened, leaving=leaving))))


def setup_fault(wanted: Setup, found: Setup) -> TransientError | None:
    """Return why a worker with this setup can do no job of the run, None where it can."""
    if found == wanted:
        return None
    return setup_error(f"on {socket.gethostname()} it has offramp {found.release} and Python {found.python}", wanted)


def setup_error(what: str, wanted: Setup) -> TransientError:
    """Return the error of a worker that has not what the run has."""
    return TransientError(
        SETUP,
        f"a worker cannot do jobs of this run: {what}. Install there, under Python {wanted.python}, what the run has:"
        f" mongo-offramp=={wanted.release} with the extras that the plan needs",
    )
