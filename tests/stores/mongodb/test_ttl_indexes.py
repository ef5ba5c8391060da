"""R56: which rule a collection's TTL indexes make, by what MongoDB documents of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pymongo.database import Database

from mappers.expiry import Expiry, IndexExpires
from stores.errors import PlanError
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB
from stores.mongodb.ttl_indexes import ttl_notes, ttl_rule

ID = {"v": 2, "name": "_id_", "key": {"_id": 1}}


def index(*fields: str, order: Any = 1, **more: Any) -> dict[str, Any]:
    return {"v": 2, "name": "_".join(fields), "key": dict.fromkeys(fields, order), **more}


def test_the_one_index_decides_and_of_several_the_earliest_moment() -> None:
    hour = index("at", expireAfterSeconds=3600)
    assert ttl_rule("things", "collection", [ID, hour]) == IndexExpires("at", 3600)
    assert ttl_rule("things", "collection", [ID, index("at", order=-1, expireAfterSeconds=60.0)]).after_seconds == 60
    day = index("b.at", expireAfterSeconds=86400)
    expected = IndexExpires("at", 3600, others=(IndexExpires("b.at", 86400),))
    assert (
        ttl_rule("things", "collection", [day, ID, hour]) == ttl_rule("things", "collection", [hour, day]) == expected
    )


@pytest.mark.parametrize(
    ("indexes", "named"),
    [
        ([ID, index("name")], ["the indexes _id_ (_id), name (name)"]),
        ([ID, index("a", "b", expireAfterSeconds=5)], ["a_b (a, b) with expireAfterSeconds"]),
        ([{**ID, "expireAfterSeconds": 5}], ["_id_ (_id) with expireAfterSeconds"]),
        ([index("at", expireAfterSeconds=5, partialFilterExpression={"x": None})], ["'at'", "NoneType on 'x'"]),
        (
            [index("at", expireAfterSeconds=5, partialFilterExpression={"x": "a"}, collation={"locale": "de"})],
            ["collation"],
        ),
        ([index("at", order="hashed", expireAfterSeconds=5)], ["kind 'hashed'"]),
        ([index("at", expireAfterSeconds=float("nan"))], ["not a number of seconds"]),
        ([index("at", expireAfterSeconds=-1)], ["not a number of seconds"]),
    ],
)
def test_what_makes_no_rule_is_refused_and_named(indexes: list[dict[str, Any]], named: list[str]) -> None:
    with pytest.raises(PlanError) as told:
        ttl_rule("things", "collection", indexes)
    assert told.value.code == "E-SRC-TTL"
    assert all(each in told.value.message for each in [*named, "after_seconds"]), told.value.message


def test_an_index_that_adds_no_time_needs_no_note() -> None:
    indexes = [ID, index("at", expireAfterSeconds=0), index("a", "b", expireAfterSeconds=9)]
    assert list(ttl_notes("things", indexes)) == []
    (note,) = ttl_notes("things", [*indexes, index("c", expireAfterSeconds=7)])
    assert "7 s after 'c'" in note


def test_a_server_is_asked_for_the_indexes_and_a_view_has_none(
    mongodb_url: str, database: Database[dict[str, Any]]
) -> None:
    since = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    partial = {"$and": [{"done": True}, {"at": {"$gte": since}}]}
    database.things.create_index("at", expireAfterSeconds=10**9, partialFilterExpression=partial)
    database.command("create", "some", viewOn="things", pipeline=[])
    source = MongoDB(Connection(mongodb_url, database.name))
    try:
        found = source.source("things").expiry()
        assert (found.field, found.after_seconds, found.filter, found.others) == ("at", 10**9, partial, ())
        assert Expiry(found)({"done": True, "at": since}) == 2_577_836_800_000
        assert Expiry(found)({"done": 1, "at": since}) is None
        assert Expiry(found)({"done": True, "at": since - dt.timedelta(milliseconds=1)}) is None
        with pytest.raises(PlanError, match="is a view, which has no indexes"):
            source.source("some").expiry()
    finally:
        source.close()
