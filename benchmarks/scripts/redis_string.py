"""find -> pipeline of SET: ``python -m benchmarks.scripts.redis_string MONGODB COLLECTION REDIS PREFIX``."""

import json
import sys
from typing import Any

import redis
from pymongo import MongoClient


def main(mongodb: str, collection: str, url: str, prefix: str) -> None:
    """Copy each document into a string of JSON."""
    pipeline = redis.Redis.from_url(url).pipeline(transaction=False)
    for number, document in enumerate(MongoClient[dict[str, Any]](mongodb).bench[collection].find(), 1):
        pipeline.set(f"{prefix}:{document['_id']}", json.dumps(document, default=str))
        if number % 500 == 0:
            pipeline.execute()
    pipeline.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
