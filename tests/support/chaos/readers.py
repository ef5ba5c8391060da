"""What the targets hold, read with their own drivers and past the proxies, and what the source holds."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import bson
from botocore.exceptions import ClientError
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from redis import Redis

from chaos.documents import Document, StoredDocument
from chaos.forms import Content, RouteCase, comparable

_CODEC: CodecOptions[Any] = CodecOptions(tz_aware=True)
_RAW: Any = CodecOptions(RawBSONDocument)


class Readers:
    """Direct connections to the source and the targets."""

    def __init__(
        self, mongodb: str, redis: Sequence[str], dynamodb: str, elasticsearch: str, *, authority: Path | None = None
    ) -> None:
        """Take the addresses of the servers themselves; of Redis those of all nodes; DynamoDB's certificate is by this.

        No authority is needed where DynamoDB is reached without TLS.
        """
        self.mongodb: MongoClient[Document] = MongoClient(mongodb, tz_aware=True)
        self.nodes: list[Any] = [Redis.from_url(url) for url in redis]
        self.dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=dynamodb,
            region_name="eu-west-1",
            aws_access_key_id="soak",
            aws_secret_access_key="soak",
            verify=str(authority) if authority else None,
        )
        self.elasticsearch = elasticsearch

    def remove(self, route: RouteCase) -> None:
        """Remove all that the route has at its place, so that a soak of hours does not fill the servers."""
        for node in self.nodes:
            for key in set(node.scan_iter(match=f"{route.place}*", count=1000)):
                node.delete(key)
        if route.target == "dynamodb":
            with suppress(ClientError):
                self.dynamodb.delete_table(TableName=route.place)
        elif route.target == "elasticsearch":
            request = urllib.request.Request(f"{self.elasticsearch}/{route.place}", method="DELETE")
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30):
                pass

    def close(self) -> None:
        """End all connections."""
        self.mongodb.close()
        for node in self.nodes:
            node.close()

    def documents(self, database: str, collection: str) -> Sequence[Document]:
        """Return all documents of a collection."""
        stored: Any = self.mongodb[database].get_collection(collection, codec_options=_RAW)
        return [StoredDocument(bson.decode(found.raw, _CODEC), bytes(found.raw)) for found in stored.find()]

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
        for node in self.nodes:
            for key in set(node.scan_iter(match=f"{route.place}*", count=1000)):
                held.update(_at_key(node, route, key))
        return held

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


def _at_key(node: Any, route: RouteCase, key: bytes) -> Mapping[str, Content]:
    name = key.decode("utf-8", "backslashreplace")
    expires = node.pexpiretime(key)
    at = expires if expires >= 0 else None
    match node.type(key).decode():
        case "string":
            text = node.get(key) or b""
            return {name: ("string", text if route.form == "counter" else _json(text), at)}
        case "hash":
            return {name: ("hash", dict(node.hgetall(key)), at)}
        case "set":
            members = node.smembers(key)
            if route.form == "member":
                return {f"{name}\n{_text(member)}": ("element", None, at) for member in members}
            return {name: ("set", frozenset(members), at)}
        case "list":
            return {name: ("list", tuple(node.lrange(key, 0, -1)), at)}
        case "zset":
            members = node.zrange(key, 0, -1, withscores=True)
            return {f"{name}\n{_text(member)}": ("member", score, at) for member, score in members}
        case "stream":
            entries = node.execute_command("XRANGE", key, "-", "+")
            return {f"{name}\n{_text(entry)}": ("entry", _pairs(fields), at) for entry, fields in entries}
        case "none":
            return {}
        case other:
            return {name: (other, None, at)}
