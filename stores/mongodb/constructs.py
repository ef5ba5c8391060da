"""What a run sends besides reads in order, sent once by a check: a refusal must not be found out in mid-run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from stores.contract.source import Partition
from stores.mongodb import partitioning
from stores.mongodb.flavour import Flavour

_ONE: Mapping[str, Any] = {"$limit": 1}
_TWO_PARTITIONS = (
    Partition(0, None, b"\x0e\x00\x00\x00\x10_id\x00\x00\x00\x00\x00\x00"),
    Partition(1, b"\x0e\x00\x00\x00\x10_id\x00\x00\x00\x00\x00\x00", None),
)
"""Cut at the `_id` 0."""


@dataclass(frozen=True, slots=True)
class Construct:
    """A question that a run asks, made small."""

    name: str
    """What it is for, as a message has it."""
    send: Callable[[], object]


def constructs(
    flavour: Flavour, collection: Collection[dict[str, Any]], session: ClientSession | None, *, view: bool
) -> Iterator[Construct]:
    """Yield what a run asks of a server of this flavour for such a collection; nothing of it reads much."""

    def aggregated(pipeline: Sequence[Mapping[str, Any]], **how: Any) -> Callable[[], object]:
        def send() -> object:
            with closing(collection.aggregate(pipeline, session, **how)) as rows:
                return list(rows)

        return send

    yield Construct(
        "a count by type of _id ($group, $type)",
        aggregated([_ONE, partitioning.COUNT_BY_TYPE], allowDiskUse=True),
    )
    by_id = {"_id": {"$in": [0]}}
    yield Construct("a read of documents by _id ($in)", lambda: collection.find_one(by_id, session=session))
    if view:
        return  # It is one partition, and a sample of it would read all of what it is made of.
    if flavour.sample:
        yield Construct("a random sample ($sample)", aggregated(partitioning.sample({}, 1)))
    if flavour.expressions:
        counted = partitioning.count_by_place(collection.name, {}, _TWO_PARTITIONS)
        yield Construct("a count by partition ($cond, $literal)", aggregated([_ONE, *counted], allowDiskUse=True))
