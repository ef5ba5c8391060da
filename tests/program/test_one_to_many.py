"""One document to many items under its own partition key, copied and proven in both directions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from plans import Stores, write_plan
from pymongo.database import Database

from flows.plan.load import load
from flows.run.backfill import backfill
from flows.run.verify import verify
from flows.run.workers import Run, Threads


@pytest.fixture
def run(
    mongodb_url: str, dynamodb_endpoint: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> Callable[..., Run]:
    """Plan one route of orders."""

    def planned(**route: Any) -> Run:
        keys = {"use_case": "entity", "table": unique, **route}
        path = write_plan(tmp_path, Stores(mongodb_url, "", dynamodb_endpoint, ""), database.name, {"orders": keys})
        plan = load(path, {})
        return Run(plan, list(plan.routes.values()), Threads(plan))

    return planned


@pytest.mark.parametrize(
    ("explode", "sort", "sorts"),
    [
        pytest.param({"position": "line"}, "LINE#{line}", ["LINE#0", "LINE#1", "LINE#2"], id="position"),
        pytest.param({"id": "sku"}, "LINE#{_id.element}", ["LINE#s0", "LINE#s1", "LINE#s2"], id="field"),
    ],
)
def test_elements_stand_under_their_parent_and_ghosts_among_them_are_found(
    explode: dict[str, str],
    sort: str,
    sorts: list[str],
    run: Callable[..., Run],
    database: Database[dict[str, Any]],
    dynamodb_endpoint: str,
    unique: str,
) -> None:
    database.orders.insert_many(
        {"_id": n, "at": "2024", "items": [{"sku": f"s{i}", "price": i} for i in range(n % 4)]} for n in range(40)
    )
    route = run(
        transforms=[{"explode": {"field": "items", "empty": "drop", **explode}}],
        key={"partition": "ORDER#{_id.parent}", "sort": sort},
    )
    row = backfill(route, "full").routes[0]
    assert (row.verdict, row.read, row.dropped, row.copied, row.records, row.held) == ("clean", 40, 10, 30, 60, 60)
    server = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)

    def order(number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.query(
            TableName=unique,
            KeyConditionExpression="pk = :order AND begins_with(sk, :line)",
            ExpressionAttributeValues={":order": {"S": f"ORDER#{number}"}, ":line": {"S": "LINE#"}},
        )["Items"]
        return found

    assert [one["sk"]["S"] for one in order(7)] == sorts
    assert [one["items"]["M"]["price"]["N"] for one in order(7)] == ["0", "1", "2"]
    assert order(8) == []
    # An element that left its array, one that never was, one that changed, one that is gone.
    database.orders.update_one({"_id": 7}, {"$pop": {"items": 1}})
    server.put_item(TableName=unique, Item={"pk": {"S": "ORDER#8"}, "sk": {"S": sorts[0]}})
    server.put_item(TableName=unique, Item={**order(11)[0], "at": {"S": "2025"}})
    server.delete_item(TableName=unique, Key={"pk": {"S": "ORDER#11"}, "sk": {"S": sorts[1]}})
    found = verify(route, "full").routes[0]
    assert (found.verdict, found.held, found.extra, found.differs, found.missing) == ("mismatches", 58, 2, 1, 1)
    assert any("ORDER#7" in address for address in found.samples["extra"])
