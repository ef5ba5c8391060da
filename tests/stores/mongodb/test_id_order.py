"""The order of `_id`s by which a read is watched is that in which a MongoDB sorts."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from mongodbs import MIXED_IDS, Documents, positions, read

from stores.mongodb.collection import CollectionSource
from stores.mongodb.id_order import CLASSES, compare, is_nan, place


def at(own: Any) -> bytes:
    return bson.encode({"_id": own})


ORDERED: list[Any] = [
    *(math.nan, -math.inf, Decimal128("-1E+100"), -(2**62), -1.5, Decimal128("-1.4"), 0, 5e-324, Decimal128("0.1")),
    *(0.1, 1, 2**53, Int64(2**53 + 1), 1e300, math.inf),
    *("", "A", "Z", "a", "a\0", "aa", "b", "é", "\U0010ffff"),
    *({}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": {"b": 1}}),
    *(b"", b"\xff", b"\0\0", Binary(b"\0\1", 4), Binary(b"\0\2", 5)),
    *(ObjectId("0" * 24), ObjectId("f" * 24), False, True),
    *(dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(1970, 1, 1), dt.datetime(9999, 1, 1, tzinfo=dt.UTC)),
    *(Timestamp(1, 2**32 - 1), Timestamp(2, 0), Timestamp(2**32 - 1, 0)),
]


@pytest.mark.parametrize("ids", [pytest.param(MIXED_IDS, id="types"), pytest.param(ORDERED, id="within types")])
def test_each_id_comes_before_every_later_one(ids: list[Any]) -> None:
    for one, other in itertools.combinations(map(at, ids), 2):
        assert (compare(one, other), compare(other, one)) == (-1, 1)


def test_a_server_sorts_as_the_order_says(database: Documents, source: Callable[..., CollectionSource]) -> None:
    # SecantusDB takes numbers that are close to each other for one, and orders objects and binary data in its own way.
    close = (Decimal128("0.1"), 5e-324, 2**53 + 1)
    ids = [own for own in ORDERED if own not in close and not isinstance(own, dict | bytes)]
    database.things.insert_many([{"_id": own} for own in reversed(ids)])
    assert read(source("things")) == positions(at(own) for own in ids)


@pytest.mark.parametrize(
    "equal",
    [
        *([1, 1.0, Int64(1), Decimal128("1.00")], [math.nan, Decimal128("NaN"), Decimal128("-NaN")]),
        *([0.0, -0.0, Decimal128("-0")], [{"a": 1}, {"a": 1.0}], [math.inf, Decimal128("Infinity")]),
    ],
)
def test_ids_that_are_equal_to_a_server_are_neither_before_nor_after(equal: list[Any]) -> None:
    for one, other in itertools.product(map(at, equal), repeat=2):
        assert compare(one, other) == 0


def test_what_a_collation_orders_is_not_judged_and_types_still_are() -> None:
    assert compare(at("a"), at("b"), collated=True) is None
    assert compare(at({"x": "a"}), at({"x": "b"}), collated=True) is None
    assert compare(at({"x": "a"}), at({"y": "a"}), collated=True) == -1
    assert compare(at("a"), at("a"), collated=True) == 0
    assert compare(at(1), at("b"), collated=True) == -1


def test_types_whose_own_order_is_not_known_are_not_judged() -> None:
    for one, other in ((Code("a"), Code("b")), (Regex("a"), Regex("b"))):
        assert compare(at(one), at(other)) is None
        assert compare(at(one), at(one)) == 0
    assert compare(at(Regex("z")), at(Code("a"))) == -1
    array = bytes(RawBSONDocument(bson.encode({"_id": [1, "x"]})).raw)
    assert compare(array, at([1, "y"])) == -1
    assert compare(at([1]), array) == -1


def test_each_type_has_one_place() -> None:
    kinds = [kind for types in CLASSES for kind in types]
    assert len(kinds) == len(set(kinds)) == 21
    assert place(at(1)) == place(at(1.5)) < place(at("x"))
    assert [is_nan(at(own)) for own in (math.nan, Decimal128("NaN"), 1.0, Decimal128("1"), "NaN")] == [
        *(True, True, False, False, False)
    ]
