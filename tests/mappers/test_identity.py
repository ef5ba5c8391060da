"""R31-R33: equal text exactly for ids that MongoDB holds equal, however long they are."""

from __future__ import annotations

import datetime as dt
import itertools
import struct
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
import pytest
from bson import SON, Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.contract import MappingError
from mappers.documents.decoding import CODEC, decode, identity_type
from mappers.identity import PLAIN_KINDS, encode, identity, plain, shortened

HEX = "5f3b1c2d4e5f60718293a4b5"
UUID = Binary(bytes(range(16)), 4)
DAY = dt.datetime(2020, 2, 29, 12, 0, 0, 1000, tzinfo=dt.UTC)
NAN_WITH_PAYLOAD = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\xff")[0]

# Each row is what one unique _id may be written as; no two rows are equal to MongoDB.
GROUPS: tuple[tuple[Any, ...], ...] = (
    (1, 1.0, Int64(1), Decimal128("1"), Decimal128("1.0"), Decimal128("1E0"), Decimal128("0.10E1")),
    ("1",),
    (True,),
    ("True",),
    ("true",),
    (False,),
    (0, 0.0, -0.0, Int64(0), Decimal128("0"), Decimal128("-0"), Decimal128("0E+6111")),
    (None,),
    ("None",),
    ("",),
    (ObjectId(HEX),),
    (HEX,),
    (f"o:{HEX}",),
    ("n:1",),
    (b"1",),
    (Binary(b"1", 5),),
    (Binary(b"1", 2),),
    (b"",),
    (0.1,),
    (Decimal128("0.1"), Decimal128("0.10")),
    (100, 1e2, Decimal128("1E+2")),
    (2**53, 2.0**53),
    (Int64(2**53 + 1), Decimal128("9007199254740993")),
    (float("nan"), -float("nan"), NAN_WITH_PAYLOAD, Decimal128("NaN"), Decimal128("-NaN"), Decimal128("sNaN")),
    (float("inf"), Decimal128("Infinity")),
    (-float("inf"), Decimal128("-Infinity")),
    ("nan",),
    (5e-324,),
    (Decimal128("1E+6144"), Decimal128("10E+6143")),
    (DAY, DatetimeMS(DAY)),
    (1582977600001, Int64(1582977600001)),
    (dt.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC),),
    (DatetimeMS(2**63 - 1),),
    (UUID,),
    (Binary(bytes(range(16)), 3),),
    (Binary(bytes(range(15)), 4),),
    (str(UUID.as_uuid()),),
    (Timestamp(1, 2),),
    (Timestamp(0, 0),),
    (MinKey(),),
    (MaxKey(),),
    (Code("f"),),
    (Code("f", {}),),
    ("f",),
    (Regex("f", "i"),),
    (Regex("f"),),
    ({"a": 1, "b": 2}, {"a": 1.0, "b": Decimal128("2.00")}, SON([("a", Int64(1)), ("b", 2)])),
    ({"b": 2, "a": 1},),
    ({"a": 1, "b": "2"},),
    ({"a": {"b": 1}},),
    ({"a.b": 1},),
    ({"a": [1]}, {"a": [1.0]}),
    ({"a": 1},),
    ({"a": "n:1"},),
    ({"a": ["n:1"]},),
    ({},),
    ([],),
    ('j:{"a":"n:1"}',),
    ({"a": None},),
    ({"a": '{"b":"n:1"}'},),
    (DBRef("c", 1), DBRef("c", 1.0), {"$ref": "c", "$id": Decimal128("1")}),
    (DBRef("c", 1, "d"),),
    (DBRef("c", "1"),),
    ({"a": DBRef("c", 1)}, {"a": DBRef("c", Int64(1))}),
)


def test_the_encoding_groups_exactly_the_ids_that_mongodb_holds_equal() -> None:
    ids = [(row, value) for row, group in enumerate(GROUPS) for value in group]
    for (row, one), (other_row, other) in itertools.combinations(ids, 2):
        assert (encode(one) == encode(other)) is (row == other_row), f"{one!r} {other!r}"


def test_an_id_means_the_same_before_and_after_it_was_stored() -> None:
    for group in GROUPS:
        for value in group:
            assert identity(decode(bson.encode({"_id": value}, codec_options=CODEC))) == encode(value)


def test_plain_texts_are_one_exactly_for_equal_ids_of_one_kind() -> None:
    texts: dict[str, dict[str, int]] = {}
    for row, group in enumerate(GROUPS):
        for value in group:
            kind = PLAIN_KINDS.get(identity_type(bson.encode({"_id": value}, codec_options=CODEC)), "")
            try:
                text = identity({"_id": value}, "plain")
            except MappingError:
                text = ""
            if not text:  # Only a UUID among binary data has a text, and the empty string has none.
                assert kind in ("", "UUID") or value == ""
                continue
            assert kind
            assert texts.setdefault(kind, {}).setdefault(text, row) == row
    assert set(texts) == set(PLAIN_KINDS.values())
    assert "1" in texts["string"].keys() & texts["number"].keys(), "which is why the kind must be proven"


@pytest.mark.parametrize("value", [*(True, None, 1.0, b"", Code("f"), DAY, {}, []), Decimal128("1"), Binary(b"1", 4)])
def test_what_has_no_plain_text_is_refused_without_its_value(value: Any) -> None:
    with pytest.raises(MappingError) as caught:
        plain(value)
    assert (caught.value.code, caught.value.field) == ("E-ID-TYPE", "_id")


def test_a_plain_id_is_never_what_another_one_is_shortened_to() -> None:
    long = "x" * 600
    imitation = shortened(long, 512)
    assert imitation.startswith("h:")
    assert shortened(imitation, 512) not in (imitation, shortened(long, 512))
    assert shortened("h:", 512).startswith("h:")
    assert len(shortened("h:", 512)) == 66


def test_an_empty_string_is_an_id_with_text() -> None:
    assert identity({"_id": ""}) == "s:"


def test_a_document_without_an_id_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        identity({"a": 1})
    assert (caught.value.code, caught.value.field) == ("E-ID-MISSING", "_id")


def meaning(value: Any) -> Any:
    """What MongoDB compares, worked out from fractions and BSON bytes instead of from texts."""
    if isinstance(value, Mapping):
        return ("object", *((name, meaning(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return ("array", *map(meaning, value))
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if value != value:
            return ("number", "nan")
        return ("number", value if value in (float("inf"), -float("inf")) else Fraction(value))
    return ("other", bson.encode({"": value}, codec_options=CODEC))


SMALL = st.sampled_from(
    ("0", "1", "-1", "10", "0.1", "0.5", "1E+2", "2.50", "1E-7", "9007199254740993", "1E+30", "NaN")
)
NUMBERS = st.one_of(
    SMALL.map(Decimal128),
    SMALL.map(float),
    st.sampled_from((0, 1, -1, 10, 100, 2**53, 10**18)),
    st.sampled_from((0, 1, -1, 10, 2**53 + 1, 2**62)).map(Int64),
    st.floats(),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Decimal128(f"{value:.17e}")),
)
LEAVES = st.one_of(
    NUMBERS,
    st.sampled_from(("", "1", "n:1", "s:1", "z:", "b:true", "j:{}", "[]", '"', "o:", "nan", "\x00", "é")),
    st.sampled_from((None, True, False, b"", b"1", Binary(b"1", 5), UUID, Timestamp(0, 1), MinKey(), Code("1"))),
    st.sampled_from((DatetimeMS(1), DatetimeMS(-1), DatetimeMS(2**62), ObjectId(HEX), Regex("1"))),
)
IDS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "$a", "")), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.lists(IDS, min_size=2, max_size=12))
def test_two_ids_have_one_text_exactly_if_they_are_equal(ids: list[Any]) -> None:
    for one, other in itertools.combinations(ids, 2):
        assert (encode(one) == encode(other)) is (meaning(one) == meaning(other))


@pytest.mark.parametrize("limit", [512, 2048])
@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_an_id_is_shortened_only_past_the_limit_in_bytes(limit: int, letter: str) -> None:
    width = len(letter.encode())
    longest = encode("x" * ((limit - 2) % width) + letter * ((limit - 2) // width))
    assert len(longest.encode()) == limit
    assert shortened(longest, limit) == longest
    short = shortened(longest + "x", limit)
    assert short.startswith("h:")
    assert len(short) == 66
    assert short != shortened(longest + "y", limit)


def test_no_id_is_encoded_as_a_shortened_one() -> None:
    short = shortened(encode("x" * 600), 512)
    assert all(not encode(value).startswith("h:") for group in GROUPS for value in (*group, short))
