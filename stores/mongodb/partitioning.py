"""Where a collection is cut into partitions: what the server is asked, and the bounds that follow from its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stores.contract.source import Partition
from stores.errors import PermanentError
from stores.mongodb.ids import bound_of, place_among, typed_of

Pipeline = list[Mapping[str, Any]]

_SAMPLES_PER_PARTITION = 20
_FEWEST_PER_PARTITION = 2
_SAMPLES_FOR_BOUNDS = 20_000
"""Documents sampled for the bounds of thousands of partitions: each is a read at random, on a cold disk of 0.1 to 1 ms.
"""
_SAMPLES_PER_COLLECTION = 1_000
_FEWEST_IN_REST = 8
"""Sampled documents by which the rest of a partition is halved; by fewer its middle would be a guess."""
_MOST_WALKED = 1_000_000
"""Keys of the index that are passed over to find a middle: a server passes over about a million in a second."""
_ID_ALONE: Mapping[str, Any] = {"$project": {"_id": 1}}
_BY_ID: Mapping[str, Any] = {"$sort": {"_id": 1}}


COUNT_BY_TYPE: Mapping[str, Any] = {"$group": {"_id": {"$type": "$_id"}, "documents": {"$sum": 1}}}


def matching(where: Mapping[str, Any]) -> Pipeline:
    """Return the stages that let through what the route's filter does."""
    return [{"$match": where}] if where else []


def sample(where: Mapping[str, Any], number: int) -> Pipeline:
    """Return the pipeline for the `_id`s of so many documents, drawn at random."""
    return [*matching(where), {"$sample": {"size": number}}, _ID_ALONE]


def sample_for_bounds(where: Mapping[str, Any], partitions: int) -> Pipeline:
    """Return the pipeline for a sample in order, from which the bounds of so many partitions follow.

    The sample is of the whole collection, and the filter chooses among it: a server that filters first reads all that
    matches before it draws.
    """
    number = max(partitions * _FEWEST_PER_PARTITION, min(partitions * _SAMPLES_PER_PARTITION, _SAMPLES_FOR_BOUNDS))
    return [{"$sample": {"size": number}}, *matching(where), _ID_ALONE, _BY_ID]


def strides(
    position_past: Callable[[bytes | None, bytes | None, int], bytes | None], documents: int, partitions: int
) -> list[bytes]:
    """Return positions in order that cut about so many documents into so many equal parts, the first one included.

    `position_past` returns the position so many documents past one, given that one, an end or None, and the number.
    """
    positions: list[bytes] = []
    at = position_past(None, None, 0)
    while at is not None and len(positions) < partitions:
        positions.append(at)
        at = position_past(at, None, max(1, documents // partitions))
    return positions


def drawn(positions: Iterable[bytes], number: int) -> list[bytes]:
    """Return so many of the positions, drawn uniformly, each once; all if there are fewer."""
    reservoir: list[bytes] = []
    for seen, at in enumerate(positions):
        if seen < number:
            reservoir.append(at)
        elif (index := random.randrange(seen + 1)) < number:
            reservoir[index] = at
    return reservoir


def partitions_between(collection: str, sampled: Sequence[bytes], partitions: int) -> list[Partition]:
    """Return at most so many partitions, disjoint and covering every document whatever was sampled (R105).

    `sampled` are positions in the server's order.
    """
    step = len(sampled) / partitions
    quantiles = [sampled[int(step * number)] for number in range(1, partitions)] if sampled else []
    # By the typed text: on shards 1 and 1.0 may both stand, and a server takes no range that begins where it ends.
    distinct: dict[str, bytes] = {}
    for bound in quantiles:
        with suppress(PermanentError):  # An _id that cannot be decoded bounds nothing.
            distinct.setdefault(typed_of(collection, bound), bound)
    bounds = list(distinct.values())
    return [
        Partition(number, lower, upper)
        for number, (lower, upper) in enumerate(zip([None, *bounds], [*bounds, None], strict=True))
    ]


def sample_of_rest(collection: str, partition: Partition, after: bytes) -> Pipeline:
    """Return the pipeline for a sample, in order, of what is left of the partition past `after`.

    The sample is of the whole collection, without the filter, so that no server reads all that matches; it is the
    server that compares `_id`s of mixed types.
    """
    within = [{"$gt": ["$_id", {"$literal": bound_of(collection, after)}]}]
    if partition.upper is not None:
        within.append({"$lt": ["$_id", {"$literal": bound_of(collection, partition.upper)}]})
    return [
        {"$sample": {"size": _SAMPLES_PER_COLLECTION}},
        _ID_ALONE,
        {"$match": {"$expr": {"$and": within}}},
        _BY_ID,
    ]


def too_few(sampled: Sequence[bytes], documents: int, least: int) -> bool:
    """Return whether a sample of the rest of a partition tells too little of it.

    So it is in a large collection, of which each sampled document represents very many.
    """
    return len(sampled) < _FEWEST_IN_REST and documents / _SAMPLES_PER_COLLECTION * _FEWEST_IN_REST > least


def halfway(position_past: Callable[[int], bytes | None], least: int) -> bytes | None:
    """Return a position a quarter to half of the way through a rest; None where it has fewer than `least` documents.

    `position_past` returns the position past so many documents, None if there are not as many. A very large rest is cut
    earlier than at a quarter.
    """
    number = max(1, least // 2)
    half, last = None, position_past(number)
    while last is not None and (number := number * 2) <= _MOST_WALKED:
        if (further := position_past(number)) is None:
            break
        half, last = last, further
    return half


def estimated(sampled: Sequence[bytes], documents: int) -> float:
    """Return about how many documents the sample represents, given the collection's number of documents."""
    return len(sampled) * max(1, documents / _SAMPLES_PER_COLLECTION)


def median(collection: str, sampled: Sequence[bytes], partition: Partition, after: bytes) -> bytes | None:
    """Return the median of a sample; None if it is an end of the range."""
    return within(collection, sampled[len(sampled) // 2], partition, after)


def within(collection: str, at: bytes, partition: Partition, after: bytes) -> bytes | None:
    """Return the position; None if it is an end of the range past `after`."""
    # By the typed text, as above: a range must not begin where it ends.
    ends = [after] if partition.upper is None else [after, partition.upper]
    return None if typed_of(collection, at) in {typed_of(collection, end) for end in ends} else at


def count_by_place(collection: str, where: Mapping[str, Any], partitions: Sequence[Partition]) -> Pipeline:
    """Return the pipeline for the count of documents per BSON type of `_id` and place of the partition in the order."""
    bounds = [bound_of(collection, part.lower) for part in partitions if part.lower is not None]
    group = {"type": {"$type": "$_id"}, "part": place_among(bounds)}
    return [*matching(where), {"$group": {"_id": group, "documents": {"$sum": 1}}}]
