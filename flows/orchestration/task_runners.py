"""Prefect's task runners: which one a plan names, and workers that obey the run and not a signal to all processes.

Ctrl-C in a terminal, and Prefect's cancellation, send a signal to every process of a run. A worker that it ends leaves
a batch half done. So workers do not take signals: the run asks them, by the plan's state, to end at a checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import connection, parent_process, resource_tracker
from types import FrameType
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.orchestration.clusters import Cluster, ClusterRun, in_use, refuse_distant_workers
from flows.orchestration.dask_cluster import dask_cluster
from flows.orchestration.ray_cluster import ray_cluster
from flows.plan.model import Plan
from flows.plan.plan_keys import RunKeys
from stores.contract.stop import NEVER, PROCESS_STOP, Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_END_WITHIN_S = 4.0
"""How long a job has to reach a checkpoint in a worker process that is asked to end."""


def task_runner(run: RunKeys) -> TaskRunner[Any]:
    """Return the task runner: of processes, or of threads, each of which may wait for a worker of a cluster."""
    if run.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=run.workers, initializer=begin_worker)
    return ThreadPoolTaskRunner(max_workers=run.workers)


@contextmanager
def started_runner(plan: Plan, stop: Stop = NEVER, *, ends_soon: bool = False) -> Iterator[TaskRunner[Any]]:
    """Yield the task runner, started; its workers have ended after the body, but those of a cluster elsewhere.

    With `ends_soon`, for a process that ends soon after the body once the run is to stop, those of a Dask cluster end
    with it. Raises PlanError where the workers cannot share the plan's state, and TransientError E-CLUSTER-GONE where
    no cluster answers, before anything is written.
    """
    run = plan.run
    with ExitStack() as closing:
        with signals_blocked():
            cluster: Cluster | None = None
            if run.runner == "dask":
                abandons = lambda: ends_soon and stop.is_set()  # noqa: E731
                cluster = closing.enter_context(dask_cluster(run.workers, run.address, abandons))
            elif run.runner == "ray":
                cluster = closing.enter_context(ray_cluster(run.workers, run.address))
            if cluster is not None:
                refuse_distant_workers(plan, cluster)
                closing.enter_context(in_use(ClusterRun(plan, cluster, stop)))
            runner = closing.enter_context(task_runner(run))
        yield runner


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
