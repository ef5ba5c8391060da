"""Dask as the cluster of a run: one elsewhere, or one that the run starts on its own machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import import_module
from operator import methodcaller
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from flows.orchestration import worker_entry
from flows.orchestration.clusters import ClusterGoneError, WorkerDiedError, gone
from flows.orchestration.worker_entry import Answer, Parcel, Setup
from flows.plan.cluster_address import host_of
from flows.run.attempts import DEATHS

_WORKER_MODULE = "flows.orchestration.dask_worker"
_CONNECT_WITHIN_S = 20
_ASK_WITHIN_S = 10

_log = logging.getLogger(__name__)


def local_cluster(workers: int, folder: str) -> dict[str, Any]:
    """Return the arguments of a LocalCluster of so many processes that only its own run can use.

    A scheduler runs whatever code it is sent, and its port is open to every user of the machine. So scheduler and
    workers ask each other for a certificate, made anew for each cluster and kept in memory, and there is no dashboard.
    A worker imports code from its folder, which would be below one in /tmp that another user may have made before; so
    it is below `folder`, which nobody else may write to.
    """
    from distributed.security import Security

    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "local_directory": folder,
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False, "allowed_failures": DEATHS - 1},
        "security": Security.temporary(),  # type: ignore[no-untyped-call]
    }


def quieten(level: int = logging.WARNING) -> None:
    """From now on the log of this process has only what Dask says at this level or above; with ``-v`` it has all.

    At lower levels Dask tells of each connection that it opens, and with a traceback of each that ends.
    """
    import distributed  # noqa: F401 - which sets the level that is set here

    if not logging.getLogger("flows").isEnabledFor(logging.INFO):
        logging.getLogger("distributed").setLevel(level)


@contextmanager
def dask_cluster(
    workers: int, address: str | None, abandons: Callable[[], bool], *, connect_within_s: float = _CONNECT_WITHIN_S
) -> Iterator[DaskCluster]:
    """Give the cluster at the address, or one of so many processes that is started here and ends with the body.

    The local one is left to end with this process where `abandons` returns True after the body: to close it takes
    seconds. Raises TransientError E-CLUSTER-GONE where no scheduler answers.
    """
    from distributed import Client

    quieten()
    folder = mkdtemp(prefix="offramp-dask-") if address is None else None
    local = _started(local_cluster(workers, folder)) if folder is not None else None
    try:
        client = Client(local or address, timeout=connect_within_s, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise gone("Dask", f"{address}: {error}") from error
    try:
        yield DaskCluster(client)
    finally:
        # What workers do not end in time, or cannot say any more, is of no use now: all jobs are done.
        quieten(logging.ERROR)
        if local is None or not abandons():
            client.close()  # type: ignore[no-untyped-call]
            if local is not None:
                local.close()
            if folder is not None:  # Workers that are left to end remove what is in it, and complain where it is gone.
                rmtree(folder, ignore_errors=True)


def _started(arguments: Mapping[str, Any]) -> Any:
    """Return a LocalCluster whose processes answer nothing by HTTP: it asks nobody who they are.

    Its scheduler is in this process, and puts a folder before those that this process imports from, as workers do.
    """
    import dask
    from distributed import LocalCluster

    settings: dict[str, Any] = {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}
    with dask.config.set({**settings, "temporary-directory": arguments["local_directory"]}):
        return LocalCluster(**arguments)  # type: ignore[no-untyped-call]


class DaskCluster:
    """`clusters.Cluster` on a Dask scheduler."""

    name = "Dask"

    def __init__(self, client: Any) -> None:
        """Take a client of the scheduler."""
        self._client = client

    def submit(self, parcel: Parcel, avoided: frozenset[str]) -> _Future:
        """Give the job to a worker; see `Cluster.submit`."""
        from toolz import compose

        others = [worker for worker in self.workers() if worker not in avoided] if avoided else []
        # Scheduler and worker unpickle names and bytes only. A worker whose task names a module that it has not would
        # end; so the task imports the module of offramp by its name, and fails.
        call = compose(methodcaller("do_parcel", parcel.setup, parcel.job), import_module)
        try:
            future = self._client.submit(
                *(call, _WORKER_MODULE),
                key=f"offramp-{uuid4().hex}",
                pure=False,
                workers=others or None,
                allow_other_workers=bool(others),
            )
        except Exception as error:
            raise ClusterGoneError(f"{type(error).__name__}: {error}") from error
        return _Future(self, future)

    def slots(self) -> int:
        """Return the number of the workers' threads."""
        return sum(worker["nthreads"] for worker in self._info().values())

    def workers(self) -> Sequence[str]:
        """Return the addresses of the workers."""
        return list(self._info())

    def hosts(self) -> Sequence[str]:
        """Return the hosts of the workers."""
        return [host_of(address) for address in self._info()]

    def without(self, module: str) -> Sequence[str]:
        """Return the addresses of workers that cannot import the module."""
        from importlib.util import find_spec

        async def ask() -> Any:
            return await self._client.run(find_spec, module, on_error="return")

        try:
            found = self._client.sync(ask, callback_timeout=_ASK_WITHIN_S)
        except Exception as error:  # noqa: BLE001 - it only names the workers
            _log.info("the workers of the cluster were not asked for their packages: %s", type(error).__name__)
            return ()
        return [worker for worker, spec in found.items() if spec is None or isinstance(spec, Exception)]

    def _info(self) -> dict[str, Any]:
        try:
            workers: dict[str, Any] = self._client.scheduler_info()["workers"]
        except Exception as error:
            raise ClusterGoneError(f"{type(error).__name__}: {error}") from error
        return workers


class _Future:
    """`clusters.Submitted` for a task of Dask."""

    def __init__(self, cluster: DaskCluster, future: Any) -> None:
        self._cluster = cluster
        self._future = future
        self._ended = threading.Event()
        future.add_done_callback(lambda _: self._ended.set())

    def wait(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def answer(self) -> Answer:
        import pickle

        from distributed import KilledWorker

        try:
            found: Answer = pickle.loads(self._future.result(timeout=_ASK_WITHIN_S))  # noqa: S301 - our own worker's
        except KilledWorker as error:
            raise WorkerDiedError(
                f"was lost {error.allowed_failures + 1} times, the last time {error.last_worker.address}"
            ) from error
        except CancelledError as error:
            raise ClusterGoneError(str(error).partition("\n")[0]) from error
        except TimeoutError as error:
            raise ClusterGoneError("it did not hand over the answer of a worker") from error
        except (ImportError, AttributeError) as error:
            return self._unfit(error)
        return found

    def cancel(self) -> None:
        self._future.cancel()

    def _unfit(self, error: Exception) -> Answer:
        """Return the answer for a worker that cannot import what it needs; it does not say which one it is."""
        workers = self._cluster.without("flows")
        fault = worker_entry.setup_error(
            f"{', '.join(workers) or 'one of them'} has not all of it ({error})", Setup.here()
        )
        return Answer(workers[0] if workers else "", fault)
