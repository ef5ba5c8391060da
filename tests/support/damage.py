"""Targets damaged in every way in which they can hold wrong data, and what a verification says of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from elasticsearch import Elasticsearch
from plans import Stores
from redis import Redis

from flows.plan.load import load
from stores.state.state import State
from stores.state.verification import StoredFinding

Damage = Callable[[Any, str], object]
DOCUMENTS = 12
UNTIL = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def whole(number: int) -> dict[str, Any]:
    return {"_id": number, "n": 5, "text": "long enough", "list": [1, 2, 3], "until": UNTIL, "map": {"a": None}}


def route_of(target: str, unique: str) -> dict[str, Any]:
    return {
        "dynamodb": {"use_case": "entity", "table": unique, "expires": "until"},
        "redis": {"use_case": "session", "key": f"{unique}:{{_id}}", "expires": "until"},
        "elasticsearch": {"use_case": "search", "index": unique},
    }[target]


def found(path: Path) -> list[tuple[str, str, str]]:
    """What the state says was found: kind, the text of the `_id`, whether the document's position is known."""
    loaded = load(path)
    state = State(loaded.state, loaded.name)
    rows: list[StoredFinding] = list(state.verification.findings("things"))
    state.close()
    return sorted((one.kind, one.id, "known" if one.position else "") for one in rows)


class DynamoDB:
    """Damages a table past the program."""

    def __init__(self, stores: Stores, unique: str) -> None:
        self.client = boto3.client("dynamodb", endpoint_url=stores.dynamodb)
        self.table = unique

    def put(self, number: int, change: Callable[[dict[str, Any]], object]) -> None:
        key = {"_id": {"S": f"n:{number}"}}
        item = self.client.get_item(TableName=self.table, Key=key)["Item"]
        change(item)
        self.client.put_item(TableName=self.table, Item=item)

    def damage(self) -> None:
        self.client.delete_item(TableName=self.table, Key={"_id": {"S": "n:0"}})
        self.put(1, lambda item: item.update(n={"S": "5"}))
        self.put(2, lambda item: item.update(text={"S": "long"}))
        self.put(3, lambda item: item["list"]["L"].reverse())
        self.put(4, lambda item: item.update(_ttl={"N": "4200000000"}))
        self.put(5, lambda item: item.pop("map"))
        self.put(6, lambda item: item.update(map={"M": {"a": {"BOOL": False}}}))
        self.put(7, lambda item: item.update(_id={"S": "s:7"}))


class InRedis:
    """Damages keys past the program."""

    def __init__(self, stores: Stores, unique: str) -> None:
        self.client = Redis.from_url(stores.redis)
        self.prefix = unique

    def put(self, number: int, change: Callable[[dict[str, Any]], object]) -> None:
        key = f"{self.prefix}:n:{number}"
        value = json.loads(self.client.get(key) or b"{}")
        change(value)
        self.client.set(key, json.dumps(value, separators=(",", ":")), keepttl=True)

    def damage(self) -> None:
        self.client.delete(f"{self.prefix}:n:0")
        self.put(1, lambda value: value.update(n="5"))
        self.put(2, lambda value: value.update(text="long"))
        self.put(3, lambda value: value["list"].reverse())
        self.client.persist(f"{self.prefix}:n:4")
        self.client.pexpireat(f"{self.prefix}:n:5", 4_200_000_000_123)
        self.client.delete(f"{self.prefix}:n:6")
        self.client.hset(f"{self.prefix}:n:6", "a", "b")
        self.client.set(f"{self.prefix}:s:7", '{"_id":"7"}')


class InElasticsearch:
    """Damages documents past the program."""

    def __init__(self, stores: Stores, unique: str) -> None:
        self.client = Elasticsearch(stores.elasticsearch)
        self.index = unique

    def put(self, number: int, change: Callable[[dict[str, Any]], object]) -> None:
        source = dict(self.client.get(index=self.index, id=f"n:{number}")["_source"])
        change(source)
        self.client.index(index=self.index, id=f"n:{number}", document=source)

    def damage(self) -> None:
        self.client.delete(index=self.index, id="n:0")
        self.put(1, lambda source: source.update(text=5))
        self.put(2, lambda source: source.update(text="long"))
        self.put(3, lambda source: source["list"].reverse())
        self.put(4, lambda source: source.update(until="2100-01-02T00:00:00.000Z"))
        self.put(5, lambda source: source.pop("map"))
        self.put(6, lambda source: source.update(map={"a": []}))
        self.client.index(index=self.index, id="s:7", document={})


DAMAGED: Mapping[str, Any] = {"dynamodb": DynamoDB, "redis": InRedis, "elasticsearch": InElasticsearch}
