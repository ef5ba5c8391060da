"""A state in a file of its own, opened as one run or several would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgresqls import Postgresql

from stores.state.leases import Lease
from stores.state.state import State


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a state in a file, for tests of what is so there alone."""
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture
def postgresql_url(postgresql: Postgresql, unique: str) -> Iterator[str]:
    """The URL of a state in a schema of the test's own, for tests of what is so there alone."""
    yield postgresql.url(unique)
    postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a state in each database in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., State]]:
    """Open the state as another run would: ``opened(plan="shop", lease_s=60)``."""
    running: list[State] = []

    def open_one(plan: str = "shop", lease_s: float = 60) -> State:
        running.append(State(url, plan, lease_s))
        return running[-1]

    yield open_one
    for one in running:
        one.close()


@pytest.fixture
def state(opened: Callable[..., State]) -> State:
    return opened()


@pytest.fixture
def lease(state: State) -> Lease:
    return state.leases.acquire("orders")


@pytest.fixture
def process(starts_process: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run Python code in another process, with what most need imported; its standard output is a pipe."""
    running: list[subprocess.Popen[str]] = []
    head = (
        "import sys, time\nfrom collections import Counter\nimport bson\n"
        "from stores.contract import Partition, Reject, Tally\nfrom stores.errors import *\n"
        "from stores.state.state import State\n"
    )

    def run(code: str, *args: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", head + code, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        return running[-1]

    yield run
    for one in running:
        one.kill()
        one.communicate()
