"""R70, R71, R73: a run on a Redis that drops keys, has too little memory or was replaced never ends with clean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan
from pymongo.database import Database
from redis import Redis

from flows.plan.load import load
from flows.reporting.model import Report
from flows.run.backfill import backfill
from flows.run.verify import verify
from flows.run.workers import Run, Threads


@pytest.fixture
def run(mongodb_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Callable[..., Run]:
    """Give a run of two routes to this Redis."""

    def made(url: str, **connection: Any) -> Run:
        routes = {name: {"use_case": "cache", "key": f"{unique}:{name}:{{_id}}"} for name in ("one", "two")}
        targets = {"redis": {"url": url, "retry_deadline_s": 10, **connection}}
        path = write_plan(tmp_path, Stores(mongodb_url, url, "", ""), unique, routes, targets=targets)
        loaded = load(path)
        return Run(loaded, loaded.chosen(()), Threads(loaded))

    for name in ("one", "two"):
        database[name].insert_many([{"_id": number, "text": f"{number:06d}" * 200} for number in range(800)])
    return made


def reasons(report: Report) -> list[str]:
    return [reason for route in report.routes for reason in route.reasons]


def test_evictions_are_never_called_clean(run: Callable[..., Run], redis_server: Callable[..., str]) -> None:
    url = redis_server("--maxmemory", "2500kb", "--maxmemory-policy", "allkeys-random", "--appendonly", "no")
    evicting = run(url, allow_eviction=True, max_memory_percent=1e6)
    unverified = backfill(evicting, "none")
    assert unverified.verdict == "failed"
    assert any("evicted_keys" in reason for reason in reasons(unverified))
    with Redis.from_url(url) as client:
        client.config_set("maxmemory", 0)
    verified = verify(evicting, "full")
    assert verified.verdict == "mismatches"
    assert any("evicted_keys" in reason for reason in reasons(verified))
    assert backfill(evicting, "full", restart=True).verdict == "clean"


def test_routes_that_do_not_fit_together_stop_before_the_second(
    run: Callable[..., Run], redis_server: Callable[..., str]
) -> None:
    url = redis_server("--maxmemory", "4mb", "--appendonly", "no")
    routes = {route.verdict: route for route in backfill(run(url), "full").routes}
    assert sorted(routes) == ["clean", "failed"]  # Either was measured first.
    assert "E-RDS-MEMORY" in routes["failed"].reasons[0]
    with Redis.from_url(url) as client:
        assert client.dbsize() == 800
        client.config_set("maxmemory", "12mb")
    assert backfill(run(url), "full").verdict == "clean"


def test_a_server_that_was_replaced_needs_a_full_verification(
    run: Callable[..., Run], redis_server: Callable[..., str]
) -> None:
    url = redis_server("--appendonly", "no")
    assert backfill(run(url), "counts").verdict == "clean"
    with Redis.from_url(url) as client:  # It was a replica for a moment, and may have lost what came last.
        client.replicaof("127.0.0.1", "1")
        client.replicaof("NO", "ONE")
    counted = verify(run(url), "counts")
    assert counted.verdict == "mismatches"
    assert all("--level full" in reason for reason in reasons(counted))
    assert verify(run(url), "full").verdict == "clean"
