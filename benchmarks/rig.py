"""A source and targets that are up, and the programs run between them, each time into a place of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

from benchmarks.documents import Size, document
from benchmarks.processes import Cost, prefect, run, serving
from benchmarks.replay import DATABASE
from flows.demo import servers

LegName = Literal["dynamodb", "redis_string", "redis_hash", "elasticsearch"]
_INSERTED_AT_ONCE = 1_000
FEWEST = 1
_SOON = {"retry_deadline_s": 20}
"""A server of ours that does not answer is a fault, not something to wait for."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One way documents go: what the plan says of it, and the script that does the same."""

    name: LegName
    target: Literal["dynamodb", "redis", "elasticsearch"]
    mapper: str
    place: str
    """The key of the route that says where its records go."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the route."""

    @property
    def script(self) -> str:
        """The module of the script."""
        return f"benchmarks.scripts.{self.name}"


LEGS: Mapping[LegName, Leg] = {
    leg.name: leg
    for leg in (
        Leg("dynamodb", "dynamodb", "item", "table"),
        Leg("redis_string", "redis", "string", "key"),
        Leg("redis_hash", "redis", "hash", "key"),
        # The script has no mapping either; a census reads the collection once more before it is copied.
        Leg("elasticsearch", "elasticsearch", "document", "index", {"census": "none"}),
    )
}


@dataclass(frozen=True, slots=True)
class Documents:
    """A collection to be copied."""

    size: Size
    number: int

    @property
    def name(self) -> str:
        """The collection's name."""
        return f"kb{self.size}_{self.number}"


@dataclass(frozen=True, slots=True)
class Copy:
    """A plan whose one route has its own place in a target."""

    leg: Leg
    plan: Path


@dataclass(frozen=True)
class Rig:
    """Servers that are up, and what runs against them."""

    source: str
    targets: Mapping[str, str]
    folder: Path
    state: str | None = None
    """The state of each plan; None for a file beside it."""
    _numbers: count[int] = field(default_factory=count)

    def floor(self, documents: Documents) -> Cost:
        """Return what it costs to read the collection and drop it."""
        return run([sys.executable, "-m", "benchmarks.scripts.floor", self.source, documents.name])

    def script(self, leg: Leg, documents: Documents) -> Cost:
        """Return what the script costs."""
        place = self._place()
        self._make_way(leg)
        if leg.target == "dynamodb":
            self._table(place)
        return run([sys.executable, "-m", leg.script, self.source, documents.name, self.targets[leg.target], place])

    def plan(self, leg: Leg, documents: Documents, **run_keys: int | str) -> Copy:
        """Return a plan to copy the collection into a new place; no other copy to this target stands any more."""
        place = self._place()
        self._make_way(leg)
        folder = self.folder / place
        folder.mkdir()
        connection = {"region": "eu-west-1", "endpoint": "{}"} if leg.target == "dynamodb" else {"url": "{}"}
        route = {"collection": documents.name, "target": leg.target, "mapper": leg.mapper}
        written = {
            "name": place,
            "source": {"uri": self.source, "database": DATABASE},
            "targets": {
                leg.target: {key: text.format(self.targets[leg.target]) for key, text in connection.items()} | _SOON
            },
            "run": run_keys,
            **({} if self.state is None else {"state": self.state}),
            "routes": {"copy": {**route, **leg.more} | {leg.place: place + (":{_id}" if leg.place == "key" else "")}},
        }
        path = folder / "plan.yaml"
        path.write_text(json.dumps(written), encoding="utf-8")  # Every JSON is YAML.
        return Copy(leg, path)

    def backfill(self, copy: Copy, *options: str, environment: Mapping[str, str] | None = None) -> Cost:
        """Return what `offramp backfill` costs, without verification."""
        return _offramp(["backfill", str(copy.plan), "--verify", "none", "--json", *options], environment)

    def verify(self, copy: Copy) -> Cost:
        """Return what `offramp verify` of what was copied costs; a difference is a failure."""
        return _offramp(["verify", str(copy.plan), "--json"])

    def sync(self, copy: Copy) -> Cost:
        """Return what `offramp sync` of what changed costs."""
        return _offramp(["sync", str(copy.plan), "--json"])

    def touch(self, documents: Documents) -> None:
        """Every document of the collection has changed."""
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](self.source) as client:
            client[DATABASE][documents.name].update_many({}, {"$inc": {"views": 1}})

    def _place(self) -> str:
        return f"place{next(self._numbers)}"

    def _make_way(self, leg: Leg) -> None:
        """What earlier runs left in a target that keeps it is gone."""
        if leg.target == "redis":
            import redis

            with redis.Redis.from_url(self.targets["redis"]) as server:
                server.flushall()

    def _table(self, name: str) -> None:
        import boto3

        made = boto3.client(
            "dynamodb",
            endpoint_url=self.targets["dynamodb"],
            region_name="eu-west-1",
            aws_access_key_id="benchmark",
            aws_secret_access_key="benchmark",  # noqa: S106 - opens nothing
        )
        made.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


@contextmanager
def null_rig(
    folder: Path, collections: Sequence[Documents], legs: Sequence[Leg], *, keep: bool = False, latency_ms: float = 0
) -> Iterator[Rig]:
    """Give a rig whose source replays and whose targets acknowledge, but for Redis, which is a real server.

    With `keep` the targets hold what they are given, so that it can be verified.
    """
    with ExitStack() as running:
        specifications = [f"{each.name}:{each.size}:{each.number}" for each in collections]
        port = running.enter_context(serving("benchmarks.replay", "0", *specifications))
        targets: dict[str, str] = {}
        for kind in sorted({leg.target for leg in legs}):
            if kind == "redis":
                targets[kind] = running.enter_context(servers.redis(folder / kind, "--appendonly", "no"))
            else:
                options = [*(["--keep"] if keep else []), "--latency-ms", str(latency_ms)]
                sink = running.enter_context(serving("benchmarks.sink", kind, "0", *options))
                targets[kind] = f"http://127.0.0.1:{sink}"
        yield Rig(f"mongodb://127.0.0.1:{port}/", targets, folder)


@contextmanager
def real_rig(folder: Path, collections: Sequence[Documents], legs: Sequence[Leg]) -> Iterator[Rig]:
    """Give a rig of the embedded servers, with the collections in the database."""
    starting = {
        "dynamodb": servers.dynamodb,
        "redis": servers.redis,
        "elasticsearch": servers.elasticsearch,
    }
    with ExitStack() as running:
        source = running.enter_context(servers.mongodb(folder / "mongodb"))
        _insert(source, collections)
        targets: dict[str, str] = {}
        for kind in sorted({leg.target for leg in legs}):
            targets[kind] = running.enter_context(starting[kind](folder / kind))
        yield Rig(source, targets, folder)


@contextmanager
def changing_rig(folder: Path, collections: Sequence[Documents], legs: Sequence[Leg]) -> Iterator[Rig]:
    """Give a rig whose source is the embedded server, which tells changes; its targets are those of `null_rig`."""
    with (
        servers.mongodb(folder / "mongodb") as source,
        null_rig(folder, [Documents(1, FEWEST)], legs) as rig,
    ):
        _insert(source, collections)
        yield replace(rig, source=source)


def _insert(source: str, collections: Sequence[Documents]) -> None:
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](source) as client:
        for each in collections:
            for first in range(0, each.number, _INSERTED_AT_ONCE):
                numbers = range(first, min(each.number, first + _INSERTED_AT_ONCE))
                client[DATABASE][each.name].insert_many([document(number, each.size) for number in numbers])


def _offramp(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    return run([sys.executable, "-m", "flows.cli.main", *arguments], environment)


@contextmanager
def prefect_api(folder: Path) -> Iterator[str]:
    """Give the URL of a Prefect server that is up and empty."""
    folder.mkdir()
    home = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with prefect(folder / "server.log", home) as port:
        yield f"http://127.0.0.1:{port}/api"
