"""R56: the moment at which a document expires is the one MongoDB's TTL index would give it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bson import DBRef
from bson.datetime_ms import DatetimeMS

from mappers.contract import Losses
from mappers.dynamodb.mapper import ItemMapper
from mappers.expiry import Expires, Expiry, IndexExpires
from mappers.redis.collections import ListMapper, SetMapper
from mappers.redis.hash import HashMapper
from mappers.redis.string import CounterMapper, StringMapper

AT = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
MS = 1577836800000
LATER = AT + dt.timedelta(days=1)


def test_seconds_are_added_to_the_earliest_date() -> None:
    hour = Expiry(Expires("at", 3600))
    assert hour({"at": AT}) == MS + 3_600_000
    assert hour({"at": [LATER, AT, "text"]}) == MS + 3_600_000
    assert hour({"at": "2020-01-01"}) is hour({"at": []}) is hour({}) is hour({"at": MS}) is None
    assert Expiry("at")({"at": AT}) == Expiry(Expires("at"))({"at": AT}) == MS
    assert hour({"at": DatetimeMS(-(2**63))}) == -(2**63) + 3_600_000
    assert hour({"at": DatetimeMS(2**63 - 1)}) == 2**63 - 1, "there is no later moment than the last"
    assert Expiry(None)({"at": AT}) is None


def test_of_several_indexes_the_earliest_moment_counts() -> None:
    either = Expiry(IndexExpires("a", 100, others=(IndexExpires("b", 0),)))
    assert either({"a": AT, "b": LATER}) == MS + 100_000
    assert either({"a": LATER, "b": AT}) == MS
    assert either({"b": AT}) == MS
    assert either({"a": None}) is None


# As an index's keys are made: of the elements of an array, of the fields of objects in it, of a position.
@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("a.at", {"a": [{"at": LATER}, {"at": AT}, {"x": 1}, 7]}, MS),
        ("a.at", {"a": [{"at": [LATER, AT]}]}, MS),
        ("a.b.at", {"a": [{"b": [{"at": AT}]}, {"b": {"at": LATER}}]}, MS),
        ("a.1", {"a": [AT, LATER]}, MS + 86_400_000),
        ("a.1.at", {"a": [{"at": AT}, {"at": LATER}]}, MS + 86_400_000),
        ("a.1", {"a": [{"1": AT}, LATER]}, MS),
        ("a.5", {"a": [AT]}, None),
        ("a", {"a": [[AT]]}, None),
        ("a.at", {"a": [[{"at": AT}]]}, None),
        ("ref.at", {"ref": DBRef("c", 1, at=AT)}, MS),
    ],
)
def test_arrays_on_the_way_are_looked_into_as_an_index_does(path: str, document: Any, expected: int | None) -> None:
    assert Expiry(path)(document) == expected


@pytest.mark.parametrize(
    ("expires", "named"),
    [
        ("", "field name"),
        ("a..b", "field name"),
        (Expires("a", -1), "after_seconds"),
        (Expires("a", 2**31), "2147483647"),
    ],
)
def test_what_is_no_rule_is_a_fault_of_the_plan(expires: Any, named: str) -> None:
    with pytest.raises(ValueError, match=rf"^expires: .*{named}"):
        Expiry(expires)


def test_an_index_nobody_looked_up_is_never_taken_for_a_field() -> None:
    with pytest.raises(RuntimeError):
        Expiry("from_index")({"_id": 1, "from_index": AT})


@pytest.mark.parametrize(
    ("mapper", "options"),
    [
        *((StringMapper, {}), (HashMapper, {}), (CounterMapper, {"value": "n"}), (ItemMapper, {})),
        *((SetMapper, {"values": "v"}), (ListMapper, {"values": "v"})),
    ],
)
def test_every_mapper_whose_records_expire_follows_the_rule(mapper: Any, options: dict[str, Any]) -> None:
    document = {"_id": 1, "n": 1, "v": ["a"], "at": AT}
    (record,) = mapper(mapper.Options(**options, expires=Expires("at", 3600)), "r", Losses())(document)
    assert record.expires_at_ms == MS + 3_600_000
    with pytest.raises(ValueError, match=r"^expires: "):
        mapper(mapper.Options(**options, expires=Expires("at", -1)), "r", Losses())
