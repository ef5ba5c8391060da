"""find -> pipeline of HSET: ``python -m benchmarks.scripts.redis_hash MONGODB COLLECTION REDIS PREFIX``."""

import json
import sys
from typing import Any

import redis
from pymongo import MongoClient


def text(value: Any) -> str:
    """Return a text for a field: JSON for what is nested."""
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


def main(mongodb: str, collection: str, url: str, prefix: str) -> None:
    """Copy each document into a hash, a field for each of its top-level fields."""
    pipeline = redis.Redis.from_url(url).pipeline(transaction=False)
    for number, document in enumerate(MongoClient[dict[str, Any]](mongodb).bench[collection].find(), 1):
        pipeline.hset(f"{prefix}:{document['_id']}", mapping={name: text(value) for name, value in document.items()})
        if number % 500 == 0:
            pipeline.execute()
    pipeline.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
