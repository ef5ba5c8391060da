"""Prefect's task runners: which one a plan names, and workers that obey the run and not a signal to all processes.

Ctrl-C in a terminal, and Prefect's cancellation, send a signal to every process of a run. A worker that it ends leaves
a batch half done. So workers do not take signals: the run asks them, by the plan's state, to end at a checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import connection, parent_process, resource_tracker
from types import FrameType
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.orchestration.dask_cluster import local_cluster, quieten
from flows.plan.plan_keys import RunKeys
from stores.contract.stop import NEVER, PROCESS_STOP, Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_END_WITHIN_S = 4.0
"""How long a job has to reach a checkpoint in a worker process that is asked to end."""


def task_runner(run: RunKeys) -> TaskRunner[Any]:
    """Return the task runner: of threads or processes here, or of workers that Dask or Ray have or start here."""
    runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=run.workers)
    if run.runner == "processes":
        runner = ProcessPoolTaskRunner(max_workers=run.workers, initializer=begin_worker)
    elif run.runner == "dask":
        from prefect_dask.task_runners import DaskTaskRunner

        if run.address:
            runner = DaskTaskRunner(address=run.address)
        else:
            runner = DaskTaskRunner(cluster_kwargs=local_cluster(run.workers))
    elif run.runner == "ray":
        from prefect_ray.task_runners import RayTaskRunner

        alone = {"num_cpus": run.workers, "include_dashboard": False}
        runner = RayTaskRunner(address=run.address) if run.address else RayTaskRunner(init_kwargs=alone)
    return runner


@contextmanager
def started_runner(run: RunKeys, stop: Stop = NEVER, *, ends_soon: bool = False) -> Iterator[TaskRunner[Any]]:
    """Yield the task runner, started; its workers have ended after the body.

    With `ends_soon`, for a process that ends soon after the body once the run is to stop, those of a Dask cluster end
    with it: to close one takes seconds.
    """
    with ExitStack() as closing:
        with signals_blocked():
            runner = closing.enter_context(task_runner(run))
            if run.runner == "dask":
                quieten()
                _ = runner.client  # type: ignore[attr-defined]  # A cluster starts when it is first asked for.
        yield runner
        if run.runner == "dask":
            # What workers do not end in time, or cannot say any more, is of no use now: all jobs are done.
            quieten(logging.ERROR)
            if ends_soon and stop.is_set() and not run.address:
                closing.pop_all()


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Let threads and processes that begin in the body take no Ctrl-C and no SIGTERM."""
    resource_tracker.ensure_running()  # It unblocks signals when it starts.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in a worker process ------------------------------------------------------------------------------------------


def begin_worker() -> None:
    """This process, which a pool has started, ends with its parent, and soon after SIGTERM; it does not take Ctrl-C.

    A pool that has lost another of its workers ends those that are left by SIGTERM, and waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_soon)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _stop_soon(_number: int, _frame: FrameType | None) -> None:
    PROCESS_STOP.set()
    ending = threading.Timer(_END_WITHIN_S, os._exit, (128 + signal.SIGTERM,))
    ending.daemon = True
    ending.start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        connection.wait([parent.sentinel])
    os._exit(1)
