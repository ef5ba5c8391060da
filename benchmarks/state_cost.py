"""What the workers of a run cost their state on PostgreSQL: each asks as often as a worker, on its own connection."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, LiteralString
from urllib.parse import urlsplit

import bson
import psutil
import psycopg
from bson import ObjectId

from benchmarks.documents import identifier
from flows.copying.partition import CHECKPOINT_S
from flows.demo import servers
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.state.leases import Lease
from stores.state.state import State
from stores.state.work_requests import LOOK_EVERY_S

WORKERS = (10, 100, 300)
_PARTITIONS_PER_WORKER = 4
_BATCH = Tally(
    *(1000, 0, 0, 1000, 1000, Counter(objectId=1000), Counter()),
    sizes=Counter({10: 900, 11: 100}),
)
_LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class Used:
    """What the server has done so far."""

    at: float
    transactions: int
    cpu_s: float
    written: int
    """Bytes of its log of changes."""


def state_cost(folder: Path, seconds: float, workers: Sequence[int] = WORKERS) -> Iterator[dict[str, Any]]:
    """Yield what so many workers, each with a partition under way, cost the state in a second, and what it holds."""
    password = token_urlsafe()
    with servers.postgresql(folder / "postgresql", "-c", "max_connections=400", password=password) as url:
        port = urlsplit(url).port
        login = f"postgresql://postgres:{password}@127.0.0.1:{port}"
        with psycopg.connect(f"{login}/template1", autocommit=True) as beside:
            for number in workers:
                yield _measured(f"{login}/postgres?schema=s{number}", beside, number, seconds)


def _measured(url: str, beside: psycopg.Connection[Any], workers: int, seconds: float) -> dict[str, Any]:
    bounds = [bson.encode({"_id": ObjectId(identifier(number))}) for number in range(workers * _PARTITIONS_PER_WORKER)]
    parts = [Partition(at, *ends) for at, ends in enumerate(zip([None, *bounds], [*bounds, None], strict=True))]
    ended = threading.Event()
    with closing(State(url, "plan", _LEASE_S)) as state, ThreadPoolExecutor(workers) as threads:
        lease = state.leases.acquire("events", outlived=True)
        state.partitions.begin(lease, {}, "", "", parts)
        ready = threading.Barrier(workers + 1)
        for number in range(workers):
            threads.submit(_work, url, lease, number, ready, ended)
        try:
            ready.wait(120)
            first = _used(beside)
            ended.wait(seconds)
            last = _used(beside)
            connections = _one(beside, "SELECT numbackends FROM pg_stat_database WHERE datname = 'postgres'")
        finally:
            ended.set()
    elapsed_s = last.at - first.at
    with psycopg.connect(url.partition("?")[0], autocommit=True) as inside:
        held = (
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = %s AND relkind = 'r'"
        )
        kilobytes = _one(inside, held, f"s{workers}") // 1024
    return {
        "workers": workers,
        "transactions_s": round((last.transactions - first.transactions) / elapsed_s, 1),
        "partitions": len(parts),
        "state_kb": kilobytes,
        "log_kb_s": round((last.written - first.written) / 1024 / elapsed_s),
        "connections": connections,
        "server_cpu_percent": round(100 * (last.cpu_s - first.cpu_s) / elapsed_s),
    }


def _work(url: str, lease: Lease, number: int, ready: threading.Barrier, ended: threading.Event) -> None:
    """Ask the state as often as a worker process does that copies the partition."""
    # As it comes to another process, which does not renew it.
    elsewhere = Lease(lease.plan, lease.route, lease.owner, lease.fence)
    with closing(State(url, "plan", _LEASE_S)) as state, state.claims.claimed(elsewhere, "copy", number) as own:
        ready.wait(120)
        began, turn = time.monotonic(), 0
        while not ended.wait(max(0.0, began + turn * LOOK_EVERY_S - time.monotonic())):
            state.work_requests.latest(own)
            if turn % round(CHECKPOINT_S / LOOK_EVERY_S) == 0:
                position = bson.encode({"_id": ObjectId(identifier(turn))})
                state.partitions.checkpoint(own, number, position, _BATCH)
            turn += 1


def _used(beside: psycopg.Connection[Any]) -> Used:
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'"
    cpu_s = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            cpu_s += sum(process.cpu_times()[:2])
    written = _one(beside, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    return Used(time.monotonic(), _one(beside, query), cpu_s, written)


def _one(database: psycopg.Connection[Any], query: LiteralString, *values: str) -> int:
    row = database.execute(query, values or None).fetchone()
    return int(row[0]) if row else 0
