"""A state as tests begin it, and a look at its database past the modules under test."""

from __future__ import annotations

import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import waiting
from postgresqls import raw

from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.state.leases import Lease
from stores.state.state import State

LIMIT_S = 30.0
FINGERPRINT = {"mapper": "item", "options": {"key": None}}
PARTITIONS = [Partition(0, None, b"m"), Partition(1, b"m", None)]


def begun(state: State, route: str = "orders") -> Lease:
    """Return the lease on a route that was begun with two partitions."""
    lease = state.leases.acquire(route)
    state.partitions.begin(lease, FINGERPRINT, "source-uuid", "table-id", PARTITIONS)
    return lease


def tally(documents: int) -> Tally:
    """Return what so many documents count that were copied."""
    return Tally(read=documents, copied=documents, id_types=Counter(int=documents))


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after 30 seconds."""
    waiting.until(condition, "condition come true", limit_s=LIMIT_S)


def execute(url: str, script: str) -> None:
    """Run SQL on the database itself."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=LIMIT_S)) as db:
            db.executescript(script)
    else:
        with closing(raw(url)) as postgresql:
            postgresql.execute(script)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Ask the database itself."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            return db.execute(query).fetchall()
    with closing(raw(url)) as postgresql:
        return postgresql.execute(query).fetchall()


def everything(url: str) -> list[list[tuple[object, ...]]]:
    """Return all that is on record of routes, partitions, rejects and leases, in order."""
    tables = ("routes", "partitions", "rejects", "leases")
    return [sorted(rows(url, f"SELECT * FROM {table}"), key=repr) for table in tables]
