"""The clusters of workers that do the jobs of a run: what Dask and Ray have in common.

A job goes to a worker as plain values. The worker needs no Prefect server: the task of Prefect, which shows the job and
tries it again, is in the process of the flow and waits for it there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from flows.connect.stores import open_state
from flows.orchestration.plan_source import WorkerPlan
from flows.orchestration.worker_entry import Answer, Parcel
from flows.plan.cluster_address import is_one_machines, workers_fault
from flows.plan.model import Plan
from flows.run.attempts import GONE, LEFT, SETUP, worker_died
from flows.run.jobs import Job
from stores.contract.stop import Stop, raise_if_stopped
from stores.errors import OfframpError, PermanentError, PlanError, TransientError

LOOK_EVERY_S = 0.5
"""How often a job under way is looked at while nothing comes of it: for a stop."""
_COUNT_EVERY_S = 1.0
"""How often the workers are counted while a job waits for one."""

_NOT_BEGUN = "stopped by a signal before it was begun; the same command resumes"

R = TypeVar("R")


class WorkerDiedError(Exception):
    """The workers that were given the job ended without an answer; its text says how."""


class ClusterGoneError(Exception):
    """The cluster does not answer; its text says why."""


class Submitted(Protocol):
    """A job that was given to a cluster."""

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, after so many seconds at the latest."""

    def answer(self) -> Answer:
        """Return the answer of a job that has ended; raises WorkerDiedError or ClusterGoneError where there is none."""

    def cancel(self) -> None:
        """No worker begins it any more."""


class Cluster(Protocol):
    """Workers, one of which is given a job."""

    @property
    def name(self) -> str:
        """Return Dask or Ray."""

    def submit(self, parcel: Parcel, avoided: frozenset[str]) -> Submitted:
        """Give the job to a worker: to none of those that are avoided if there is another.

        Raises ClusterGoneError where the cluster does not answer.
        """

    def slots(self) -> int | None:
        """Return how many jobs the workers that there are now can do at once; raises ClusterGoneError.

        None for a cluster that gives a job that waits to a worker that joins later.
        """

    def workers(self) -> Sequence[str]:
        """Return the workers that there are now, as answers name them; raises ClusterGoneError."""

    def hosts(self) -> Sequence[str]:
        """Return the hosts of the workers that there are now; raises ClusterGoneError."""


@dataclass(frozen=True)
class ClusterRun:
    """The jobs of one run on a cluster; safe to share between threads."""

    plan: Plan
    cluster: Cluster
    stop: Stop
    _failed: dict[Job[Any], frozenset[str]] = field(default_factory=dict)
    """The workers on which a job failed that may succeed on another."""
    _unfit: set[str] = field(default_factory=set)
    """The workers that can do no job at all."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _slots: _Slots = field(init=False)

    def __post_init__(self) -> None:
        """Let as many jobs be under way as workers can do."""
        object.__setattr__(self, "_slots", _Slots(self.cluster, self.stop))

    def do(self, source: WorkerPlan, job: Job[R]) -> R:
        """Return what a worker made of the job, or raise its error.

        Raises TransientError E-WORKER-DIED where the worker was killed, and so was each that the cluster gave the job
        to after it; TransientError E-CLUSTER-GONE where the cluster does not answer any more, and E-STOPPED once the
        run is to stop and no worker is at work on the job.
        """
        try:
            answer = self._answer(source, job)
        except WorkerDiedError as error:
            raise_if_stopped(self.stop, "its worker was stopped by a signal; the same command resumes")
            raise worker_died(job.route, str(error)) from error
        except ClusterGoneError as error:
            raise_if_stopped(self.stop, "stopped by a signal; the same command resumes")
            raise gone(self.cluster.name, str(error)) from error
        if not isinstance(answer.outcome, OfframpError):
            outcome: R = answer.outcome
            return outcome
        raise self._noted(job, answer.worker, answer.outcome)

    def _answer(self, source: WorkerPlan, job: Job[R]) -> Answer:
        with self._lock:
            avoided = self._failed.get(job, frozenset()) | self._unfit
        with self._slots.taken():
            submitted = self.cluster.submit(Parcel.of(source, job), avoided)
            while not submitted.wait(LOOK_EVERY_S):
                if self.stop.is_set() and self._is_idle(job):
                    submitted.cancel()
                    raise_if_stopped(self.stop, _NOT_BEGUN)
            return submitted.answer()

    def _noted(self, job: Job[Any], worker: str, error: OfframpError) -> OfframpError:
        """Return the error; where it may pass on another worker, the job avoids this one from now on."""
        with self._lock:
            if error.code == SETUP:
                self._unfit.add(worker)
            elif isinstance(error, TransientError) and error.code != LEFT:
                self._failed[job] = self._failed.get(job, frozenset()) | {worker}
            others = error.code == SETUP and bool({*self.cluster.workers()} - self._unfit)
        return PermanentError(SETUP, error.message) if error.code == SETUP and not others else error

    def _is_idle(self, job: Job[Any]) -> bool:
        """Return whether no worker is at work on the job: one that begins it now sees the stop first."""
        try:
            with open_state(self.plan) as state:
                return state.work_requests.stopped(job.lease) and not state.claims.is_under_way(job.lease, *job.claim)
        except OfframpError:  # The state does not answer now.
            return False


class _Slots:
    """How many jobs are with the cluster: no more than its workers can do at once.

    Dask gives a job that has to wait to a worker at once, and leaves it there though another joins. So it waits here.
    """

    def __init__(self, cluster: Cluster, stop: Stop) -> None:
        self._cluster = cluster
        self._stop = stop
        self._changed = threading.Condition()
        self._taken = 0
        self._most: int | None = 0
        self._counted_at_s = float("-inf")

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a slot, and take it for the length of the body; raises TransientError E-STOPPED once it is to stop.

        Where there is no worker one job is given to the cluster: some start workers only then.
        """
        with self._changed:
            while (most := self._count()) is not None and self._taken >= max(1, most):
                raise_if_stopped(self._stop, _NOT_BEGUN)
                self._changed.wait(LOOK_EVERY_S)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify()

    def _count(self) -> int | None:
        now = time.monotonic()
        if now - self._counted_at_s >= _COUNT_EVERY_S:
            self._most, self._counted_at_s = self._cluster.slots(), now
        return self._most


def refuse_distant_workers(plan: Plan, cluster: Cluster) -> None:
    """Raise PlanError where workers are on other machines, which cannot share the state of the plan."""
    if is_one_machines(plan.state) and (why := workers_fault(cluster.hosts())):
        raise PlanError("E-PLAN", why)


def gone(name: str, why: str) -> TransientError:
    """Return the error that the cluster does not answer."""
    return TransientError(
        GONE,
        f"the {name} cluster of the run does not answer ({why}); see that its scheduler runs and can be reached, then"
        " run the same command, which resumes",
    )


_current: ContextVar[ClusterRun | None] = ContextVar("offramp_cluster", default=None)


@contextmanager
def in_use(run: ClusterRun) -> Iterator[None]:
    """Let the tasks that begin in the body do their jobs on the cluster."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> ClusterRun | None:
    """Return the cluster on which the task at hand does its job, None where it does it itself."""
    return _current.get()
