"""The Prefect tasks of partitions and routes, and the workers that run jobs as such tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.tasks import Task, exponential_backoff

from flows.connect.stores import open_state
from flows.orchestration import clusters, worker_entry
from flows.orchestration.ending import is_called
from flows.orchestration.plan_source import PlanSource, WorkerPlan, plan_for_workers
from flows.orchestration.summary import error_line
from flows.orchestration.task_runners import signals_blocked, started_runner
from flows.plan.model import Plan
from flows.run.attempts import FAILURES, worker_died
from flows.run.attempts import may_pass as error_may_pass
from flows.run.jobs import CopyJob, Job, LoadJob, Span
from flows.run.workers import More, Outcome, Pending, hand_out
from flows.verifier.job import Verified, VerifyJob
from stores.contract.stop import NEVER, PROCESS_STOP, Stop, raise_if_stopped
from stores.errors import OfframpError

_FIRST_DELAY_S = 10
_JITTER = 0.5
# By name: Prefect wraps the error of the pool.
_DEATHS = frozenset(("BrokenProcessPool", "CrashedRun"))

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskFailed(Exception):
    """A job has failed. Prefect logs and keeps the text, which is the error's code; the flow raises `error` itself."""

    def __init__(self, error: Exception) -> None:
        """Keep the error, which survives pickling."""
        super().__init__(error_line(error))
        self.error = error

    def __reduce__(self) -> tuple[type[TaskFailed], tuple[Exception]]:
        """Pickle the error in place of the text."""
        return TaskFailed, (self.error,)


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task is worth another attempt."""
    return error_may_pass(state.data.error if isinstance(state.data, TaskFailed) else None)


# Nothing here is cached or persisted: what was done is in the plan's state, which alone is fenced by the lease, and a
# Verified holds addresses, which are none of Prefect's business.
_OPTIONS: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "log_prints": False,  # What a mapper prints may be a document.
    "retries": FAILURES - 1,
    "retry_delay_seconds": exponential_backoff(_FIRST_DELAY_S),
    "retry_jitter_factor": _JITTER,
    "retry_condition_fn": may_pass,
}


@task(name="copy", task_run_name="copy {job.route} partition {job.number}", **_OPTIONS)
def copy_partition(plan: WorkerPlan, job: CopyJob) -> Span:
    """Copy the partition from its last checkpoint on; return the time it took."""
    return _done(plan, job)


@task(name="load", task_run_name="load {job.route}", **_OPTIONS)
def load_route(plan: WorkerPlan, job: LoadJob) -> Span:
    """Let the route's target load what was staged; return the time it took."""
    return _done(plan, job)


@task(name="verify", task_run_name="verify {job.route}{job.part}", **_OPTIONS)
def verify_route(plan: WorkerPlan, job: VerifyJob) -> Verified:
    """Compare the route's target with what its source has now; return the result of the route or of a part of it."""
    return _done(plan, job)


def _done(plan: WorkerPlan, job: Job[R]) -> R:
    """Return the job's result; raises TaskFailed, without a context that Prefect could show, where it has none."""
    try:
        cluster = clusters.current()
        return worker_entry.run_job(plan, job) if cluster is None else cluster.do(plan, job)
    except Exception as error:  # noqa: BLE001 - Prefect would keep its text
        failure = TaskFailed(error)
    raise failure


@contextmanager
def prefect_workers(plan: Plan, source: PlanSource | None = None, stop: Stop = NEVER) -> Iterator[PrefectWorkers]:
    """Yield workers that run jobs as tasks of the current flow run, on the task runner the plan names, until `stop`.

    The plan, whose source is its file unless given, is on record in its state, from which the workers load it.
    """
    with started_runner(plan, stop, ends_soon=is_called()) as runner:
        yield PrefectWorkers(plan, runner, plan_for_workers(plan, source), stop)


@dataclass(frozen=True)
class PrefectWorkers:
    """Workers that run jobs as tasks of the current flow run, on a task runner that was started."""

    plan: Plan
    runner: TaskRunner[Any]
    reference: WorkerPlan
    stop: Stop = NEVER

    def run(self, jobs: Sequence[Job[R]], more: More[R] | None = None, /) -> Sequence[Outcome[Job[R], R]]:
        """Run each job as a task; see `Workers.run`."""
        return hand_out(jobs, self.plan.run.workers, self._start, more, lambda: self._stop(jobs), self.stop)

    def _start(self, job: Job[R]) -> Pending[R]:
        tasks: Mapping[str, Task[..., Any]] = {"copy": copy_partition, "load": load_route, "verify": verify_route}
        try:
            parameters = {"plan": self.reference, "job": job}
            # A pool may start a worker for the task.
            with signals_blocked() if self.plan.run.runner == "processes" else nullcontext():
                return _Submitted(job.route, self.runner.submit(tasks[job.kind], parameters), self.stop)
        except BrokenProcessPool as error:  # An earlier task's worker died, and with it the pool.
            return _Refused(worker_died(job.route, f"was killed ({type(error).__name__})"))

    def _stop(self, jobs: Sequence[Job[Any]]) -> None:
        """Stop the jobs' tasks, here and elsewhere, at a checkpoint."""
        PROCESS_STOP.set()
        with open_state(self.plan) as state:
            state.work_requests.stop({job.lease for job in jobs})


@dataclass(frozen=True, slots=True)
class _Submitted(Generic[R_co]):
    """A task under way; the death of its worker fails its route, not the run."""

    route: str
    future: PrefectFuture[R_co]
    stop: Stop

    def result(self) -> R_co:
        """Return the task's result, or raise its error."""
        try:
            return self.future.result()
        except TaskFailed as failure:
            raise failure.error from None
        except Exception as error:
            if _is_death(error):
                raise_if_stopped(self.stop, "its worker was stopped by a signal; the same command resumes")
                raise worker_died(self.route, f"was killed ({type(error).__name__})") from error
            raise

    def add_done_callback(self, call: Callable[[Any], object], /) -> None:
        """Call `call` with the task when it ends, at once if it has ended."""
        self.future.add_done_callback(lambda _: _call(call, self))


def _call(call: Callable[[Any], object], pending: object) -> None:
    call(pending)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A task that no worker could be given."""

    error: OfframpError

    def result(self) -> Any:
        """Raise the error that says why."""
        raise self.error

    def add_done_callback(self, call: Callable[[Any], object], /) -> None:
        """Call `call` with the task at once."""
        call(self)


def _is_death(error: BaseException) -> bool:
    """Return whether the error means that the process of the task died; each runner has names of its own for that."""
    return any(kind.__name__ in _DEATHS for kind in type(error).__mro__)
