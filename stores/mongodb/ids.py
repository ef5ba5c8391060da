"""Positions of documents by `_id`, the bounds of queries, and ids that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from mappers.documents.decoding import CODEC, position
from mappers.identity import encode
from stores.errors import PermanentError


class Ids:
    """Watches that no two documents share an `_id` where the server does not promise it (R34)."""

    def __init__(self, collection: str, unique: bool, after: bytes | None) -> None:
        """Take whether the server promises unique ids, and the position that was read up to."""
        self._collection = collection
        self._unique = unique
        self._before = typed_of(collection, after) if after is not None and not unique else None

    def last(self, documents: Sequence[bytes]) -> bytes:
        """Return the position of the last document; raises PermanentError for a missing or repeated `_id`."""
        if self._unique:
            return position_of(self._collection, documents[-1])
        at = b""
        for raw in documents:
            at = position_of(self._collection, raw)
            typed = typed_of(self._collection, at)
            if typed == self._before:
                raise PermanentError(
                    "E-ID-DUP",
                    f"{self._collection!r} returns two documents with the _id {typed}; a target could hold only one."
                    " Give each document its own _id (a view can build one), then run the same command",
                )
            self._before = typed
        return at


def position_of(collection: str, raw: bytes) -> bytes:
    """Return a document's position, BSON ``{"_id": value}``; raises PermanentError if it has no `_id`."""
    at = position(raw)
    if at is None:
        raise PermanentError(
            "E-ID-MISSING",
            f"{collection!r} returns a document without _id, so nothing would identify its record. Keep _id in the"
            " view",
        )
    return at


def bound_of(collection: str, at: bytes) -> Any:
    """Return the `_id` of a position as a query carries it; raises PermanentError if it is not valid BSON."""
    # RawBSONDocument keeps the value's own bytes where decoding might change them (an old DBRef, say).
    return RawBSONDocument(at)["_id"] if at[4] == 0x03 else _value(collection, at)


def place_among(bounds: Sequence[Any]) -> Any:
    """Return the aggregation expression that says in which of the ranges between these bounds an `_id` is, from 0 on.

    The server compares as it sorts: across all types. A tree, as a source may have hundreds of partitions.
    """

    def between(first: int, last: int) -> Any:
        if first == last:
            return first
        middle = (first + last + 1) // 2
        below = {"$lt": ["$_id", {"$literal": bounds[middle - 1]}]}
        return {"$cond": [below, between(first, middle - 1), between(middle, last)]}

    tree = between(0, len(bounds))
    return {"$literal": 0} if tree == 0 else tree


def typed_of(collection: str, at: bytes) -> str:
    """Return the typed text of a position's `_id`; raises PermanentError if it is not valid BSON."""
    return encode(_value(collection, at))


def _value(collection: str, at: bytes) -> Any:
    try:
        return bson.decode(at, CODEC)["_id"]
    except (InvalidBSON, UnicodeDecodeError) as error:
        raise PermanentError(
            "E-ID-DECODE",
            f"{collection!r} holds an _id that is not valid BSON (usually a string that is not UTF-8); reading"
            " cannot go on after it. Give that document another _id, then run the same command",
        ) from error
