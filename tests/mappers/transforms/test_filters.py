"""The filter of a partial index: what matches is what the server's own query finds, and what is not sure is refused."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo.database import Database

from mappers.documents.decoding import CODEC
from mappers.transforms.filters import compiled

AT = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
ID = ObjectId("5f3b1c2d4e5f60718293a4b5")
VALUES: list[Any] = [
    *(1, 1.0, Int64(2), 2.5, -1, math.nan, math.inf, Decimal128("2.50"), Decimal128("NaN"), True, False, None, "", "a"),
    *("b", "A", "é", AT, AT + dt.timedelta(days=1), ID, [], [1, "a"], [5, -5], [[1]], {}, {"b": 1}, {"b": [1, 7]}),
    *([{"b": 1}, {"b": "a"}], [{"c": 1}], [[{"b": 1}]], [{"b": [True]}], {"1": 1}, [0, 1], [{"1": 2}]),
]
FILTERS: list[dict[str, Any]] = [
    *({"a": given} for given in (1, 2.5, "a", "", True, False, AT, ID, Decimal128("1"))),
    *({"a": {"$exists": True}}, {"a.b": {"$exists": True}}, {"a.b": 1}, {"a.b": "a"}, {"a.1": 1}, {"a": {"$eq": 5}}),
    *({"a": {"$gt": 1}}, {"a": {"$gte": 1}}, {"a": {"$lt": 2}}, {"a": {"$lte": AT}}, {"a": {"$gt": AT}}),
    *({"a": {"$gt": "a"}}, {"a": {"$gt": -2, "$lt": 0}}, {"a": {"$gt": 2, "$lt": 3}}, {"a": {"$in": [1, "a", False]}}),
    *({"a": {"$gte": False}}, {"a": {"$gt": ID}}, {"a": {"$gte": ID}}),
    {"$or": [{"a": 1}, {"$and": [{"a": {"$gt": 2}}, {"a": {"$lt": 9}}]}]},
    {"a": {"$exists": True}, "_id": {"$gt": 5}},
    {},
]


@pytest.mark.parametrize("expression", FILTERS, ids=str)
def test_a_filter_matches_what_the_server_finds(expression: dict[str, Any], database: Database[dict[str, Any]]) -> None:
    documents = [{"_id": 0}, *({"_id": number, "a": value} for number, value in enumerate(VALUES, 1))]
    things = database.get_collection("things", codec_options=CODEC)
    things.insert_many(documents)
    found = {document["_id"] for document in things.find(expression)}
    matches = compiled(expression)
    assert {document["_id"] for document in things.find() if matches(document)} == found


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        *(({"a": None}, "NoneType"), ({"a": [1]}, "list"), ({"a": {"b": 1}}, "dict"), ({"a": math.nan}, "float")),
        *(({"a": {"$exists": False}}, r"\$exists"), ({"a": {"$type": "date"}}, r"\$type"), ({"a": b"x"}, "bytes")),
        *(({"a": {"$in": [1, None]}}, r"\$in"), ({"$nor": [{"a": 1}]}, r"\$nor"), ({"a": {"$ne": 1}}, r"\$ne")),
        ({"$and": [{"a": {"$geoWithin": {}}}]}, r"\$geoWithin"),
    ],
)
def test_what_cannot_be_judged_for_sure_is_refused_by_name(expression: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        compiled(expression)
