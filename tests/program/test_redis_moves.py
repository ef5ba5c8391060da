"""A Redis that has another address than when the run began: the same server, its heir, or another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from waiting import until

Documents = Database[dict[str, Any]]


class Pair:
    """A primary and its replica, which can take its place."""

    def __init__(self, start: Callable[..., str]) -> None:
        self.primary = start()
        at = urlsplit(self.primary)
        self.replica = start("--replicaof", f"{at.hostname} {at.port}")
        with redis.Redis.from_url(self.primary) as client:
            until(lambda: client.info("replication").get("slave0", {}).get("state") == "online", "replica", limit_s=30)

    def fail_over(self) -> None:
        """The replica is the primary, and the primary is gone."""
        with redis.Redis.from_url(self.primary) as client, pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "NOSAVE", "NOW", "FORCE")
        with redis.Redis.from_url(self.replica) as client:
            client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def pair(redis_server: Callable[..., str]) -> Pair:
    return Pair(redis_server)


def moved(plan: Path, url: str) -> Path:
    content = yaml.safe_load(plan.read_text())
    content["targets"]["redis"]["url"] = url
    plan.write_text(yaml.safe_dump(content))
    return plan


@pytest.fixture
def plan(stores: Stores, database: Documents, pair: Pair, unique: str, tmp_path: Path) -> Path:
    database.things.insert_many([{"_id": number} for number in range(500)])
    routes = {"things": {"target": "redis", "mapper": "string", "key": f"{unique}:{{_id}}"}}
    written = moved(write_plan(tmp_path, stores, database.name, routes), pair.primary)
    assert offramp("backfill", written, folder=tmp_path).code == 0
    return written


def row(*arguments: Any, folder: Path) -> dict[str, Any]:
    done = offramp(*arguments, "--json", folder=folder)
    assert done.out, done.err
    found: dict[str, Any] = json.loads(done.out)["routes"][0]
    return found


def test_the_heir_of_a_server_is_the_place_of_the_run_at_another_address(
    plan: Path, pair: Pair, tmp_path: Path
) -> None:
    pair.fail_over()
    moved(plan, pair.replica)
    checked = offramp("check", plan, folder=tmp_path)
    assert (checked.code, "E-CONFIG-CHANGED" in checked.err) == (0, False), checked.err
    found = row("verify", "--level", "full", plan, folder=tmp_path)
    assert (found["verdict"], found["held"], found["extra"]) == ("clean", 500, 0)
    # What was acknowledged before may have been lost with the old server: only a full verification says that it is not.
    counts = row("verify", "--level", "counts", plan, folder=tmp_path)
    assert counts["verdict"] == "mismatches"
    assert "replaced by a fail-over" in json.dumps(counts)


def test_another_name_of_the_server_is_the_same_place(plan: Path, pair: Pair, tmp_path: Path) -> None:
    moved(plan, pair.primary.replace("127.0.0.1", "localhost"))
    assert row("backfill", plan, folder=tmp_path)["verdict"] == "clean"
    pair.fail_over()
    assert row("verify", "--level", "full", moved(plan, pair.replica), folder=tmp_path)["held"] == 500


def test_a_server_that_nothing_shows_to_be_the_same_is_refused(
    plan: Path, pair: Pair, redis_server: Callable[..., str], tmp_path: Path
) -> None:
    moved(plan, redis_server())
    for command in ("check", "backfill"):
        refused = offramp(command, plan, folder=tmp_path)
        assert "E-CONFIG-CHANGED" in refused.err
        assert "the server of its target was" in refused.err


def test_an_heir_is_not_enough_where_the_plan_has_changed_too(
    plan: Path, pair: Pair, unique: str, tmp_path: Path
) -> None:
    pair.fail_over()
    content = yaml.safe_load(moved(plan, pair.replica).read_text())
    content["routes"]["things"]["mapper"] = "hash"
    plan.write_text(yaml.safe_dump(content))
    assert "E-CONFIG-CHANGED" in offramp("backfill", plan, folder=tmp_path).err
