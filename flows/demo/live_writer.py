"""The application of `offramp demo --live`: a process of its own that goes on writing while its data is moved."""

from __future__ import annotations

import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

from stores.errors import PermanentError

_PAUSE_S = 0.005
_IDS = 300


@contextmanager
def writing(uri: str, database: str) -> Iterator[None]:
    """A process inserts, changes and deletes documents until the body ends.

    Raises PermanentError if the process ended before the body.
    """
    # The writer ends when its standard input closes, so it never outlives this process.
    writer = subprocess.Popen([sys.executable, "-m", "flows.demo.live_writer", uri, database], stdin=subprocess.PIPE)
    try:
        yield
        if writer.poll() is not None:
            raise PermanentError("E-DEMO-WRITER", "the demo's writer ended too early; run the demo again")
    finally:
        if writer.stdin is not None:
            writer.stdin.close()
        writer.wait()


def main(uri: str, name: str) -> None:
    """Write until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the demo, which ends this process.
    chance = random.Random(name)
    with MongoClient[dict[str, Any]](uri) as client:
        database = client[name]
        collections = [name for name in sorted(database.list_collection_names()) if not name.startswith("system.")]
        ids = {
            name: [document["_id"] for document in database[name].find({}, {"_id": 1}).limit(_IDS)]
            for name in collections
        }
        gone: list[tuple[str, Any]] = []
        number = 0
        while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            number += 1
            collection = chance.choice(collections)
            documents, at = database[collection], chance.choice(ids[collection])
            what = chance.random()
            if what < 0.7:
                documents.update_one(
                    {"_id": at}, {"$set": {"visits": number, "reviews": number % 40, "rating": number % 11 / 2}}
                )
            elif what < 0.85:
                if (found := documents.find_one_and_delete({"_id": at})) is not None:
                    gone.append((collection, found))
            elif gone:
                where, document = gone.pop(0)
                database[where].insert_one({**document, "visits": number})


if __name__ == "__main__":
    main(*sys.argv[1:])
