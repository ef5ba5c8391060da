"""R8, R11, R18, R19, R31, R68: strings, hashes and sorted sets, and what each counts as lost."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from typing import Any

import orjson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.contract import Losses, MappingError
from mappers.losses import NOTHING_LOST
from mappers.redis.hash import HashMapper
from mappers.redis.records import Hash, Member, String
from mappers.redis.sorted_set import SortedSetMapper
from mappers.redis.string import StringMapper

AT = dt.datetime(2020, 1, 1, 0, 0, 0, 1000, tzinfo=dt.UTC)


def string(document: dict[str, Any], **options: Any) -> String:
    (one,) = StringMapper(StringMapper.Options(**options), "sessions", Losses())(document)
    return one


def hashed(document: dict[str, Any], **options: Any) -> Hash:
    (one,) = HashMapper(HashMapper.Options(**options), "sessions", Losses())(document)
    return one


def member(document: dict[str, Any], **options: Any) -> tuple[Member, dict[str, int]]:
    losses = Losses()
    (one,) = SortedSetMapper(SortedSetMapper.Options(**{"score": "rating", **options}), "top", losses)(document)
    return one, Counter(kind for _, kind in losses.take())


def test_a_string_is_the_whole_document_as_json_in_its_order() -> None:
    one = string({"z": 1, "_id": "é", "$a": math.nan, "b": [None]})
    assert one.address == "sessions:s:é"
    assert one.value == '{"z":1,"_id":"é","$$a":{"$numberDouble":"NaN"},"b":[null]}'.encode()
    assert one.expires_at_ms is None


def test_a_hash_has_a_field_of_text_for_each_field() -> None:
    one = hashed({"_id": ObjectId("5f3b1c2d4e5f60718293a4b5"), "": "", "a.b": None, "c": {"d": [1, "x"]}, "t": "1"})
    assert one.address == "sessions:o:5f3b1c2d4e5f60718293a4b5"
    assert one.fields == (
        (b"_id", b"5f3b1c2d4e5f60718293a4b5"),
        (b"", b""),
        (b"a.b", b"\x00null"),
        (b"c", b'{"d":[1,"x"]}'),
        (b"t", b"1"),
    )


def test_code_in_a_hash_keeps_its_scope() -> None:
    assert dict(hashed({"_id": 1, "f": Code("x", {"y": 1})}).fields)[b"f"] == b'{"$code":"x","$scope":{"y":1}}'


@pytest.mark.parametrize("mapper", [string, hashed])
@pytest.mark.parametrize(("value", "expires"), [(AT, 1577836800001), ([AT, None], 1577836800001), ("x", None)])
def test_a_key_expires_at_its_date_or_never(mapper: Any, value: Any, expires: int | None) -> None:
    assert mapper({"_id": 1, "at": value}, expires="at").expires_at_ms == expires
    assert mapper({"_id": 1, "at": value}).expires_at_ms is None
    assert mapper({"_id": 1}, expires="at").expires_at_ms is None


@pytest.mark.parametrize("mapper", [string, hashed])
def test_a_key_follows_its_template(mapper: Any) -> None:
    assert mapper({"_id": 1, "u": {"n": "{a}%"}}, key="s:{u.n}:{_id}").key == "s:%7Ba%7D%25:n:1"
    with pytest.raises(MappingError) as caught:
        mapper({"_id": 1}, key="s:{u.n}")
    assert (caught.value.code, caught.value.field) == ("E-MAP-KEY", "u.n")


@pytest.mark.parametrize("mapper", [StringMapper, HashMapper])
def test_a_template_that_is_none_is_refused_with_the_plan(mapper: Any) -> None:
    with pytest.raises(ValueError):
        mapper(mapper.Options(key="s:{"), "sessions", Losses())


@pytest.mark.parametrize("mapper", [string, hashed])
def test_a_value_that_cannot_be_written_is_refused_by_its_path(mapper: Any) -> None:
    with pytest.raises(MappingError) as caught:
        mapper({"_id": 1, "a": {"b": [object()]}})
    assert (caught.value.code, caught.value.field) == ("E-MAP-VALUE", "a.b.0")


# --- canonical forms (R10, R11) ---------------------------------------------------------------------------------------

EXPIRY = st.sampled_from((None, 0, 1, -1, 10, 1577836800001))
BYTES = st.binary(max_size=3) | st.sampled_from((b"1 a 1 b", b"a", b"1", b" ", b"0", b"never ", b"1 "))
STRINGS = st.builds(String, st.just("k"), BYTES, EXPIRY)
HASHES = st.dictionaries(BYTES, BYTES, max_size=3).map(lambda fields: tuple(fields.items()))


@settings(deadline=None)
@given(STRINGS, STRINGS)
def test_strings_are_the_same_exactly_if_value_and_expiry_are(one: String, other: String) -> None:
    assert (one.canonical() == other.canonical()) is (one == other)


@settings(deadline=None)
@given(HASHES, HASHES, EXPIRY, EXPIRY)
def test_hashes_are_the_same_exactly_if_fields_and_expiry_are(one: Any, other: Any, first: Any, second: Any) -> None:
    same = (dict(one), first) == (dict(other), second)
    assert (Hash("k", one, first).canonical() == Hash("k", other, second).canonical()) is same
    assert Hash("k", one, first).canonical() == Hash("k", tuple(reversed(one)), first).canonical()


def test_a_value_that_looks_like_further_fields_is_one_value() -> None:
    two = ((b"a", b"1"), (b"b", b"2"))
    for value in (b"1 b 2", b"1 1 b 1 2"):
        assert Hash("k", ((b"a", value),)).canonical() != Hash("k", two).canonical()


def test_a_string_is_no_hash() -> None:
    assert String("k", b"").canonical() != Hash("k", ()).canonical()


def test_the_order_of_names_within_a_string_counts() -> None:
    assert string({"_id": 1, "a": 1, "b": 2}).canonical() != string({"_id": 1, "b": 2, "a": 1}).canonical()


@settings(deadline=None)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_members_are_the_same_exactly_if_their_scores_are(one: float, other: float) -> None:
    assert (Member("k", "m", one).canonical() == Member("k", "m", other).canonical()) is (one == other)


def test_redis_keeps_no_sign_of_a_zero_score() -> None:
    assert Member("k", "m", -0.0).canonical() == Member("k", "m", 0.0).canonical()


def test_the_address_of_a_member_is_its_key_and_its_member() -> None:
    assert orjson.loads(Member("k", "m", 1).address) == ["k", "m"]
    assert Member('a","b', "c", 1).address != Member("a", 'b","c', 1).address


# --- scores (R18) -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "score", "lost"),
    [
        *((1, 1.0, {}), (1.5, 1.5, {}), (Int64(2**53), 2.0**53, {}), (-(2**53), -(2.0**53), {}), (5e-324, 5e-324, {})),
        *((Int64(2**53 + 1), 2.0**53, {"score_rounded": 1}), (Int64(-(2**53) - 1), -(2.0**53), {"score_rounded": 1})),
        *((Int64(2**53 + 2), 2.0**53 + 2, {}), (Int64(2**62), 2.0**62, {})),
        (Int64(2**63 - 1), 2.0**63, {"score_rounded": 1}),
        *((math.inf, math.inf, {}), (-math.inf, -math.inf, {}), (0.0, 0.0, {}), (-0.0, 0.0, {"neg_zero": 1})),
        *((Decimal128("4.5"), 4.5, {}), (Decimal128("4.50"), 4.5, {}), (Decimal128("4.7"), 4.7, {"score_rounded": 1})),
        *((Decimal128("-0"), 0.0, {"neg_zero": 1}), (Decimal128("0E+5"), 0.0, {})),
        (Decimal128("1E-400"), 0.0, {"score_rounded": 1}),
        (Decimal128("9007199254740993"), 2.0**53, {"score_rounded": 1}),
    ],
)
def test_a_score_is_the_nearest_double_and_each_loss_is_counted(value: Any, score: float, lost: dict[str, int]) -> None:
    one, losses = member({"_id": 1, "rating": value})
    assert one.score.hex() == score.hex()
    assert type(one.score) is float
    assert losses == lost


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, Decimal128("NaN"), Decimal128("sNaN"), Decimal128("Infinity"), Decimal128("1E+400"), True, False),
        *(None, "1", [1], {}, AT, Binary(b"1", 5)),
    ],
)
def test_what_cannot_order_a_set_is_refused(value: Any) -> None:
    with pytest.raises(MappingError) as caught:
        member({"_id": 1, "rating": value})
    assert (caught.value.code, caught.value.field) == ("E-MAP-SCORE", "rating")


def test_a_missing_score_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        member({"_id": 1})
    assert (caught.value.code, caught.value.field) == ("E-MAP-SCORE", "rating")
    assert "missing" in caught.value.reason


def test_a_member_is_named_by_its_typed_id_unless_said() -> None:
    assert member({"_id": "é{}", "rating": 1})[0].address == '["top","s:é{}"]'
    one, _ = member({"_id": 1, "rating": 1, "name": "n", "country": "{de}"}, member="name", key="top:{country}")
    assert orjson.loads(one.address) == ["top:%7Bde%7D", "n"]
    assert one.expires_at_ms is None


def test_what_a_document_lost_is_taken_once() -> None:
    losses = Losses()
    mapper = SortedSetMapper(SortedSetMapper.Options(score="rating"), "top", losses)
    list(mapper({"_id": 1, "rating": Decimal128("4.7")}))
    assert losses.take() == [("rating", "score_rounded")]
    assert losses.take() is NOTHING_LOST
