"""Who does the jobs of a run: threads of this process here, and how jobs are handed to workers of any kind."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from flows.connect.progress import SILENT, Observer
from flows.plan.model import Plan
from flows.run.jobs import CopyJob, LoadJob, Span, copy_job, load_job
from flows.verifier.job import Verified, VerifyJob, verify_job
from stores.errors import OfframpError, PermanentError, origin

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0

Job = TypeVar("Job")
Result = TypeVar("Result")
R_co = TypeVar("R_co", covariant=True)

More = Callable[[int], Sequence[CopyJob]]
"""Told how many workers have nothing to do, returns the partitions that came up meanwhile."""


class Workers(Protocol):
    """Runs jobs, some at a time; an OfframpError takes the place of a result."""

    def copy(self, jobs: Sequence[CopyJob], more: More, /) -> Sequence[tuple[CopyJob, Span | OfframpError]]:
        """Copy each partition, and those that `more` adds while others are under way."""

    def load(self, jobs: Sequence[LoadJob], /) -> Sequence[Span | OfframpError]:
        """Load each route that is staged; in the order of the jobs."""

    def verify(self, jobs: Sequence[VerifyJob], /) -> Sequence[Verified | OfframpError]:
        """Verify each route; in the order of the jobs."""


class Pending(Protocol[R_co]):
    """A job under way, here or elsewhere."""

    def result(self) -> R_co:
        """Return its result, or raise its error; asked once it has ended."""

    def add_done_callback(self, call: Callable[[Any], object], /) -> None:
        """Call when it ends, at once if it has."""


Start = Callable[[Job], Pending[Result | OfframpError]]
Outcome = tuple[Job, Result | OfframpError]


def hand_out(
    jobs: Sequence[Job],
    most: int,
    start: Start[Job, Result],
    more: Callable[[int], Sequence[Job]] | None = None,
    signalled: Callable[[], object] = lambda: None,
) -> list[Outcome[Job, Result]]:
    """Return the outcome of each job, in the order they ended, started so many at a time; what was raised is one too.

    While a worker has nothing to do, `more` is asked for jobs, and once again when all have ended. Whatever is raised
    here, no job is under way any more; `signalled` is called first where what was raised is no mere error.
    """
    waiting = deque(jobs)
    ended: SimpleQueue[tuple[Job, Pending[Result | OfframpError]]] = SimpleQueue()
    under_way = 0
    outcomes: list[Outcome[Job, Result]] = []

    def begin(job: Job) -> None:
        pending = start(job)
        pending.add_done_callback(lambda _: ended.put((job, pending)))

    try:
        while True:
            while waiting and under_way < most:
                begin(waiting.popleft())
                under_way += 1
            if under_way:
                try:
                    job, pending = ended.get(timeout=_LOOK_EVERY_S if more and under_way < most else None)
                except Empty:
                    pass
                else:
                    under_way -= 1
                    outcomes.append((job, _outcome(pending)))
            if more and not waiting and under_way < most:
                waiting.extend(more(most - under_way if under_way else 0))
            if not waiting and not under_way:
                return outcomes
    except BaseException as error:
        if not isinstance(error, Exception):
            signalled()
        raise
    finally:
        # Nothing may write any more when the leases are given back.
        while under_way:
            ended.get()
            under_way -= 1


def in_order(
    jobs: Sequence[Job], most: int, start: Start[Job, Result], signalled: Callable[[], object] = lambda: None
) -> list[Result | OfframpError]:
    """Return the outcomes in the order of the jobs; otherwise as `hand_out`."""
    found = hand_out(jobs, most, start, signalled=signalled)
    return [next(outcome for done, outcome in found if done is job) for job in jobs]


def _outcome(pending: Pending[Result | OfframpError]) -> Result | OfframpError:
    try:
        return pending.result()
    except OfframpError as error:
        return error


@dataclass(frozen=True)
class Threads:
    """Workers that are threads of this process."""

    plan: Plan
    observer: Observer = SILENT
    stopping: Callable[[], bool] = lambda: False

    def copy(self, jobs: Sequence[CopyJob], more: More, /) -> Sequence[tuple[CopyJob, Span | OfframpError]]:
        """Copy each partition."""
        with self._pool() as pool:
            return hand_out(jobs, self.plan.run.workers, lambda job: pool.submit(self._answer, copy_job, job), more)

    def load(self, jobs: Sequence[LoadJob], /) -> Sequence[Span | OfframpError]:
        """Load each route that is staged."""
        with self._pool() as pool:
            return in_order(jobs, self.plan.run.workers, lambda job: pool.submit(self._answer, load_job, job))

    def verify(self, jobs: Sequence[VerifyJob], /) -> Sequence[Verified | OfframpError]:
        """Verify each route."""
        with self._pool() as pool:
            return in_order(jobs, self.plan.run.workers, lambda job: pool.submit(self._answer, verify_job, job))

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.plan.run.workers, thread_name_prefix="job")

    def _answer(self, run: Callable[..., Result], job: object) -> Result | OfframpError:
        return answer(lambda: run(self.plan, job, observer=self.observer, stopping=self.stopping))


def answer(run: Callable[[], Result]) -> Result | OfframpError:
    """Return the result, or the error that takes its place: a fault in one route must not cost the others theirs."""
    try:
        return run()
    except OfframpError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        _log.exception("a job failed")
        return PermanentError("E-INTERNAL", f"unexpected {origin(error)}")
