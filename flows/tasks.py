"""What Prefect runs, retries and shows: partitions and routes as tasks, and a report that decides a flow's state."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, TypeVar

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.tasks import Task, exponential_backoff

from flows.books import Level, Report
from flows.jobs import CopyJob, LoadJob, Span, Verified, VerifyJob, copy_job, load_job, verify_job
from flows.plan import Plan, load
from flows.report import as_text, cells, write
from stores.errors import OfframpError, TransientError
from stores.retrying import STOPPING
from stores.state import Lease

_RETRIES = 3
_FIRST_DELAY_S = 10
_JITTER = 0.5

Job = TypeVar("Job")
Result = TypeVar("Result")


class NotClean(Exception):
    """The flow has finished and its report is not clean: raised so that Prefect shows the flow run as Failed."""

    def __init__(self, report: Report) -> None:
        """Keep the report; the text is its closing line."""
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return as_text(self.report).splitlines()[-1]


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a failed task is worth another attempt: only what a store called transient is."""
    return isinstance(state.data, TransientError)


# Nothing here is cached or persisted: what was done is in the plan's state, which alone is fenced by the lease, and a
# Verified holds addresses, which are none of Prefect's business.
@task(
    name="copy",
    task_run_name="copy {route} partition {number}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=_RETRIES,
    retry_delay_seconds=exponential_backoff(_FIRST_DELAY_S),
    retry_jitter_factor=_JITTER,
    retry_condition_fn=may_pass,
)
def copy_partition(plan: str, route: str, number: int, owner: str, fence: int, id_kind: str = "") -> Span:
    """The partition is copied from its last checkpoint on, by the run that holds this lease; returns when that was."""
    loaded = load(Path(plan))
    return copy_job(
        loaded, CopyJob(route, number, Lease(loaded.name, route, owner, fence), id_kind), stopping=STOPPING.is_set
    )


@task(
    name="load",
    task_run_name="load {route}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=_RETRIES,
    retry_delay_seconds=exponential_backoff(_FIRST_DELAY_S),
    retry_jitter_factor=_JITTER,
    retry_condition_fn=may_pass,
)
def load_route(plan: str, route: str, owner: str, fence: int) -> Span:
    """The route's target has loaded what was staged, for the run that holds this lease; returns when that was."""
    loaded = load(Path(plan))
    return load_job(loaded, LoadJob(route, Lease(loaded.name, route, owner, fence)), stopping=STOPPING.is_set)


@task(
    name="verify",
    task_run_name="verify {route}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=_RETRIES,
    retry_delay_seconds=exponential_backoff(_FIRST_DELAY_S),
    retry_jitter_factor=_JITTER,
    retry_condition_fn=may_pass,
)
def verify_route(plan: str, route: str, level: Level, id_kind: str = "") -> Verified:
    """Return what the route's target holds against what its source says now."""
    return verify_job(load(Path(plan)), VerifyJob(route, level, id_kind), stopping=STOPPING.is_set)


@dataclass(frozen=True)
class PrefectWorkers:
    """Workers that are tasks of the flow run at hand, on whatever task runner it has."""

    plan: Plan

    def copy(self, jobs: Sequence[CopyJob], /) -> Sequence[Span | OfframpError]:
        """Copy each partition."""
        return self._each(
            lambda job: copy_partition.submit(
                self._path, job.route, job.number, job.lease.owner, job.lease.fence, job.id_kind
            ),
            jobs,
        )

    def load(self, jobs: Sequence[LoadJob], /) -> Sequence[Span | OfframpError]:
        """Load each route."""
        return self._each(lambda job: load_route.submit(self._path, job.route, job.lease.owner, job.lease.fence), jobs)

    def verify(self, jobs: Sequence[VerifyJob], /) -> Sequence[Verified | OfframpError]:
        """Verify each route."""
        return self._each(lambda job: verify_route.submit(self._path, job.route, job.level, job.id_kind), jobs)

    @property
    def _path(self) -> str:
        return str(self.plan.path.absolute())

    def _each(
        self, submit: Callable[[Job], PrefectFuture[Result]], jobs: Sequence[Job]
    ) -> Sequence[Result | OfframpError]:
        # Prefect's thread runner is unbounded unless told when the flow is defined; the plan is known only now.
        free = BoundedSemaphore(self.plan.run.workers)
        futures: list[PrefectFuture[Result]] = []
        try:
            for job in jobs:
                free.acquire()
                future = submit(job)
                future.add_done_callback(lambda _: free.release())
                futures.append(future)
            _all_ended(futures)
        except BaseException as error:
            if not isinstance(error, Exception):
                # Prefect ends a flow by raising a signal here: the tasks of this process stop at a checkpoint.
                STOPPING.set()
            # Nothing may write any more when the leases are given back.
            _all_ended(futures)
            raise
        outcomes: list[Result | OfframpError] = []
        for future in futures:
            try:
                outcomes.append(future.result())
            except OfframpError as error:
                outcomes.append(error)
        return outcomes


def _all_ended(futures: Sequence[PrefectFuture[Any]]) -> None:
    for future in futures:
        future.wait()


def concluded(report: Report, folder: Path) -> Report:
    """The report is written to the folder, shown as an artifact and returned; raises NotClean if it is not clean.

    The artifact holds the table, never an address.
    """
    log = get_run_logger()
    written = write(report, folder)
    closing = str(NotClean(report))
    reasons = [f"{route.route}: {reason}" for route in report.routes for reason in route.reasons]
    for reason in reasons:
        log.warning("%s", reason)
    log.info("report: %s and %s", written[0].absolute(), written[1].name)
    create_table_artifact(
        key=artifact_key(report.plan),
        table=[cells(route) for route in report.routes],
        description="\n".join([closing, "", *(f"- {reason}" for reason in reasons)]),
    )
    if report.verdict != "clean":
        raise NotClean(report)
    log.info("%s", closing)
    return report


def artifact_key(plan: str) -> str:
    """Return the key of a plan's reports among the artifacts: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"offramp {plan}".lower()).strip("-")
