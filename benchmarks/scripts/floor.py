"""The least that any copy costs: raw batches read and dropped, ``python -m benchmarks.scripts.floor MONGODB NAME``."""

import sys
from typing import Any

from pymongo import MongoClient


def main(mongodb: str, collection: str) -> None:
    """Read every document's bytes."""
    for _ in MongoClient[dict[str, Any]](mongodb).bench[collection].find_raw_batches(batch_size=1000):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
