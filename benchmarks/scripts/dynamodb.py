"""find -> Table.batch_writer: ``python -m benchmarks.scripts.dynamodb MONGODB COLLECTION ENDPOINT TABLE``."""

import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

import boto3
from bson import Decimal128, ObjectId
from pymongo import MongoClient


def plain(value: Any) -> Any:
    """Return the value in types that boto3's TypeSerializer takes."""
    match value:
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case float():
            return Decimal(str(value))
        case Decimal128():
            return value.to_decimal()
        case datetime():
            return value.isoformat()
        case ObjectId():
            return str(value)
        case _:
            return value


def main(mongodb: str, collection: str, endpoint: str, table: str) -> None:
    """Copy the collection into the table, which exists."""
    documents = MongoClient[dict[str, Any]](mongodb).bench[collection].find()
    with boto3.resource("dynamodb", endpoint_url=endpoint).Table(table).batch_writer() as batch:
        for document in documents:
            batch.put_item(Item=plain(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
