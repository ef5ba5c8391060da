"""R5, R11, R12, R16, R25, R28, R32, R40, R42, R56: items, their keys, their exact size and their expiry."""

from __future__ import annotations

import base64
import datetime as dt
import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from bson import Binary, Code, DBRef, Decimal128, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import decimals, doubles, integers

from mappers.contract import Losses, MappingError
from mappers.documents.decimals import dynamodb_text
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import _ODD_NUMBER, ITEM_LIMIT_BYTES, Item, Key, item, item_from_store, item_size
from mappers.dynamodb.values import DynamoDBValues
from mappers.identity import encode


def mapped(document: dict[str, Any], **options: Any) -> Item:
    (one,) = ItemMapper(ItemMapper.Options(**options), "orders", Losses())(document)
    return one


def body(document: dict[str, Any], **options: Any) -> dict[str, Any]:
    return dict(orjson.loads(mapped(document, **options).body))


def test_a_document_is_one_item_under_its_typed_id() -> None:
    one = mapped({"_id": 1.0, "$x": "a", "": None})
    assert one.address == '{"_id":{"S":"n:1"}}'
    assert orjson.loads(one.body) == {"_id": {"S": "n:1"}, "$$x": {"S": "a"}, "%00E": {"NULL": True}}
    assert one.expires_at_ms is None


def test_an_empty_id_has_a_key_that_dynamodb_takes() -> None:
    assert body({"_id": ""}) == {"_id": {"S": "s:"}}


# --- size (R40) -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 1), ("1", 2), ("-1", 3), ("12", 2), ("-12", 3), ("123", 3), ("1.5", 3), ("-1.5", 4), ("100", 2)),
        *(("1000", 2), ("0.001", 2), ("0.01", 2), ("0.1", 2), ("10.01", 3), ("100.001", 5), ("1562976153.26", 7)),
        *(("9" * 38, 20), ("-" + "9" * 38, 21), ("9" * 37 + ".9", 21), ("-" + "9" * 37 + ".9", 21)),
        ("1" + "0" * 125, 2),
        ("1" + "0" * 124, 2),
        ("0." + "0" * 129 + "1", 2),
        ("0." + "0" * 127 + "11", 3),
    ],
)
def test_a_number_counts_a_byte_a_pair_of_digits_aligned_on_its_point(text: str, size: int) -> None:
    assert item_size({"": {"N": text}}) == size


@settings(deadline=None)
@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-130, 87))
def test_a_number_counts_its_digits_in_base_one_hundred(digits: int, exponent: int) -> None:
    scaled, power = digits, exponent
    if power % 2:
        scaled, power = scaled * 10, power - 1
    expected = 1
    if scaled:
        while scaled % 100 == 0:
            scaled //= 100
        expected = min(21, (len(str(abs(scaled))) + 1) // 2 + 1 + (digits < 0))
    text = format(Decimal(f"{digits}E{exponent}"), "f") if digits else "0"
    assert item_size({"": {"N": text}}) == expected


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, 0),
        ({"a": {"S": ""}}, 1),
        ({"é": {"S": "漢😀"}}, 2 + 3 + 4),
        ({"a": {"BOOL": False}, "b": {"NULL": True}}, 4),
        ({"a": {"B": ""}, "b": {"B": "YQ=="}, "c": {"B": "YWI="}, "d": {"B": "YWJj"}}, 4 + 0 + 1 + 2 + 3),
        ({"a": {"L": []}, "b": {"M": {}}}, 2 + 3 + 3),
        ({"a": {"L": [{"S": "xy"}, {"N": "1"}]}}, 1 + 3 + (1 + 2) + (1 + 2)),
        ({"a": {"M": {"bc": {"S": "xy"}, "d": {"L": [{"M": {}}]}}}}, 1 + 3 + (1 + 2 + 2) + (1 + 1 + 3 + (1 + 3))),
        ({"a": {"SS": ["x", "yz"]}, "b": {"NS": ["1", "100"]}, "c": {"BS": ["YQ=="]}}, 1 + 3 + 1 + 4 + 1 + 1),
    ],
)
def test_an_item_counts_names_values_and_its_containers(attributes: dict[str, Any], size: int) -> None:
    assert item_size(attributes) == size


def test_an_item_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert ITEM_LIMIT_BYTES == 409_600
    small = {"_id": 1, "s": "x" * 1000}
    room = 409_600 - (3 + 3) - (1 + 1000) - len("long")
    assert item_size(body({**small, "long": "y" * room})) == 409_600
    with pytest.raises(MappingError) as caught:
        mapped({**small, "long": "y" * (room + 1)})
    assert (caught.value.code, caught.value.field) == ("E-DDB-SIZE", "long")
    assert "409601" in caught.value.reason.replace(" ", "")
    assert "yyy" not in str(caught.value)


def test_the_limit_counts_bytes_and_what_offramp_adds() -> None:
    at = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    added = (3 + 3) + (2 + 6) + (4 + 5)  # _id n:1, at 1577836800000, _ttl 1577836800
    assert item_size(body({"_id": 1, "at": at}, expires="at")) == added
    room = 409_600 - added - 1
    assert mapped({"_id": 1, "at": at, "f": "é" * (room // 2) + "x" * (room % 2)}, expires="at")
    with pytest.raises(MappingError):
        mapped({"_id": 1, "at": at, "f": "é" * (room // 2) + "x" * (room % 2 + 1)}, expires="at")


# --- depth (R16) ------------------------------------------------------------------------------------------------------


def nested(levels: int, leaf: Any) -> Any:
    for level in range(levels):
        leaf = [leaf] if level % 2 else {"a": leaf}
    return leaf


# Value at the deepest level, and the levels that it adds itself.
LEAVES = [
    *(
        ("text", 0),
        (math.nan, 1),
        (-0.0, 1),
        (Timestamp(1, 1), 2),
        (Regex("a"), 2),
        (Binary(b"a", 5), 2),
        (MinKey(), 1),
    ),
    *((Code("f"), 1), (Code("f", {}), 2), (Code("f", {"a": math.nan}), 3), (DBRef("c", 1), 1), ([], 1), ({}, 1)),
]


@pytest.mark.parametrize(("leaf", "adds"), LEAVES, ids=lambda value: repr(value)[:30])
def test_thirty_one_levels_below_an_attribute_are_taken_and_one_more_is_not(leaf: Any, adds: int) -> None:
    values = DynamoDBValues()
    for levels in (29, 30, 31, 32, 33):
        if levels + adds <= 31:
            assert values.item({"f": nested(levels, leaf)})
            assert values.value(nested(levels, leaf))
        else:
            with pytest.raises(MappingError) as caught:
                values.item({"f": nested(levels, leaf)})
            assert caught.value.code == "E-DDB-DEPTH"
            assert caught.value.field.startswith("f.")
    assert values.item({"f": nested(31, "text"), "g": nested(31, 1)})  # Nothing is left over from a refusal.


@pytest.mark.parametrize("letter", ["n", "é", "😀"])
def test_a_name_of_64_kb_is_refused_for_dynamodb_and_not_shown_whole(letter: str) -> None:
    width = len(letter.encode())
    longest = letter * (65_535 // width)
    assert DynamoDBValues().item({longest: 1}) == {longest: {"N": "1"}}
    for document in ({longest + letter: 1}, {"f": {longest + letter: 1}}):
        with pytest.raises(MappingError) as caught:
            DynamoDBValues().item(document)
        assert caught.value.code == "E-DDB-NAME"
        assert len(str(caught.value)) < 300


# --- keys (R32, R42) --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_long_id_is_shortened_and_kept_whole_beside_the_key(letter: str) -> None:
    longest = letter * (2046 // len(letter.encode()))
    assert body({"_id": longest}) == {"_id": {"S": f"s:{longest}"}}
    longer = longest + "x"
    one = body({"_id": longer})
    assert one["_id"]["S"].startswith("h:")
    assert one["_id_full"] == {"S": f"s:{longer}"}
    assert one["_id"] != body({"_id": longest + "y"})["_id"]


def test_a_field_in_the_place_of_the_whole_id_is_refused_only_where_it_is_needed() -> None:
    assert body({"_id": 1, "_id_full": "mine"})["_id_full"] == {"S": "mine"}
    with pytest.raises(MappingError) as caught:
        mapped({"_id": "x" * 3000, "_id_full": "mine"})
    assert (caught.value.code, caught.value.field) == ("E-NAME-COLLISION", "_id_full")


def test_an_item_of_ones_own_has_its_own_key() -> None:
    key = Key("customer", "order")
    one = item({"customer": "c", "order": ObjectId("5f3b1c2d4e5f60718293a4b5"), "n": 1}, key, 5)
    assert orjson.loads(one.address) == {"customer": {"S": "c"}, "order": {"S": "5f3b1c2d4e5f60718293a4b5"}}
    assert list(orjson.loads(one.address)) == ["customer", "order"]
    assert one.expires_at_ms == 5


@pytest.mark.parametrize(
    ("values", "field"),
    [
        *(({"order": "o"}, "customer"), ({"customer": "c"}, "order"), ({"customer": "", "order": "o"}, "customer")),
        *(({"customer": 1, "order": "o"}, "customer"), ({"customer": None, "order": "o"}, "customer")),
        *(({"customer": "é" * 1025, "order": "o"}, "customer"), ({"customer": "c", "order": "o" * 1025}, "order")),
    ],
)
def test_a_key_that_dynamodb_would_refuse_is_refused_by_its_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(MappingError) as caught:
        item(values, Key("customer", "order"))
    assert (caught.value.code, caught.value.field) == ("E-DDB-KEY", field)


def test_a_key_of_exactly_the_limit_is_taken() -> None:
    assert item({"customer": "é" * 1024, "order": "o" * 1024}, Key("customer", "order"))


# --- expiry (R56) -----------------------------------------------------------------------------------------------------

AT = dt.datetime(2020, 1, 1, 0, 0, 0, 999000, tzinfo=dt.UTC)
BEFORE = dt.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (AT, 1577836800),
        (BEFORE, -1),
        ([AT, BEFORE], -1),
        ([AT, None, "x"], 1577836800),
        (DatetimeMS(2**62), 2**62 // 1000),
    ],
)
def test_an_item_expires_in_whole_seconds_at_the_earliest_date(value: Any, seconds: int) -> None:
    one = mapped({"_id": 1, "at": value}, expires="at")
    assert orjson.loads(one.body)["_ttl"] == {"N": str(seconds)}
    assert one.expires_at_ms == seconds * 1000


@pytest.mark.parametrize("document", [{}, {"at": None}, {"at": []}, {"at": 1577836800}, {"at": "2020-01-01"}])
def test_an_item_without_a_date_never_expires(document: dict[str, Any]) -> None:
    one = mapped({"_id": 1, **document}, expires="at")
    assert one.expires_at_ms is None
    assert "_ttl" not in orjson.loads(one.body)


@pytest.mark.parametrize("at", [AT, None])
def test_a_field_in_the_place_of_the_expiry_is_refused_even_without_a_date(at: Any) -> None:
    for name, options in (("_ttl", {}), ("gone", {"ttl_attribute": "gone"})):
        with pytest.raises(MappingError) as caught:
            mapped({"_id": 1, "at": at, name: 5}, expires="at", **options)
        assert (caught.value.code, caught.value.field) == ("E-NAME-COLLISION", name)


def test_without_expiry_a_field_of_that_name_is_a_field() -> None:
    assert body({"_id": 1, "_ttl": 5})["_ttl"] == {"N": "5"}


@pytest.mark.parametrize("name", ["", "_id", "_id_full"])
def test_an_expiry_in_the_place_of_the_id_is_refused_with_the_plan(name: str) -> None:
    with pytest.raises(ValueError, match="ttl_attribute"):
        ItemMapper(ItemMapper.Options(expires="at", ttl_attribute=name), "orders", Losses())


# --- what comes back from a table -------------------------------------------------------------------------------------

DOCUMENT = {
    "_id": {"a": 1},
    "number": 1.5,
    "large": 1e22,
    "cohort": Decimal128("1.10"),
    "bytes": b"\x00\xff",
    "nan": math.nan,
    "stamp": Timestamp(1, 2),
    "list": [1, {"b": b"a", "n": Decimal128("1E+2")}, None, True],
}


def as_returned(value: Any) -> Any:
    """Typed JSON as a client gives it: binary as bytes, numbers in a notation of the store's."""
    if isinstance(value, list):
        return [as_returned(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"B"}:
        return {"B": base64.b64decode(value["B"])}
    if set(value) == {"N"}:
        return {"N": f"{Decimal(value['N']):e}"}
    return dict(reversed([(name, as_returned(inner)) for name, inner in value.items()]))


def test_an_item_read_back_is_the_item_written_whatever_its_order_and_notation() -> None:
    one = mapped(DOCUMENT)
    returned = as_returned(orjson.loads(one.body))
    assert orjson.dumps(returned, default=str) != one.body
    held = item_from_store(returned, Key())
    assert held.address == one.address
    assert held.canonical() == one.canonical()


@pytest.mark.parametrize(
    "change",
    [
        *({"number": 1.25}, {"number": "1.5"}, {"large": 1e22 + 2**21}, {"bytes": b"\x00\xfe"}, {"bytes": "AP8="}),
        *({"nan": "NaN"}, {"nan": None}, {"stamp": Timestamp(2, 1)}, {"list": []}, {"more": None}, {"list": None}),
        *({"list": [1, None, {"b": b"a", "n": Decimal128("1E+2")}, True]}, {"_id": {"a": 2}}, {"list": [True]}),
    ],
)
def test_an_item_that_differs_anywhere_is_another(change: dict[str, Any]) -> None:
    assert mapped({**DOCUMENT, **change}).canonical() != mapped(DOCUMENT).canonical()


def test_a_bool_is_no_number() -> None:
    assert mapped({"_id": 1, "f": True}).canonical() != mapped({"_id": 1, "f": 1}).canonical()


def test_sets_of_a_table_have_no_order() -> None:
    one, other = (
        item_from_store({"_id": {"S": "s:"}, "n": {"NS": n}, "s": {"SS": s}, "b": {"BS": b}}, Key())
        for n, s, b in ((["1.0", "2"], ["x", "y"], [b"x", b"y"]), (["2", "1"], ["y", "x"], [b"y", b"x"]))
    )
    assert one.canonical() == other.canonical()
    assert b'"n":{"NS":["1","2"]}' in one.canonical()


def test_arrays_stay_lists() -> None:
    assert body({"_id": 1, "f": ["a", "a"], "g": []}) == {
        "_id": {"S": encode(1)},
        "f": {"L": [{"S": "a"}, {"S": "a"}]},
        "g": {"L": []},
    }


def test_one_mapper_maps_many_documents_after_a_refusal() -> None:
    mapper = ItemMapper(ItemMapper.Options(), "orders", Losses())
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for _ in range(3):
        with pytest.raises(MappingError):
            mapper({"_id": 1, "f": deep})
        assert list(mapper(DOCUMENT)) == [mapped(DOCUMENT)]


@given(doubles(), integers(), decimals())
def test_numbers_as_the_store_gives_them_back_are_told_from_those_it_writes(
    double: float, number: int, decimal: Decimal128
) -> None:
    made = [DynamoDBValues().value(one) for one in (double, number, decimal)]
    for text in (one["N"] for one in made if "N" in one):
        assert _ODD_NUMBER.search(orjson.dumps({"n": {"N": text}})) is None
        sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
        for other in (f"{sign}0{digits}", f"{text}E0", f"{text}.0" if "." not in text else f"{text}0"):
            assert orjson.loads(item_from_store({"_id": {"S": "s"}, "n": {"N": other}}, Key()).body)["n"] == {"N": text}


@pytest.mark.parametrize("text", ["-0", "1.10", "1E2", "01", "1.", ".5", "-0.0", "+1", "0.10", "10.0"])
def test_an_odd_number_is_put_right(text: str) -> None:
    held = item_from_store({"_id": {"S": "s"}, "n": {"M": {"a": {"L": [{"N": text}]}}}}, Key())
    assert orjson.loads(held.body)["n"]["M"]["a"]["L"] == [{"N": dynamodb_text(Decimal(text))}]
