"""What the targets hold, read with their own drivers and past the proxies, and what the source holds."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import boto3
from botocore.exceptions import ClientError
from bson.codec_options import CodecOptions
from pymongo import MongoClient
from redis import Redis

from chaos.documents import Document
from chaos.routes import Content, RouteCase, comparable

_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)


class Readers:
    """Direct connections to the source and the targets."""

    def __init__(self, mongodb: str, redis: str, dynamodb: str, elasticsearch: str) -> None:
        """Take the addresses of the servers themselves."""
        self.mongodb: MongoClient[Document] = MongoClient(mongodb, tz_aware=True)
        self._redis_url = redis
        self.redis: Any = Redis.from_url(redis)
        self.dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=dynamodb,
            region_name="eu-west-1",
            aws_access_key_id="soak",
            aws_secret_access_key="soak",
        )
        self.elasticsearch = elasticsearch

    def documents(self, database: str, collection: str) -> list[Document]:
        """Return all documents of a collection."""
        return list(self.mongodb[database].get_collection(collection, codec_options=_CODEC).find())

    def held(self, route: RouteCase) -> dict[str, Content]:
        """Return all records at the route's place."""
        match route.target:
            case "redis":
                return self._in_redis(route)
            case "dynamodb":
                return self._in_dynamodb(route)
            case _:
                return self._in_elasticsearch(route)

    def _in_redis(self, route: RouteCase) -> dict[str, Content]:
        held: dict[str, Content] = {}
        for key in set(self.redis.scan_iter(match=f"{route.place}*", count=1000)):
            held.update(self._at_key(route, key))
        return held

    def _at_key(self, route: RouteCase, key: bytes) -> Mapping[str, Content]:
        name = key.decode("utf-8", "backslashreplace")
        expires = self.redis.pexpiretime(key)
        at = expires if expires >= 0 else None
        match self.redis.type(key).decode():
            case "string":
                text = self.redis.get(key) or b""
                return {name: ("string", text if route.form == "counter" else _json(text), at)}
            case "hash":
                return {name: ("hash", dict(self.redis.hgetall(key)), at)}
            case "set":
                return {name: ("set", frozenset(self.redis.smembers(key)), at)}
            case "list":
                return {name: ("list", tuple(self.redis.lrange(key, 0, -1)), at)}
            case "zset":
                members = self.redis.zrange(key, 0, -1, withscores=True)
                return {f"{name}\n{_text(member)}": ("member", score, at) for member, score in members}
            case "stream":
                entries = self.redis.execute_command("XRANGE", key, "-", "+")
                return {f"{name}\n{_text(entry)}": ("entry", _pairs(fields), at) for entry, fields in entries}
            case "none":
                return {}
            case other:
                return {name: (other, None, at)}

    def _in_dynamodb(self, route: RouteCase) -> dict[str, Content]:
        names = ["pk", "sk"] if route.by_group else ["_id"]
        held: dict[str, Content] = {}
        try:
            for page in self.dynamodb.get_paginator("scan").paginate(TableName=route.place, ConsistentRead=True):
                for item in page["Items"]:
                    typed = {name: _typed(value) for name, value in item.items()}
                    at = typed["_ttl"]["N"] * 1000 if route.expires and "_ttl" in typed else None
                    held["\n".join(item[name]["S"] for name in names)] = ("item", typed, at)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
        return held

    def _in_elasticsearch(self, route: RouteCase) -> dict[str, Content]:
        try:
            self._post(f"{route.place}/_refresh", {})
            query = {"size": 10_000, "query": {"match_all": {}}}
            hits = self._post(f"{route.place}/_search", query)["hits"]["hits"]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return {}
        return {hit["_id"]: ("document", comparable(hit["_source"], ordered=False), None) for hit in hits}

    def _post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.elasticsearch}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def _text(content: bytes | str) -> str:
    return content if isinstance(content, str) else content.decode("utf-8", "backslashreplace")


def _pairs(fields: Any) -> tuple[tuple[bytes, bytes], ...]:
    flat = list(fields) if isinstance(fields, list | tuple) else [part for pair in fields.items() for part in pair]
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _json(text: bytes) -> Any:
    try:
        return comparable(json.loads(text), ordered=True)
    except ValueError:
        return ("no JSON", repr(text))


def _typed(value: Mapping[str, Any]) -> dict[str, Any]:
    [(kind, inner)] = value.items()
    match kind:
        case "N":
            return {"N": Decimal(inner)}
        case "M":
            return {"M": {name: _typed(below) for name, below in inner.items()}}
        case "L":
            return {"L": [_typed(below) for below in inner]}
        case _:
            return {kind: inner}
