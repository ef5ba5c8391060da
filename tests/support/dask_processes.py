"""Dask schedulers and workers as processes of a test, each in a folder and an environment of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prefect_servers import running
from waiting import until

_MINIMAL = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
LOST_AFTER_S = 5
"""How long a worker may be silent before the scheduler gives its tasks to others; Dask allows no less."""


@dataclass(frozen=True)
class DaskProcesses:
    """A scheduler, and workers that join it."""

    folder: Path
    address: str
    process: psutil.Process

    @contextmanager
    def worker(self, name: str, *options: str, **environment: str) -> Iterator[psutil.Process]:
        """A worker of one thread that has joined, with these variables and hardly any other."""
        folder = self.folder / name
        folder.mkdir()
        start = ("distributed.cli.dask_worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny")
        more = ("--no-dashboard", "--name", name, *options)
        with running(self.log(name), _environment(environment), folder, *start, *more) as process:
            until(lambda: "Starting established connection" in self.log(name).read_text(), "worker", self.log(name))
            yield process

    def log(self, name: str) -> Path:
        """Return what a worker, or the ``scheduler``, has printed."""
        return self.folder / f"{name}.log"


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in _MINIMAL if name in os.environ} | dict(more)


@contextmanager
def dask_processes(folder: Path) -> Iterator[DaskProcesses]:
    """A scheduler that nobody has joined yet."""
    folder.mkdir()
    file = folder / "scheduler.json"
    start = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    environment = _environment({"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{LOST_AFTER_S}s"})
    with running(folder / "scheduler.log", environment, folder, *start, "--scheduler-file", str(file)) as process:
        until(lambda: file.exists() and file.read_text(), "scheduler", folder / "scheduler.log")
        yield DaskProcesses(folder, json.loads(file.read_text())["address"], process)
