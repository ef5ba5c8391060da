"""A DynamoDB target of the test's own table, and a client that sees the table behind its back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from stores.dynamodb.target import DynamoDBTarget
from stores.throttling.backoff import TIMING, Timing


@pytest.fixture(scope="module")
def server(dynamodb_endpoint: str) -> Any:
    """A client of the test's own, which sees the tables behind the target's back."""
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


@pytest.fixture
def place(dynamodb_endpoint: str, unique: str) -> Iterator[Callable[..., DynamoDBTarget]]:
    """Make targets of one table, which send one request after another; a `deadline_s` of 0 gives up at once."""
    made: list[DynamoDBTarget] = []

    def target(
        deadline_s: float = 60, route: str = "", requests: int = 1, timing: Timing = TIMING, **placement: Any
    ) -> DynamoDBTarget:
        connection = DynamoDBTarget.Connection(
            endpoint=dynamodb_endpoint, retry_deadline_s=deadline_s, requests=requests
        )
        made.append(DynamoDBTarget(connection, DynamoDBTarget.Placement(**placement), route or unique, timing=timing))
        return made[-1]

    yield target
    for one in made:
        one.close()


@pytest.fixture
def target(place: Callable[..., DynamoDBTarget]) -> DynamoDBTarget:
    prepared = place()
    prepared.prepare()
    return prepared
