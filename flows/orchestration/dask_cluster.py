"""The Dask cluster that a run starts on its own machine."""

from __future__ import annotations

import logging
from typing import Any


def local_cluster(workers: int) -> dict[str, Any]:
    """Return the arguments of a LocalCluster of so many processes that only its own run can use.

    A scheduler runs whatever code it is sent, and its port is open to every user of the machine. So scheduler and
    workers ask each other for a certificate, made anew for each cluster and kept in memory, and there is no dashboard.
    """
    from distributed.security import Security

    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "security": Security.temporary(),  # type: ignore[no-untyped-call]
    }


def quieten(level: int = logging.WARNING) -> None:
    """From now on the log of this process has only what Dask says at this level or above; with ``-v`` it has all.

    At lower levels Dask tells of each connection that it opens, and with a traceback of each that ends. Prefect names
    the address of a dashboard that there is not.
    """
    import distributed  # noqa: F401 - which sets the level that is set here

    if not logging.getLogger("flows").isEnabledFor(logging.INFO):
        for name in ("distributed", "prefect.task_runner.dask"):
            logging.getLogger(name).setLevel(level)
