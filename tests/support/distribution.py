"""How the tests are shared out to processes: how many there are, and which files begin first."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import pytest

MOST_WORKERS = 4
"""Each worker starts servers of its own: more workers would take more memory than a machine has to spare."""

FIRST = (
    "hosts/test_dask.py",
    "program/test_dask_elsewhere.py",
    "program/test_prefect_flows.py",
    "program/test_deploy.py",
    "program/test_prefect_signals.py",
    "program/test_overtaken.py",
    "hosts/test_coordinators.py",
    "benchmarks/test_benchmark.py",
    "program/test_demo.py",
    "stores/test_fenced_requests.py",
    "program/test_prefect_elsewhere.py",
    "program/test_prefect_privacy.py",
    "flows/orchestration/test_temporary_server.py",
    "program/test_signals.py",
    "hosts",
    "program",
    "benchmarks",
    "plugins",
    "chaos",
    "packaging",
    "stores",
)
"""Files and folders of tests, those that take longest first: one that began last would be waited for in the end."""


def worker_count(config: pytest.Config) -> int:
    """Return how many processes share the tests: none where only one file is named, which is faster without.

    Tests that use a server or a process wait for half of their time, so twice as many as there are processors.
    """
    files = {argument.split("::")[0] for argument in config.args}
    if len(files) == 1 and Path(*files).is_file():
        return 0
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    waits = "not server" not in config.option.markexpr
    return min(processors * (2 if waits else 1), MOST_WORKERS)


def put_longest_first(items: list[pytest.Item], tests: Path) -> None:
    """Sort the tests below the folder by `FIRST`; what is not named there follows in the order it had."""
    place = cache(partial(_place, tests=tests))  # There are many tests to a file.
    items.sort(key=lambda item: place(item.path))


def _place(path: Path, tests: Path, first: Sequence[str] = FIRST) -> int:
    named = [number for number, name in enumerate(first) if path.is_relative_to(tests / name)]
    return min(named, default=len(first))
