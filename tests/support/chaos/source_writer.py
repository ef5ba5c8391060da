"""An application that writes to the source while it is moved."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DuplicateKeyError

from chaos.documents import Document, Shape, mutation


def change(chance: random.Random, database: Database[Document], shapes: Mapping[str, Shape], number: int) -> None:
    """Make so many random changes."""
    ids = {name: [document["_id"] for document in database[name].find({}, {"_id": 1})] for name in shapes}
    for version in range(1, number + 1):
        _change(chance, database, shapes, ids, version)


def _change(
    chance: random.Random,
    database: Database[Document],
    shapes: Mapping[str, Shape],
    ids: Mapping[str, list[Any]],
    version: int,
) -> None:
    name = chance.choice(sorted(shapes))
    what, identifier, fields = mutation(chance, shapes[name], ids[name], version)
    documents = database[name]
    match what:
        case "insert":
            try:
                documents.insert_one(dict(fields))
            except DuplicateKeyError:
                return
            ids[name].append(identifier)
        case "update":
            documents.update_one({"_id": identifier}, {"$set": dict(fields)})
        case "replace":
            documents.replace_one({"_id": identifier}, dict(fields))
        case _:
            documents.delete_one({"_id": identifier})


class Writer:
    """Changes the source in a thread until its block ends."""

    def __init__(self, chance: random.Random, database: Database[Document], shapes: Mapping[str, Shape]) -> None:
        """Take the source; `chance` is the writer's own."""
        self._chance, self._database, self._shapes = chance, database, shapes
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Writer:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, after the change at work."""
        self._end.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        pause_s = self._chance.choice((0.002, 0.01, 0.05))
        names = self._shapes
        try:
            ids = {name: [found["_id"] for found in self._database[name].find({}, {"_id": 1})] for name in names}
            version = 1000
            while not self._end.wait(pause_s):
                version += 1
                with suppress(ConnectionFailure):  # The source may be restarted meanwhile.
                    _change(self._chance, self._database, self._shapes, ids, version)
        except Exception as error:  # noqa: BLE001 - it is raised where the block ends
            self._failure = error
