"""Ranges of `_id`: the three ways to ask a server for one, and a watch over what it then gives.

Not every server can do each way, and some accept what they do not do. Which way is used is proven (`ranges`).

- `index`: the bounds of the index on `_id` (min, max and a hint), which compare across all types.
- `expression`: a filter by `$expr`, whose comparisons are across all types as well.
- `brackets`: a filter that names each type of `_id` in the range. The comparison of a plain filter sees only values of
  the bound's own type, so the bounds count within their types, and the types between them are in the range whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import PermanentError
from stores.mongodb.flavour import BoundWay
from stores.mongodb.id_order import CLASSES, compare, is_nan, place
from stores.mongodb.ids import bound_of

Filter = Mapping[str, Any]
BY_ID: Final = [("_id", 1)]
_UNDIVIDED = frozenset(("minKey", "undefined", "null", "maxKey", "array", "regex"))
"""Types that a bound does not divide: those of one value, and those that a filter compares otherwise than a sort does.

No collection has an `_id` of the latter. A view may: a read that goes on after one ends by the watch.
"""
_NUMBERS = "int"
_WITH_NAN = frozenset(("double", "decimal"))


@dataclass(frozen=True, slots=True)
class Way:
    """A way that a server obeys."""

    name: BoundWay
    unknown_types: frozenset[str] = frozenset()
    """With `brackets`, the types that the server does not know; so it has no `_id` of them."""
    nan: bool = True
    """Whether the server can be asked for NaN, which an index finds at once."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the proof of the ways came to."""

    way: Way | None
    """The best way that the server obeys; None where it obeys none."""
    left_out: Mapping[BoundWay, str]
    """Why each way before it was left out."""
    certain: bool = True
    """Whether there were documents enough to prove it."""


def range_query(
    collection: str, way: Way | None, where: Filter, lower: bytes | None, upper: bytes | None
) -> dict[str, Any]:
    """Return the arguments of a find for the documents from `lower` on and below `upper`, both positions or None.

    A query without bounds needs no way.
    """
    if way is None or (lower is None and upper is None):
        return {"filter": where}
    if way.name == "index":
        query: dict[str, Any] = {"filter": where}
        if lower is not None:
            query["min"] = {"_id": bound_of(collection, lower)}
        if upper is not None:
            query["max"] = {"_id": bound_of(collection, upper)}
        return query
    return {"filter": _both(where, range_filter(collection, way, lower, upper))}


def range_filter(collection: str, way: Way, lower: bytes | None, upper: bytes | None) -> Filter:
    """Return the range as a filter: by brackets where the way is that, or else as an expression; {} for no bounds."""
    if lower is None and upper is None:
        return {}
    if way.name == "brackets":
        return {"$or": list(_brackets(collection, way, lower, upper)) or [_NOTHING]}
    within: list[Filter] = []
    if lower is not None:
        within.append({"$gte": ["$_id", {"$literal": bound_of(collection, lower)}]})
    if upper is not None:
        within.append({"$lt": ["$_id", {"$literal": bound_of(collection, upper)}]})
    return {"$expr": {"$and": within}}


_NOTHING: Filter = {"_id": {"$in": []}}


def _both(where: Filter, within: Filter) -> Filter:
    return {"$and": [where, within]} if where else within


def _brackets(collection: str, way: Way, lower: bytes | None, upper: bytes | None) -> Iterator[Filter]:
    """Yield a filter for each part of the range: disjoint parts, of one type or of types that compare."""
    first = 0 if lower is None else place(lower)
    last = len(CLASSES) - 1 if upper is None else place(upper)
    for number in range(first, last + 1):
        types = list(CLASSES[number].values())
        above = lower if lower is not None and number == first else None
        below = upper if upper is not None and number == last else None
        if _NUMBERS in types:
            yield from _numbers(collection, way, types, above, below)
        elif types[0] in _UNDIVIDED:
            if below is None:
                yield from _whole(way, types)
        elif above is None and below is None:
            yield from _whole(way, types)
        else:
            yield {"_id": _compared(collection, above, below)}


def _whole(way: Way, types: Sequence[str]) -> Iterator[Filter]:
    for name in types:
        if name not in way.unknown_types:
            yield {"_id": {"$type": name}}


def _numbers(
    collection: str, way: Way, types: Sequence[str], above: bytes | None, below: bytes | None
) -> Iterator[Filter]:
    """Yield the same for numbers, of which NaN is the first in order and compares with no other."""
    if below is not None and is_nan(below):
        return
    if above is not None and not is_nan(above):
        yield {"_id": _compared(collection, above, below)}
    elif below is None:
        yield from _whole(way, types)
    else:
        below_only = _compared(collection, None, below)
        yield {"_id": below_only}
        if way.nan:
            yield {"_id": math.nan}
            return
        for name in _WITH_NAN - way.unknown_types:  # A number that is not from the bound on: below it, or NaN.
            yield {"_id": {"$type": name, "$not": {"$gte": below_only["$lt"]}}}


def _compared(collection: str, above: bytes | None, below: bytes | None) -> Filter:
    within: dict[str, Any] = {}
    if above is not None:
        within["$gte"] = bound_of(collection, above)
    if below is not None:
        within["$lt"] = bound_of(collection, below)
    return within


class Watch:
    """A look at each batch: a server that passes over bounds must never be taken for one that obeys."""

    def __init__(self, collection: str, lower: bytes | None, upper: bytes | None, *, collated: bool) -> None:
        """Take the range that was asked for, and whether a collation orders its texts."""
        self._collection = collection
        self._lower = lower
        self._upper = upper
        self._collated = collated

    def look(self, first: bytes, last: bytes) -> None:
        """Raise PermanentError where a batch that begins and ends so is not within the range, or not in order."""
        if self._lower is not None and compare(first, self._lower, collated=self._collated) == -1:
            raise self._fault("a document that is before the range asked for, or before one that it gave earlier")
        if self._upper is not None and compare(last, self._upper, collated=self._collated) in (0, 1):
            raise self._fault("a document that is past the range asked for")
        self._lower = last

    def _fault(self, what: str) -> PermanentError:
        return PermanentError(
            "E-SRC-BOUNDS",
            f"reading {self._collection!r}: the source gave {what}, so it does not keep to bounds of _id, and documents"
            " would be read twice or not at all. Run offramp check --probe, and name the server in source.flavour",
        )
