"""DynamoDB as far as a migration asks for it; items are acknowledged, and kept only if asked to."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from benchmarks.exchange import Reply, Request

_PAGE_ITEMS = 2_000
_MADE = 1_700_000_000.0


class Refused(Exception):
    """An error as DynamoDB answers it: its code."""


@dataclass
class _Table:
    """A table's definition, and its items by the JSON of their keys where they are kept."""

    definition: Mapping[str, Any]
    items: dict[bytes, bytes] = field(default_factory=dict)

    def key(self, attributes: Mapping[str, Any]) -> bytes:
        return orjson.dumps([attributes[key["AttributeName"]] for key in self.definition["KeySchema"]])


class DynamoDB:
    """Tables that exist once they are created; writing to one that was not is refused as AWS refuses it."""

    def __init__(self, keep: bool) -> None:
        """Keep items, or only acknowledge them."""
        self._keep = keep
        self._tables: dict[str, _Table] = {}

    def answer(self, request: Request, /) -> Reply:
        """Return the answer to one request."""
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        known: Mapping[str, Callable[[Any], Any]] = {
            "CreateTable": self._create,
            "DescribeTable": lambda asked: {"Table": self._table(asked["TableName"]).definition},
            "DescribeTimeToLive": lambda _: {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}},
            "BatchGetItem": self._get,
            "Scan": self._scan,
        }
        if operation == "BatchWriteItem":
            if self._keep:
                self._put(orjson.loads(request.body))
            return _reply({"UnprocessedItems": {}}, writes=True)
        try:
            if operation not in known:
                raise Refused("UnknownOperationException")
            return _reply(known[operation](orjson.loads(request.body)))
        except Refused as refused:
            fault = {"__type": f"com.amazonaws.dynamodb.v20120810#{refused}", "message": str(refused)}
            return _reply(fault, status=400)

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            raise Refused("ResourceNotFoundException")
        return self._tables[name]

    def _create(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        name = asked["TableName"]
        definition = {
            "TableName": name,
            "TableStatus": "ACTIVE",
            "TableArn": f"arn:aws:dynamodb:eu-west-1:000000000000:table/{name}",
            "TableId": f"{name}-{time.monotonic_ns()}",
            "CreationDateTime": _MADE,
            "KeySchema": asked["KeySchema"],
            "AttributeDefinitions": asked["AttributeDefinitions"],
            "BillingModeSummary": {"BillingMode": asked.get("BillingMode", "PROVISIONED")},
        }
        self._tables[name] = _Table(definition)
        return {"TableDescription": definition}

    def _put(self, asked: Mapping[str, Any]) -> None:
        for name, requests in asked["RequestItems"].items():
            table = self._table(name)
            for request in requests:
                item = request["PutRequest"]["Item"]
                table.items[table.key(item)] = orjson.dumps(item)

    def _get(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        responses: dict[str, list[orjson.Fragment]] = {}
        for name, wanted in asked["RequestItems"].items():
            table = self._table(name)
            found = (table.items.get(table.key(key)) for key in wanted["Keys"])
            responses[name] = [orjson.Fragment(item) for item in found if item is not None]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _scan(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a page of keys alone, whatever was asked for; a position is a number of items."""
        table = self._table(asked["TableName"])
        names = [key["AttributeName"] for key in table.definition["KeySchema"]]
        first = int(asked.get("ExclusiveStartKey", {}).get("at", {}).get("N", 0))
        page = [
            dict(zip(names, orjson.loads(key), strict=True)) for key in islice(table.items, first, first + _PAGE_ITEMS)
        ]
        last = first + len(page)
        position = {"LastEvaluatedKey": {"at": {"N": str(last)}}} if last < len(table.items) else {}
        return {"Items": page, "Count": len(page), "ScannedCount": len(page), **position}


def _reply(content: Any, *, status: int = 200, writes: bool = False) -> Reply:
    body = orjson.dumps(content)
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "x-amzn-requestid": "0" * 52,
        "x-amz-crc32": str(zlib.crc32(body)),
    }
    return Reply(body, status, headers, writes)
