"""How the rate grows with the workers of a Dask cluster, into a target that answers late: the CPUs have time left."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_urlsafe
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from benchmarks.documents import Size
from benchmarks.processes import child_environment, output
from benchmarks.rig import LEGS, Documents, Rig, null_rig, prefect_api
from flows.demo import servers
from flows.demo.dask_cluster import DaskCluster, dask_cluster
from stores.errors import PermanentError

WORKERS = (1, 2, 4, 8)
LATENCY_MS = 100
SIZE: Size = 10
"""Kilobytes of a document: a hundred make a batch, so that a worker that waits 100 ms for each needs little CPU."""
_PARTITIONS_PER_WORKER = 4
_WARMING_PER_WORKER = 400
_LOOK_EVERY_S = 0.25
_FEWEST_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Copied:
    """One run's copying, from its first job to its last."""

    docs_s: float
    transactions_s: float
    """Of the state, whoever asked for them."""
    connections: int
    """The most that the state had at once."""
    own_percent: float
    """How much of the machine's CPUs the run and its servers used."""
    cpu_percent: float
    """How busy the CPUs were, whoever kept them so."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was used so far, at a time in seconds since 1970."""

    at: float
    own_s: float
    """CPU seconds of the processes that this one has started."""
    busy_s: float
    """CPU seconds of the machine."""
    total_s: float
    """The same, busy or not."""
    transactions: int
    connections: int


def scaling(folder: Path, each: int, rounds: int, workers: Sequence[int] = WORKERS) -> Iterator[dict[str, Any]]:
    """Yield for each number of workers what all copy in a second, and its ratio to so many times the rate of one.

    Each worker copies `each` documents. A cluster is up, and each worker has worked before it is measured. The state is
    on PostgreSQL.
    """
    numbers = [workers_ * documents for workers_ in workers for documents in (each, _WARMING_PER_WORKER)]
    collections = [Documents(SIZE, number) for number in dict.fromkeys(numbers)]
    password = token_urlsafe()
    one: float | None = None
    with (
        null_rig(folder, collections, [LEGS["elasticsearch"]], latency_ms=LATENCY_MS) as rig,
        servers.postgresql(folder / "postgresql", password=password) as url,
        prefect_api(folder / "prefect") as api,
    ):
        port = urlsplit(url).port
        rig = replace(rig, state=f"postgresql://postgres:${{STATE_PASSWORD}}@127.0.0.1:{port}/postgres?schema=scale")
        look = looks_at(f"postgresql://postgres:{password}@127.0.0.1:{port}/template1")
        of_workers = {**child_environment(), "STATE_PASSWORD": password}
        for number in workers:
            with dask_cluster(folder / f"dask-{number}", number, lambda _: of_workers) as cluster:
                environment = {**of_workers, **cluster.environment, "PREFECT_API_URL": api}
                copy_all(rig, cluster, environment, number, _WARMING_PER_WORKER)
                found = [measured(rig, cluster, environment, look, number, each) for _ in range(rounds)]
            docs_s = median(run.docs_s for run in found)
            one = one or docs_s / number
            yield {
                "workers": number,
                "docs_s": round(docs_s),
                "ratio_to_linear": round(docs_s / (number * one), 2),
                "own_cpu_percent": round(median(run.own_percent for run in found)),
                "cpu_percent": round(median(run.cpu_percent for run in found)),
                "transactions_s": round(median(run.transactions_s for run in found), 1),
                "connections": max(run.connections for run in found),
            }


def copy_all(
    rig: Rig, cluster: DaskCluster, environment: Mapping[str, str], workers: int, each: int
) -> tuple[float, float]:
    """The workers of the cluster have copied so many documents each; returns when that began and how long it took."""
    keys: dict[str, int | str] = {"runner": "dask", "address": cluster.address, "workers": workers, "window": 1}
    leg = LEGS["elasticsearch"]
    leg = replace(leg, more={**leg.more, "partitions": workers * _PARTITIONS_PER_WORKER})
    copy = rig.plan(leg, Documents(SIZE, workers * each), **keys)
    command = [sys.executable, "-m", "flows.cli.main", "backfill", str(copy.plan), "--verify", "none", "--json"]
    (route,) = json.loads(output(command, environment))["routes"]
    return route["throughput"][0]["began"], route["backfill_s"]


def measured(
    rig: Rig,
    cluster: DaskCluster,
    environment: Mapping[str, str],
    look: Callable[[], Look],
    workers: int,
    each: int,
) -> Copied:
    """Return how fast the workers of the cluster copied so many documents each, and what that took."""
    with looking(look) as looks:
        began, seconds = copy_all(rig, cluster, environment, workers, each)
    during = [seen for seen in looks if began <= seen.at <= began + seconds]
    if len(during) < _FEWEST_LOOKS:
        raise PermanentError("E-BENCH", f"copying took {seconds:.1f} s, too short to be measured; add --documents")
    first, last = during[0], during[-1]
    cpu_s = (last.total_s - first.total_s) / 100
    return Copied(
        docs_s=workers * each / seconds,
        transactions_s=(last.transactions - first.transactions) / (last.at - first.at),
        connections=max(seen.connections for seen in during),
        own_percent=(last.own_s - first.own_s) / cpu_s,
        cpu_percent=(last.busy_s - first.busy_s) / cpu_s,
    )


def looks_at(url: str) -> Callable[[], Look]:
    """Return how to look at the machine and at the database beside the one of this URL, which is not counted."""
    query = "SELECT xact_commit + xact_rollback, numbackends FROM pg_stat_database WHERE datname = 'postgres'"
    ticks_s = os.sysconf("SC_CLK_TCK")

    def look() -> Look:
        own_s = 0.0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                own_s += sum(process.cpu_times()[:2])
        # See proc(5), /proc/stat.
        ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        with psycopg.connect(url, autocommit=True) as database:
            transactions, connections = database.execute(query).fetchone() or (0, 0)
        busy = sum(ticks) - ticks[3] - ticks[4]
        return Look(time.time(), own_s, busy / ticks_s, sum(ticks) / ticks_s, transactions, connections)

    return look


@contextmanager
def looking(look: Callable[[], Look]) -> Iterator[Sequence[Look]]:
    """Give what was seen, at one look after another, while the body lasts."""
    looks: list[Look] = []
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            looks.append(look())

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()
