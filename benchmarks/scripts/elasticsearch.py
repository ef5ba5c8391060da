"""find -> helpers.bulk: ``python -m benchmarks.scripts.elasticsearch MONGODB COLLECTION URL INDEX``."""

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bson import Decimal128, ObjectId
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from pymongo import MongoClient


def plain(value: Any) -> Any:
    """Return the value in types that the client's JSON takes."""
    match value:
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case ObjectId() | Decimal128():
            return str(value)
        case datetime():
            return value.isoformat()
        case _:
            return value


def actions(documents: Iterator[dict[str, Any]], index: str) -> Iterator[dict[str, Any]]:
    """Yield an action for each document."""
    for document in documents:
        identifier = str(document.pop("_id"))
        yield {"_index": index, "_id": identifier, "_source": plain(document)}


def main(mongodb: str, collection: str, url: str, index: str) -> None:
    """Copy the collection into the index."""
    documents = MongoClient[dict[str, Any]](mongodb).bench[collection].find()
    bulk(Elasticsearch(url), actions(iter(documents), index))


if __name__ == "__main__":
    main(*sys.argv[1:])
