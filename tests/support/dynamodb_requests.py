"""Items for a DynamoDB target, and what happens to its requests on their way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
from botocore.awsrequest import AWSResponse

from mappers.dynamodb.records import Item, Key, item
from stores.dynamodb.target import DynamoDBTarget

NARROW = Key("_id")
WIDE = Key("customer", "created")


def items(count: int, **fields: Any) -> list[Item]:
    return [item({"_id": f"n:{number}", "number": number, **fields}) for number in range(count)]


def bad(address: str, value: str = '{"N":"123456789012345678901234567890123456789"}') -> Item:
    """An item that no mapper would make: DynamoDB refuses its value."""
    return Item(f'{{"_id":{{"S":"{address}"}}}}', f'{{"_id":{{"S":"{address}"}},"n":{value}}}'.encode())


def canonical(records: Mapping[str, Item]) -> dict[str, bytes]:
    return {address: record.canonical() for address, record in records.items()}


def planned(records: Sequence[Item]) -> dict[str, bytes]:
    return {record.address: record.canonical() for record in records}


def held(server: Any, table: str) -> dict[str, Any]:
    """Everything in a table keyed by `_id`, by the server's own word."""
    pages = server.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return {found["_id"]["S"]: found for page in pages for found in page["Items"]}


def answer(status: int, body: bytes) -> AWSResponse:
    return AWSResponse("", status, {}, SimpleNamespace(stream=lambda: iter([body])))


def failure(code: str, status: int = 400, text: str = "") -> AWSResponse:
    return answer(status, orjson.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": text}))


def left_over(count: int) -> Callable[[Any, Any], AWSResponse]:
    """Do the first operations of a batch for real and leave its last `count` unprocessed, as throttling does."""

    def respond(request: Any, server: Any) -> AWSResponse:
        [(table, operations)] = orjson.loads(request.body)["RequestItems"].items()
        done, left = operations[: len(operations) - count], operations[len(operations) - count :]
        if done:
            # Texts and numbers only: the test's client takes these as they are on the wire.
            server.batch_write_item(RequestItems={table: done})
        return answer(200, orjson.dumps({"UnprocessedItems": {table: left}}))

    return respond


class Schedule:
    """Says what happens to each request of an operation in turn; past its end, and at None, the server answers."""

    def __init__(self, target: DynamoDBTarget, server: Any, operation: str, *steps: Any) -> None:
        self.bodies: list[bytes] = []
        self._steps = steps
        self._server = server
        target.calls.client().meta.events.register(f"before-send.dynamodb.{operation}", self._respond)

    @property
    def sizes(self) -> list[int]:
        """The number of operations in each BatchWriteItem."""
        return [sum(map(len, orjson.loads(body)["RequestItems"].values())) for body in self.bodies]

    def _respond(self, request: Any, **_: Any) -> AWSResponse | None:
        self.bodies.append(bytes(request.body))
        step = self._steps[len(self.bodies) - 1] if len(self.bodies) <= len(self._steps) else None
        if isinstance(step, Exception):
            raise step
        return step(request, self._server) if callable(step) else copy.copy(step)
