"""The laws of a target, on every target there is; test_laws_judged.py judges the laws."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import boto3
import orjson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from elasticsearch import Elasticsearch, NotFoundError
from redis import Redis
from redis.cluster import RedisCluster

from mappers.contract import Record
from mappers.dynamodb.records import Item, Key, item, item_from_store
from mappers.elasticsearch.records import IndexDocument, index_document
from mappers.redis.json_document import Json
from mappers.redis.records import Hash, List, Member, Set, String
from stores.dynamodb.target import DynamoDBTarget
from stores.elasticsearch.target import ElasticsearchTarget
from stores.memory import MemoryTarget, forget, held
from stores.redis.target import RedisTarget
from stores.testing.laws import TargetLaws

FAR = 4_102_444_800_000
"""2100-01-01, for records that expire but not while a test runs."""


def values(number: int) -> dict[str, Any]:
    """A value of every kind a store must give back exactly."""
    return {
        "number": number,
        "long": Int64(2**53 + 1),
        "double": 0.1,
        "decimal": Decimal128("1.10"),
        "text": f"é 😀 \x00 {number}",
        "empty": "",
        "nothing": None,
        "yes": True,
        "at": datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        "id": ObjectId("65a000000000000000000001"),
        "bytes": b"\x00\xff",
        "uuid": Binary.from_uuid(UUID(int=7)),
        "nested": {"list": [1, {"deep": [[]]}, "two"], "empty": {}},
    }


class TestMemory(TargetLaws):
    @pytest.fixture
    def target(self, unique: str) -> Iterator[MemoryTarget]:
        yield self.made(unique)
        forget(unique)

    @pytest.fixture
    def another(self, unique: str) -> MemoryTarget:
        return self.made(unique)

    @staticmethod
    def made(name: str) -> MemoryTarget:
        target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(name=name), "route")
        target.prepare()
        return target

    @pytest.fixture
    def records(self) -> list[String]:
        return [String(f"k{number}", b"old") for number in range(3)]

    @pytest.fixture
    def changed(self) -> list[String]:
        return [String(f"k{number}", b"new") for number in range(3)]

    @pytest.fixture
    def many(self) -> Callable[[int], list[String]]:
        return lambda n: [String(f"many {number}", b"%d" % number) for number in range(n)]

    @pytest.fixture
    def peek(self, unique: str) -> Callable[[str], Record | None]:
        return lambda address: held(unique).get(address)

    @pytest.fixture
    def count(self, unique: str) -> Callable[[], int]:
        return lambda: len(held(unique))


class TestRedis(TargetLaws):
    """Whole keys of every type beside members of a sorted set; `changed` turns keys of one type into another's."""

    @pytest.fixture
    def connection(self, redis_url: str) -> RedisTarget.Connection:
        return RedisTarget.Connection(url=redis_url)

    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[Redis]:
        with Redis.from_url(redis_url) as client:
            yield client

    @pytest.fixture
    def target(self, connection: RedisTarget.Connection, unique: str) -> Iterator[RedisTarget]:
        yield from opened(RedisTarget(connection, RedisTarget.Placement(), unique))

    @pytest.fixture
    def another(self, connection: RedisTarget.Connection, unique: str) -> Iterator[RedisTarget]:
        yield from opened(RedisTarget(connection, RedisTarget.Placement(), unique))

    @pytest.fixture
    def records(self, unique: str) -> list[String | Hash | Set | List | Member]:
        return [
            String(f"{unique}:string", b"\x00\xff plain", FAR),
            String(f"{unique}:becomes a hash", b"{}"),
            Hash(f"{unique}:hash", ((b"a", b"1"), (b"", b""), (b"\xff", b"\x00"))),
            Hash(f"{unique}:becomes a string", ((b"a", b"1"),), FAR),
            Hash(f"{unique}:é 😀*?[x]", ((b"gone later", b"1"), (b"stays", b"1"))),
            Set(f"{unique}:set", (b"a", b"", b"\xff")),
            List(f"{unique}:list", (b"a", b"", b"a", b"\xff"), FAR),
            List(f"{unique}:becomes a set", (b"a", b"b")),
            Member(unique, "first é", -0.1),
            Member(unique, "", 2.0**53),
        ]

    @pytest.fixture
    def changed(self, unique: str) -> list[String | Hash | Set | List | Member]:
        return [
            String(f"{unique}:string", b""),
            Hash(f"{unique}:becomes a hash", ((b"a", b"1"), (b"b", b"2")), FAR),
            Hash(f"{unique}:hash", ((b"a", b"1"), (b"", b"more"), (b"\xff", b"\x00"), (b"new", b"x" * 1000))),
            String(f"{unique}:becomes a string", b"{}", FAR + 1),
            Hash(f"{unique}:é 😀*?[x]", ((b"stays", b"1"),), FAR),
            Set(f"{unique}:set", (b"a", b"new"), FAR),
            List(f"{unique}:list", (b"a", b"a", b""), FAR + 1),
            Set(f"{unique}:becomes a set", (b"a", b"b")),
            Member(unique, "first é", 1e308),
            Member(unique, "", float("-inf")),
        ]

    @pytest.fixture
    def many(self, unique: str) -> Callable[[int], list[String | Hash | Set | List | Member]]:
        def some(n: int) -> list[String | Hash | Set | List | Member]:
            return [
                (
                    String(f"{unique}:many:{number}", b"%d" % number),
                    Hash(f"{unique}:many:{number}", ((b"n", b"%d" % number),)),
                    Member(unique, f"many {number}", number / 7),
                    Set(f"{unique}:many:{number}", (b"%d" % number, b"x")),
                    List(f"{unique}:many:{number}", (b"x", b"%d" % number, b"x")),
                )[number % 5]
                for number in range(n)
            ]

        return some

    @pytest.fixture
    def peek(self, client: Redis) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            if address.startswith('["'):
                key, member = json.loads(address)
                score = client.zscore(key, member)
                return None if score is None else Member(key, member, score)
            kind = cast(bytes, client.type(address))
            expires = client.pexpiretime(address)
            expires_at_ms = None if expires < 0 else expires
            if kind == b"set":
                return Set(address, tuple(cast(set[bytes], client.smembers(address))), expires_at_ms)
            if kind == b"list":
                return List(address, tuple(cast(list[bytes], client.lrange(address, 0, -1))), expires_at_ms)
            if kind == b"string":
                return String(address, cast(bytes, client.get(address)), expires_at_ms)
            if kind == b"hash":
                return Hash(address, tuple(cast(dict[bytes, bytes], client.hgetall(address)).items()), expires_at_ms)
            assert kind == b"none"
            return None

        return look

    @pytest.fixture
    def count(self, client: Redis, unique: str) -> Callable[[], int]:
        return lambda: sum(1 for _ in client.scan_iter(f"{unique}:*", count=1000)) + client.zcard(unique)


class TestRedisJson(TestRedis):
    """JSON documents beside strings, each of which may become the other."""

    @pytest.fixture
    def connection(self, redis_json_url: str) -> RedisTarget.Connection:
        return RedisTarget.Connection(url=redis_json_url)

    @pytest.fixture
    def client(self, redis_json_url: str) -> Iterator[Redis]:
        with Redis.from_url(redis_json_url) as client:
            yield client

    @pytest.fixture
    def records(self, unique: str) -> list[Any]:
        return [
            Json(f"{unique}:all", b'{"a":[1,1.5,-0.0,null,true,"\\u0000\xc3\xa9"],"b":9007199254740993,"":{}}', FAR),
            Json(f"{unique}:becomes a string", b'{"a":1}', FAR),
            String(f"{unique}:becomes json", b"text", FAR),
            Json(f"{unique}:loses names", b'{"a":1,"b":{"c":[1,2]}}'),
        ]

    @pytest.fixture
    def changed(self, unique: str) -> list[Any]:
        return [
            Json(f"{unique}:all", b'{"a":[1,1.5,0.0,null,true,"\\u0000\xc3\xa9"],"b":9007199254740993,"":{}}'),
            String(f"{unique}:becomes a string", b"{}"),
            Json(f"{unique}:becomes json", b'{"a":"text"}'),
            Json(f"{unique}:loses names", b'{"b":{"c":[2,1]}}', FAR),
        ]

    @pytest.fixture
    def many(self, unique: str) -> Callable[[int], list[Any]]:
        return lambda n: [Json(f"{unique}:many:{number}", b'{"n":%d}' % number) for number in range(n)]

    @pytest.fixture
    def peek(self, client: Redis) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            kind, expires = client.type(address), client.pexpiretime(address)
            if kind == b"none":
                return None
            held, command = (Json, "JSON.GET") if kind == b"ReJSON-RL" else (String, "GET")
            return held(address, client.execute_command(command, address), None if expires < 0 else expires)

        return look


class TestRedisCluster(TestRedis):
    @pytest.fixture
    def connection(self, redis_cluster: list[str]) -> RedisTarget.Connection:
        return RedisTarget.Connection(url=redis_cluster[0], cluster=True)

    @pytest.fixture
    def client(self, redis_cluster: list[str]) -> Iterator[Redis]:
        with RedisCluster.from_url(redis_cluster[1]) as client:
            yield cast(Redis, client)  # It has the same commands.


class TestDynamoDB(TargetLaws):
    @pytest.fixture
    def target(self, dynamodb_endpoint: str, unique: str) -> Iterator[DynamoDBTarget]:
        yield from opened(self.made(dynamodb_endpoint, unique))
        boto3.client("dynamodb", endpoint_url=dynamodb_endpoint).delete_table(TableName=unique)

    @pytest.fixture
    def another(self, dynamodb_endpoint: str, unique: str) -> Iterator[DynamoDBTarget]:
        yield from opened(self.made(dynamodb_endpoint, unique))

    @staticmethod
    def made(endpoint: str, table: str) -> DynamoDBTarget:
        return DynamoDBTarget(
            DynamoDBTarget.Connection(region="eu-west-1", endpoint=endpoint),
            DynamoDBTarget.Placement(table=table),
            "orders",
        )

    @pytest.fixture
    def records(self) -> list[Item]:
        return [item({"_id": f"{kind} é", **values(kind)}) for kind in range(3)] + [item({"_id": "x", "a": 1, "b": 2})]

    @pytest.fixture
    def changed(self) -> list[Item]:
        return [
            item({"_id": "0 é"}),
            item({"_id": "1 é", **values(9), "more": "x" * 100_000}),
            item({"_id": "2 é", "number": "no number any more"}),
            item({"_id": "x", "b": 2}),
        ]

    @pytest.fixture
    def many(self) -> Callable[[int], list[Item]]:
        return lambda n: [item({"_id": f"many {number}", "n": number}) for number in range(n)]

    @pytest.fixture
    def peek(self, dynamodb_endpoint: str, unique: str) -> Callable[[str], Record | None]:
        client = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)

        def look(address: str) -> Record | None:
            answer = client.get_item(TableName=unique, Key=json.loads(address), ConsistentRead=True)
            return item_from_store(answer["Item"], Key()) if "Item" in answer else None

        return look

    @pytest.fixture
    def count(self, dynamodb_endpoint: str, unique: str) -> Callable[[], int]:
        client = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)
        pages = client.get_paginator("scan")
        return lambda: sum(
            page["Count"] for page in pages.paginate(TableName=unique, Select="COUNT", ConsistentRead=True)
        )


class TestElasticsearch(TargetLaws):
    @pytest.fixture
    def client(self, elasticsearch_url: str) -> Iterator[Elasticsearch]:
        with Elasticsearch(elasticsearch_url) as client:
            yield client

    @pytest.fixture
    def target(self, elasticsearch_url: str, unique: str, client: Elasticsearch) -> Iterator[ElasticsearchTarget]:
        yield from opened(self.made(elasticsearch_url, unique))
        client.indices.delete(index=unique)

    @pytest.fixture
    def another(self, elasticsearch_url: str, unique: str) -> Iterator[ElasticsearchTarget]:
        yield from opened(self.made(elasticsearch_url, unique))

    @staticmethod
    def made(url: str, index: str) -> ElasticsearchTarget:
        return ElasticsearchTarget(
            ElasticsearchTarget.Connection(url=url), ElasticsearchTarget.Placement(index=index), "orders"
        )

    @pytest.fixture
    def records(self) -> list[IndexDocument]:
        awkward = ["s:a/b?c#d%2F e", 's:"quoted" é 😀', "n:1"]
        return [index_document(values(number), name) for number, name in enumerate(awkward)]

    @pytest.fixture
    def changed(self) -> list[IndexDocument]:
        return [
            index_document({}, "s:a/b?c#d%2F e"),
            index_document({**values(9), "more": "x" * 100_000}, 's:"quoted" é 😀'),
            index_document({"number": 7}, "n:1"),
        ]

    @pytest.fixture
    def many(self) -> Callable[[int], list[IndexDocument]]:
        return lambda n: [index_document({"number": number}, f"many {number}") for number in range(n)]

    @pytest.fixture
    def peek(self, client: Elasticsearch, unique: str) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            try:
                found = client.get(index=unique, id=address)
            except NotFoundError:
                return None
            return IndexDocument(found["_id"], orjson.dumps(found["_source"]))

        return look

    @pytest.fixture
    def count(self, client: Elasticsearch, unique: str) -> Callable[[], int]:
        def total() -> int:
            client.indices.refresh(index=unique)
            return int(client.count(index=unique)["count"])

        return total


def opened(target: Any) -> Iterator[Any]:
    target.prepare()
    yield target
    target.close()
