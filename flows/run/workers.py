"""Who does the jobs of a run: threads of this process here, and how jobs are handed to workers of any kind."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from flows.connect.progress import SILENT, Observer, RunObserver
from flows.plan.model import Plan, Route
from flows.run.jobs import Job
from stores.contract.stop import NEVER, Stop
from stores.errors import OfframpError, PermanentError, origin

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
"""How often the stop is looked at."""
_MORE_EVERY_S = 1.0
"""How often more jobs are asked for while none ends."""

J = TypeVar("J")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Outcome = tuple[J, R | OfframpError]
More = Callable[[int], Sequence[Job[R]]]
"""Given how many workers have nothing to do, returns the jobs that came up meanwhile."""


class Workers(Protocol):
    """Runs jobs, several at a time; an OfframpError takes the place of a result."""

    def run(self, jobs: Sequence[Job[R]], more: More[R] | None = None, /) -> Sequence[Outcome[Job[R], R]]:
        """Return each job with what came of it, and each that `more` added while others were under way.

        They are in the order in which they were handed out: `jobs`, then what `more` added. A job that was not begun
        before the work was asked to end is not among them.
        """


@dataclass(frozen=True)
class Run:
    """The work of one command: routes of a plan, who does its jobs, and what ends it early."""

    plan: Plan
    routes: Sequence[Route]
    workers: Workers
    stop: Stop = NEVER
    observer: RunObserver = SILENT


class Pending(Protocol[R_co]):
    """A job under way, here or elsewhere."""

    def result(self) -> R_co:
        """Return its result, or raise its error; called once the job has ended."""

    def add_done_callback(self, call: Callable[[Any], object], /) -> None:
        """Call when it ends, at once if it has."""


def hand_out(
    jobs: Sequence[J],
    most: int,
    start: Callable[[J], Pending[R | OfframpError]],
    more: Callable[[int], Sequence[J]] | None = None,
    signalled: Callable[[], object] = lambda: None,
    stop: Stop = NEVER,
) -> list[Outcome[J, R]]:
    """Return each job with its outcome, in the order they were started; at most `most` run at a time.

    An OfframpError that a job raised is its outcome. While a worker has nothing to do, `more` is asked for jobs, and
    once again when all have ended. Once `stop` is set no job is started, and those under way are waited for. Whatever
    is raised here, no job is under way any more. `signalled` is called first where what was raised is no mere error,
    and once `stop` is seen to be set.
    """
    waiting = deque(jobs)
    ended: SimpleQueue[tuple[int, Pending[R | OfframpError]]] = SimpleQueue()
    under_way = 0
    started: list[J] = []
    outcomes: dict[int, R | OfframpError] = {}
    stopping = False
    asked_at = float("-inf")

    def begin(job: J) -> None:
        number = len(started)
        pending = start(job)
        started.append(job)
        pending.add_done_callback(lambda _: ended.put((number, pending)))

    try:
        while True:
            if not stopping and stop.is_set():
                stopping = True
                signalled()
            if stopping:
                waiting.clear()
            while waiting and under_way < most:
                begin(waiting.popleft())
                under_way += 1
            if under_way:
                try:
                    number, pending = ended.get(timeout=_LOOK_EVERY_S)
                except Empty:
                    if time.monotonic() - asked_at < _MORE_EVERY_S:
                        continue
                else:
                    under_way -= 1
                    outcomes[number] = _outcome(pending)
            if more and not stopping and not waiting and under_way < most:
                asked_at = time.monotonic()
                waiting.extend(more(most - under_way if under_way else 0))
            if not waiting and not under_way:
                return [(job, outcomes[number]) for number, job in enumerate(started)]
    except BaseException as error:
        if not isinstance(error, Exception) and not stopping:
            signalled()
        raise
    finally:
        # Nothing may write any more when the leases are given back.
        while under_way:
            ended.get()
            under_way -= 1


def _outcome(pending: Pending[R | OfframpError]) -> R | OfframpError:
    try:
        return pending.result()
    except OfframpError as error:
        return error


@dataclass(frozen=True)
class Threads:
    """Workers that are threads of this process."""

    plan: Plan
    observer: Observer = SILENT
    stop: Stop = NEVER

    def run(self, jobs: Sequence[Job[R]], more: More[R] | None = None, /) -> Sequence[Outcome[Job[R], R]]:
        """Run each job on a thread; see `Workers.run`."""

        def start(job: Job[R]) -> Future[R | OfframpError]:
            return pool.submit(answer, lambda: job.run(self.plan, self.observer, self.stop))

        with ThreadPoolExecutor(self.plan.run.workers, thread_name_prefix="job") as pool:
            return hand_out(jobs, self.plan.run.workers, start, more, stop=self.stop)


def answer(run: Callable[[], R]) -> R | OfframpError:
    """Return the result, or the error that takes its place: a fault in one route must not cost the others theirs."""
    try:
        return run()
    except OfframpError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        _log.exception("a job failed")
        return PermanentError("E-INTERNAL", f"unexpected {origin(error)}")
