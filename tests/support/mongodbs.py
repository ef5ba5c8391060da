"""A MongoDB as tests want it: with ids of every kind, overheard, and failing on demand."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import monitoring
from pymongo.database import Database

from mappers.documents.decoding import position
from stores.contract.source import Batch, Partition
from stores.mongodb import collection as mongodb

Documents = Database[dict[str, Any]]

EACH_SOURCE = pytest.mark.parametrize(
    "source_url", [None, "5.0", "8.0"], indirect=True, ids=["MongoDB", "DocumentDB 5.0", "DocumentDB 8.0"]
)
"""The law holds on each of these sources."""

MIXED_IDS: Sequence[Any] = [
    *(MinKey(), None, math.nan, -math.inf, -(2**31), 0.5, 1, Decimal128("3.3"), Int64(2**40), math.inf),
    *("", "a\0b", "é"),
    *({}, {"a": 1, "b": [1, "x"]}),
    *(b"\x00\x00", Binary(uuid.UUID(int=7).bytes, 4)),
    *(ObjectId("5f0000000000000000000001"), False, dt.datetime(1960, 2, 29, tzinfo=dt.UTC), Timestamp(1, 2), MaxKey()),
]
"""One of each kind, in BSON order (two that SecantusDB cannot keep apart or order aside: Code and Regex).

It sorts binary data by length first, as MongoDB does, but a plain filter of it compares the bytes alone; the two here
agree.
"""


class Listener(monitoring.CommandListener):
    """What a client sent; the driver offers no way to take a listener away again, so it listens on demand."""

    def __init__(self) -> None:
        self.heard: list[Mapping[str, Any]] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.heard is not None:
            self.heard.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


LISTENER = Listener()
monitoring.register(LISTENER)


@contextmanager
def failing(database: Documents, times: int, *commands: str, **how: Any) -> Iterator[None]:
    """The server fails the next commands of these names."""
    admin = database.client.admin
    data = {"failCommands": list(commands), **how}
    admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)
    try:
        yield
    finally:
        admin.command("configureFailPoint", "failCommand", mode="off")


def positions(documents: Iterable[Any]) -> list[bytes]:
    cut = [position(bytes(one.raw) if isinstance(one, RawBSONDocument) else one) for one in documents]
    assert None not in cut
    return [at for at in cut if at is not None]


def read(source: mongodb.CollectionSource, *partitions: Partition, after: bytes | None = None) -> list[bytes]:
    """Return the positions of all documents read, checking each batch's own."""
    found: list[bytes] = []
    for partition in partitions or (Partition(0),):
        for batch in source.read(partition, after):
            assert isinstance(batch, Batch)
            found += positions(batch.documents)
            assert batch.position == found[-1]
    return found


def partitions_between(*bounds: Any) -> list[Partition]:
    """Return partitions with these bounds, given as values or as positions, in this order."""
    edges = [None, *(one if isinstance(one, bytes) else bson.encode({"_id": one}) for one in bounds), None]
    return [Partition(number, edges[number], edges[number + 1]) for number in range(len(edges) - 1)]
