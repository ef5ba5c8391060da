"""R1-R20, R22-R24: what each BSON value becomes in each form, row by row, and what holds for any document."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
import orjson
import pytest
from bson import SON, Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.contract import MappingError
from mappers.documents.decoding import CODEC, TYPE_NAMES, decode
from mappers.dynamodb.values import DynamoDBValues
from mappers.values.converter import iso_text
from mappers.values.field_names import RESERVED, dynamodb_name, elasticsearch_name, tagged_name
from mappers.values.json_values import elasticsearch_json, flat_text, milliseconds, redis_json

HEX = "5f3b1c2d4e5f60718293a4b5"
UUID_TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"
UUID_BYTES = bytes(range(16))


def date(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


@dataclass(frozen=True, slots=True)
class Row:
    """One value, its ``$type``, and its text in each form: JSON (the same for Redis and Elasticsearch), typed JSON."""

    kind: str
    value: Any
    json: str
    dynamodb: str


ROWS = (
    Row("double", 1.5, "1.5", '{"N":"1.5"}'),
    Row("double", 1.0, "1.0", '{"N":"1"}'),
    Row("double", 0.1, "0.1", '{"N":"0.1"}'),
    Row("double", 1e22, "1e22", '{"N":"10000000000000000000000"}'),
    Row("double", 1 / 3, "0.3333333333333333", '{"N":"0.3333333333333333"}'),
    Row("double", 0.0, "0.0", '{"N":"0"}'),
    Row("double", -0.0, "-0.0", '{"M":{"$numberDouble":{"S":"-0.0"}}}'),
    Row("double", math.nan, '{"$numberDouble":"NaN"}', '{"M":{"$numberDouble":{"S":"NaN"}}}'),
    Row("double", math.inf, '{"$numberDouble":"Infinity"}', '{"M":{"$numberDouble":{"S":"Infinity"}}}'),
    Row("double", -math.inf, '{"$numberDouble":"-Infinity"}', '{"M":{"$numberDouble":{"S":"-Infinity"}}}'),
    Row("double", 5e-324, "5e-324", '{"M":{"$numberDouble":{"S":"5e-324"}}}'),
    Row("double", 1e126, "1e126", '{"M":{"$numberDouble":{"S":"1e+126"}}}'),
    Row("string", "", '""', '{"S":""}'),
    Row("string", "a\x00é😀", '"a\\u0000é😀"', '{"S":"a\\u0000é😀"}'),
    Row("string", "NaN", '"NaN"', '{"S":"NaN"}'),
    Row("object", {}, "{}", '{"M":{}}'),
    Row("object", {"b": 1, "a": None}, '{"b":1,"a":null}', '{"M":{"b":{"N":"1"},"a":{"NULL":true}}}'),
    Row("array", [], "[]", '{"L":[]}'),
    Row("array", ["a", "a", [1]], '["a","a",[1]]', '{"L":[{"S":"a"},{"S":"a"},{"L":[{"N":"1"}]}]}'),
    Row("binData", b"", '""', '{"B":""}'),
    Row("binData", b"\x00\xff", '"AP8="', '{"B":"AP8="}'),
    Row("binData", Binary(UUID_BYTES, 4), f'"{UUID_TEXT}"', f'{{"S":"{UUID_TEXT}"}}'),
    Row(
        "binData",
        Binary(b"short", 4),
        '{"$binary":{"base64":"c2hvcnQ=","subType":"04"}}',
        '{"M":{"$binary":{"M":{"base64":{"S":"c2hvcnQ="},"subType":{"S":"04"}}}}}',
    ),
    Row(
        "binData",
        Binary(UUID_BYTES, 3),
        '{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"03"}}',
        '{"M":{"$binary":{"M":{"base64":{"S":"AAECAwQFBgcICQoLDA0ODw=="},"subType":{"S":"03"}}}}}',
    ),
    Row(
        "binData",
        Binary(b"a", 0x80),
        '{"$binary":{"base64":"YQ==","subType":"80"}}',
        '{"M":{"$binary":{"M":{"base64":{"S":"YQ=="},"subType":{"S":"80"}}}}}',
    ),
    Row("objectId", ObjectId(HEX), f'"{HEX}"', f'{{"S":"{HEX}"}}'),
    Row("bool", True, "true", '{"BOOL":true}'),
    Row("bool", False, "false", '{"BOOL":false}'),
    Row("date", date(1970, 1, 1), '"1970-01-01T00:00:00.000Z"', '{"N":"0"}'),
    Row("date", date(1969, 12, 31, 23, 59, 59, 999000), '"1969-12-31T23:59:59.999Z"', '{"N":"-1"}'),
    Row("date", date(1969, 12, 31, 23, 59, 59, 1000), '"1969-12-31T23:59:59.001Z"', '{"N":"-999"}'),
    Row("date", date(1, 1, 1), '"0001-01-01T00:00:00.000Z"', '{"N":"-62135596800000"}'),
    Row("date", date(9999, 12, 31, 23, 59, 59, 999000), '"9999-12-31T23:59:59.999Z"', '{"N":"253402300799999"}'),
    Row("date", DatetimeMS(2**63 - 1), f'{{"$date":{{"$numberLong":"{2**63 - 1}"}}}}', f'{{"N":"{2**63 - 1}"}}'),
    Row("date", DatetimeMS(-(2**63)), f'{{"$date":{{"$numberLong":"{-(2**63)}"}}}}', f'{{"N":"{-(2**63)}"}}'),
    Row("date", DatetimeMS(253402300800000), '{"$date":{"$numberLong":"253402300800000"}}', '{"N":"253402300800000"}'),
    Row("null", None, "null", '{"NULL":true}'),
    Row(
        "regex",
        Regex(r"^\p{L}", "xi"),
        r'{"$regularExpression":{"pattern":"^\\p{L}","options":"ix"}}',
        r'{"M":{"$regularExpression":{"M":{"pattern":{"S":"^\\p{L}"},"options":{"S":"ix"}}}}}',
    ),
    Row(
        "regex",
        Regex("(", "xusmli"),
        '{"$regularExpression":{"pattern":"(","options":"ilmsux"}}',
        '{"M":{"$regularExpression":{"M":{"pattern":{"S":"("},"options":{"S":"ilmsux"}}}}}',
    ),
    Row("javascript", Code("f()"), '{"$code":"f()"}', '{"M":{"$code":{"S":"f()"}}}'),
    Row(
        "javascriptWithScope",
        Code("f()", {"$x": math.nan}),
        '{"$code":"f()","$scope":{"$$x":{"$numberDouble":"NaN"}}}',
        '{"M":{"$code":{"S":"f()"},"$scope":{"M":{"$$x":{"M":{"$numberDouble":{"S":"NaN"}}}}}}}',
    ),
    Row(
        "javascriptWithScope",
        Code("f()", {}),
        '{"$code":"f()","$scope":{}}',
        '{"M":{"$code":{"S":"f()"},"$scope":{"M":{}}}}',
    ),
    Row("int", 0, "0", '{"N":"0"}'),
    Row("int", -(2**31), "-2147483648", '{"N":"-2147483648"}'),
    Row("long", Int64(1), "1", '{"N":"1"}'),
    Row("long", Int64(2**53 + 1), "9007199254740993", '{"N":"9007199254740993"}'),
    Row("long", Int64(-(2**63)), "-9223372036854775808", '{"N":"-9223372036854775808"}'),
    Row(
        "timestamp",
        Timestamp(0, 0),
        '{"$timestamp":{"t":0,"i":0}}',
        '{"M":{"$timestamp":{"M":{"t":{"N":"0"},"i":{"N":"0"}}}}}',
    ),
    Row("decimal", Decimal128("1.10"), '"1.10"', '{"N":"1.1"}'),
    Row("decimal", Decimal128("1E+2"), '"1E+2"', '{"N":"100"}'),
    Row("decimal", Decimal128("0E+6111"), '"0E+6111"', '{"N":"0"}'),
    Row("decimal", Decimal128("-0"), '"-0"', '{"M":{"$numberDecimal":{"S":"-0"}}}'),
    Row("decimal", Decimal128("1E+200"), '"1E+200"', '{"M":{"$numberDecimal":{"S":"1E+200"}}}'),
    Row("decimal", Decimal128("NaN"), '{"$numberDecimal":"NaN"}', '{"M":{"$numberDecimal":{"S":"NaN"}}}'),
    Row("decimal", Decimal128("sNaN"), '{"$numberDecimal":"NaN"}', '{"M":{"$numberDecimal":{"S":"NaN"}}}'),
    Row("decimal", Decimal128("-NaN"), '{"$numberDecimal":"NaN"}', '{"M":{"$numberDecimal":{"S":"NaN"}}}'),
    Row(
        "decimal",
        Decimal128("-Infinity"),
        '{"$numberDecimal":"-Infinity"}',
        '{"M":{"$numberDecimal":{"S":"-Infinity"}}}',
    ),
    Row("minKey", MinKey(), '{"$minKey":1}', '{"M":{"$minKey":{"N":"1"}}}'),
    Row("maxKey", MaxKey(), '{"$maxKey":1}', '{"M":{"$maxKey":{"N":"1"}}}'),
    Row(
        "object",
        DBRef("c", ObjectId(HEX), "d", more=math.nan),
        f'{{"$$ref":"c","$$id":"{HEX}","$$db":"d","more":{{"$numberDouble":"NaN"}}}}',
        f'{{"M":{{"$$ref":{{"S":"c"}},"$$id":{{"S":"{HEX}"}},"$$db":{{"S":"d"}},'
        '"more":{"M":{"$numberDouble":{"S":"NaN"}}}}}',
    ),
    Row(
        "object",
        {"$numberDouble": "NaN"},
        '{"$$numberDouble":"NaN"}',
        '{"M":{"$$numberDouble":{"S":"NaN"}}}',
    ),
)
REJECTED = {"undefined": b"\x06f\x00", "symbol": b"\x0ef\x00\x02\x00\x00\x00s\x00"}
REJECTED["dbPointer"] = b"\x0cf\x00\x02\x00\x00\x00c\x00" + bytes(12)


def test_every_bson_type_has_a_row_or_is_rejected() -> None:
    assert {row.kind for row in ROWS} | set(REJECTED) == set(TYPE_NAMES.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind} {row.value!r}"[:60])
def test_a_value_becomes_what_its_row_says(row: Row) -> None:
    raw = bson.encode({"f": row.value}, codec_options=CODEC)
    assert TYPE_NAMES[raw[4]] == row.kind
    for document in (decode(raw), {"f": row.value}):
        for values in (redis_json(), elasticsearch_json()):
            text = orjson.dumps(values.document(document)).decode()
            assert text.replace("e+", "e") == f'{{"f":{row.json}}}'  # The sign of an exponent is orjson's own choice.
        assert orjson.dumps(DynamoDBValues().item(document)).decode() == f'{{"f":{row.dynamodb}}}'
    assert orjson.dumps(DynamoDBValues().value(row.value)).decode() == row.dynamodb


@pytest.mark.parametrize("kind", REJECTED)
def test_a_deprecated_type_never_reaches_a_form(kind: str) -> None:
    body = REJECTED[kind] + b"\x00"
    with pytest.raises(MappingError) as caught:
        decode((len(body) + 4).to_bytes(4, "little") + body)
    assert (caught.value.code, caught.value.field) == ("E-SRC-ANOMALY", "f")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("text", b"text"), ("", b""), (None, b"\x00null"), (b"\xff", b"\xff"), (True, b"true"), (1, b"1")),
        *((1.5, b"1.5"), (-0.0, b"-0.0"), (math.nan, b'{"$numberDouble":"NaN"}'), (ObjectId(HEX), HEX.encode())),
        *((Decimal128("1.10"), b"1.10"), (date(1969, 12, 31), b"1969-12-31T00:00:00.000Z"), ([1], b"[1]")),
        *((Code("f()"), b'{"$code":"f()"}'), (Code("f()", {"x": 1}), b'{"$code":"f()","$scope":{"x":1}}')),
        *((Binary(UUID_BYTES, 4), UUID_TEXT.encode()), ({"$a": None}, b'{"$$a":null}')),
    ],
)
def test_a_hash_field_holds_the_text_of_a_value(value: Any, text: bytes) -> None:
    assert flat_text(value, redis_json()) == text


# --- values a mapper of one's own may bring ---------------------------------------------------------------------------


class Text(str):
    """As an enumeration of strings is."""


class Number(float):
    """As NumPy's float64 is: a float that prints in its own way."""

    def __repr__(self) -> str:
        return "Number(…)"


def test_subclasses_are_written_as_their_values() -> None:
    document = SON([("text", Text("t")), ("number", Number(1.5)), ("nan", Number("nan")), ("deep", SON(a=1))])
    expected = {"text": "t", "number": 1.5, "nan": {"$numberDouble": "NaN"}, "deep": {"a": 1}}
    for json_values in (redis_json(), elasticsearch_json()):
        assert orjson.loads(orjson.dumps(json_values.document(document))) == expected
    assert DynamoDBValues().item(document)["number"] == {"N": "1.5"}


def test_a_date_of_another_zone_is_the_same_moment() -> None:
    cet = dt.datetime(2020, 1, 1, 1, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert iso_text(cet) == "2020-01-01T00:00:00.000Z"
    assert milliseconds(cet) == 1577836800000


class Secret:
    def __repr__(self) -> str:
        return "secret"


@pytest.mark.parametrize("value", [Secret(), {1, 2}, (1,), Decimal(1), dt.datetime(2020, 1, 1), 2**64, -(2**63) - 1])
def test_what_bson_does_not_know_is_refused_by_its_path_and_not_its_value(value: Any) -> None:
    forms: tuple[Callable[[dict[str, Any]], Any], ...] = (
        redis_json().document,
        elasticsearch_json().document,
        DynamoDBValues().item,
    )
    for form in forms:
        with pytest.raises(MappingError) as caught:
            form({"a": {"b": [0, value]}})
        assert (caught.value.code, caught.value.field) == ("E-MAP-VALUE", "a.b.1")
        assert "secret" not in str(caught.value)
        assert caught.value.reason in (
            f"a value of type {type(value).__name__} is no BSON value",
            "a date without a time zone; give it one",
            "a whole number of more than 64 bits",
        )


def test_json_takes_the_depth_mongodb_takes() -> None:
    document: dict[str, Any] = {"f": Timestamp(1, 1)}
    for _ in range(99):  # 200 levels with the document's own and the tag's
        document = {"f": [document]}
    assert orjson.loads(orjson.dumps(redis_json().document(document)))
    assert orjson.loads(orjson.dumps(elasticsearch_json().document(document)))


# --- names (R8, R12) --------------------------------------------------------------------------------------------------

NAMES = [
    *("", ".", "..", "a", "a.b", "a..b", ".a", "a.", "$", "$x", "$$x", "$$$x", "$.x", "%", "%%", "%25", "%24x", "$%"),
    *("a%2Eb", "%2E", "%00E", "%2500E", "$%00E", "%5Fid", "%255Fid", "_id", "_source", "_", "__id", "id", "😀", "é"),
    *("$numberDouble", "$oid", "\x01", " ", "n" * 70_000),
]


def undo_tagged(name: str) -> str:
    if name.startswith("$"):
        assert name.startswith("$$")
        return name[1:]
    return name


def undo_dynamodb(name: str) -> str:
    name = undo_tagged(name)
    return "" if name == "%00E" else "%" + name[3:] if name.startswith("%25") else name


def undo_elasticsearch(name: str) -> str:
    if name == "%00E":
        return ""
    if name.startswith("%5F"):
        return "_" + name[3:]
    return undo_tagged(name).replace("%2E", ".").replace("%25", "%")


def legal_in_elasticsearch(name: str, top: bool) -> bool:
    return name != "" and "." not in name and not (top and name in ("_id", "_source", "_index", "_routing"))


FIELD_NAMES = st.sampled_from(NAMES[:-1]) | st.text(alphabet="$%.0E25F_id", max_size=6)


@settings(deadline=None)
@given(st.sets(FIELD_NAMES, max_size=12).map(lambda drawn: {*drawn, *NAMES}))
def test_no_two_names_become_one_and_each_is_legal_in_its_store(names: set[str]) -> None:
    for name in names:
        assert undo_tagged(tagged_name(name)) == name
        for top in (True, False):
            escaped = elasticsearch_name(name, top)
            assert undo_elasticsearch(escaped) == name
            assert legal_in_elasticsearch(escaped, top)
        if len(name) < 65_535:
            assert dynamodb_name(name) != ""
            assert undo_dynamodb(dynamodb_name(name)) == name
    for top in (True, False):
        assert len({elasticsearch_name(name, top) for name in names}) == len(names)
    assert len({dynamodb_name(name) for name in names if len(name) < 65_535}) == len(names) - 1


def test_an_id_below_the_top_is_an_ordinary_name() -> None:
    document = {"_source": {"_id": 1, "a.b": 2}}
    assert elasticsearch_json().document(document) == {"%5Fsource": {"_id": 1, "a%2Eb": 2}}
    assert redis_json().document(document) == document
    assert DynamoDBValues().item(document) == {"_source": {"M": {"_id": {"N": "1"}, "a.b": {"N": "2"}}}}


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_field_at_the_top_has_the_name_of_a_metadata_field(name: str) -> None:
    assert elasticsearch_json().document({name: 1, "a": {name: 2}}) == {f"%5F{name[1:]}": 1, "a": {name: 2}}


# As Elasticsearch 7.17.28 and OpenSearch 1.3.20, 2.19.6 and 3.9.0 refused them, or their source lists them.
METADATA = """_data_stream_timestamp _doc_count _feature _field_names _id _ignored _ignored_source _index _index_mode
_inference_fields _nested_path _routing _seq_no _size _source _tier _ts_routing_hash _tsid _type _version"""


def test_every_metadata_field_of_the_supported_servers_is_escaped_and_no_other_name() -> None:
    assert set(METADATA.split()) <= RESERVED
    names = {"_class": 1, "_score": 2, "__v": 3, "_": 4, "_feature_": 5, "feature": 6}
    assert elasticsearch_json().document(names) == names


# --- any document -----------------------------------------------------------------------------------------------------

TAG_NAMES = st.sampled_from(
    ("$numberDouble", "$numberDecimal", "$date", "$numberLong", "$binary", "$code", "$scope", "$minKey", "$timestamp")
)
DATES = st.integers(-62135596800000, 253402300799999).map(lambda ms: date(1970, 1, 1) + dt.timedelta(milliseconds=ms))
SCALARS = st.one_of(
    st.sampled_from([row.value for row in ROWS]),
    st.floats(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.builds(Binary, st.binary(max_size=17), st.sampled_from((0, 2, 3, 4, 5, 0x80))),
    st.integers(0, 2**128 - 1).map(lambda bits: Decimal128.from_bid(bits.to_bytes(16, "little"))),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Decimal128(repr(value))),
    DATES,
    st.integers(-(2**63), -62135596800001).map(DatetimeMS) | st.integers(253402300800000, 2**63 - 1).map(DatetimeMS),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TAG_NAMES | FIELD_NAMES, inner, max_size=4)
        | st.builds(Code, st.text(max_size=4), st.dictionaries(TAG_NAMES | FIELD_NAMES, inner, max_size=2))
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TAG_NAMES | FIELD_NAMES, VALUES, max_size=5)
TAGS = (
    *("$numberDouble", "$numberDecimal", "$date", "$binary", "$timestamp"),
    *("$regularExpression", "$code", "$minKey", "$maxKey"),
)


def extended_json(value: Any) -> Any:
    """The tag of a value as the driver's own Extended JSON writes it."""
    return json.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))


def meaning(value: Any, scalar: Callable[[Any], Any]) -> Any:
    """What a form must tell apart, by the store's idea of a scalar: texts, numbers, tags, objects and arrays."""
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Mapping):
        return ("object", *((name, meaning(inner, scalar)) for name, inner in value.items()))
    if isinstance(value, list):
        return ("array", *(meaning(inner, scalar) for inner in value))
    if isinstance(value, Code):
        return ("code", str(value), None if value.scope is None else meaning(value.scope, scalar))
    if isinstance(value, Binary) and value.subtype == 4 and len(value) == 16:
        return ("text", str(value.as_uuid()))
    if isinstance(value, bool | type(None)):
        return value
    if isinstance(value, str | ObjectId):
        return ("text", str(value))
    return scalar(value)


def json_scalar(value: Any) -> Any:
    match value:
        case dt.datetime():
            return ("text", f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z".rjust(24, "0"))
        case Decimal128() if value.to_decimal().is_finite():
            return ("text", str(value.to_decimal()))
        case bytes() if not isinstance(value, Binary):
            return ("text", extended_json(value)["$binary"]["base64"])
        case float() if math.isfinite(value):
            return ("double", value.hex())
        case int():
            return ("whole", value)
    return ("tag", extended_json(value))


def read_json(value: Any, undo: Callable[[str], str]) -> Any:
    match value:
        case dict():
            first = next(iter(value), "")
            if first == "$code":
                assert set(value) <= {"$code", "$scope"}
                return ("code", value["$code"], read_json(value["$scope"], undo) if "$scope" in value else None)
            if first in TAGS:
                assert len(value) == 1
                return ("tag", value)
            return ("object", *((undo(name), read_json(inner, undo)) for name, inner in value.items()))
        case list():
            return ("array", *(read_json(inner, undo) for inner in value))
        case str():
            return ("text", value)
        case float():
            return ("double", value.hex())
        case int() if not isinstance(value, bool):
            return ("whole", value)
    return value


def no_constant(text: str) -> Any:
    raise AssertionError(f"{text} is no JSON")


@settings(deadline=None)
@given(DOCUMENTS)
def test_json_tells_apart_all_it_promises_to_and_nothing_in_it_is_no_json(document: dict[str, Any]) -> None:
    document = dict(decode(bson.encode(document, codec_options=CODEC)))
    for values, undo in ((redis_json(), undo_tagged), (elasticsearch_json(), undo_elasticsearch)):
        text = orjson.dumps(values.document(document))
        read = json.loads(text, parse_constant=no_constant)
        assert read_json(read, undo) == meaning(document, json_scalar)


def dynamodb_number(value: Fraction, digits: int, signed_zero: bool) -> bool:
    return digits <= 38 and not signed_zero and (value == 0 or Fraction(10) ** -130 <= abs(value) < Fraction(10) ** 126)


def dynamodb_scalar(value: Any) -> Any:
    match value:
        case dt.datetime() | DatetimeMS():
            return ("number", Fraction(int(extended_json(value)["$date"]["$numberLong"])))
        case bytes() if not isinstance(value, Binary):
            return ("bytes", extended_json(value)["$binary"]["base64"])
        case int():
            return ("number", Fraction(value))
        case float() | Decimal128():
            exact = Decimal(repr(value)) if isinstance(value, float) else value.to_decimal()
            if exact.is_finite():
                digits = len("".join(map(str, exact.as_tuple().digits)).strip("0"))
                if dynamodb_number(Fraction(exact), digits, not exact and exact.is_signed()):
                    return ("number", Fraction(exact))
            if isinstance(value, float) and math.isfinite(value):
                return ("tag", {"$numberDouble": repr(value)})
            return ("tag", {"$numberDecimal": str(value)} if isinstance(value, Decimal128) else extended_json(value))
    return ("tag", extended_json(value))


def plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    return {name: plain(leaf) for name, leaf in inner.items()} if kind == "M" else int(inner) if kind == "N" else inner


def read_dynamodb(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    match kind:
        case "M":
            first = next(iter(inner), "")
            if first == "$code":
                assert set(inner) <= {"$code", "$scope"}
                return ("code", inner["$code"]["S"], read_dynamodb(inner["$scope"]) if "$scope" in inner else None)
            if first in TAGS:
                return ("tag", plain(value))
            return ("object", *((undo_dynamodb(name), read_dynamodb(element)) for name, element in inner.items()))
        case "L":
            return ("array", *map(read_dynamodb, inner))
        case "S":
            return ("text", inner)
        case "B":
            return ("bytes", inner)
        case "N":
            assert len(inner.lstrip("-").replace(".", "").strip("0")) <= 38
            assert dynamodb_number(Fraction(inner), 0, inner.startswith("-0") and not Fraction(inner))
            return ("number", Fraction(inner))
        case "NULL":
            return None
    assert kind == "BOOL"
    return inner


@settings(deadline=None)
@given(DOCUMENTS)
def test_an_item_tells_apart_all_it_promises_to_within_what_dynamodb_takes(document: dict[str, Any]) -> None:
    document = dict(decode(bson.encode(document, codec_options=CODEC)))
    item = json.loads(orjson.dumps(DynamoDBValues().item(document)), parse_constant=no_constant)
    assert read_dynamodb({"M": item}) == meaning(document, dynamodb_scalar)


def test_a_tag_and_the_user_data_that_looks_like_it_are_never_one_output() -> None:
    tagged = [row for row in ROWS if row.json.startswith('{"$') and not row.json.startswith('{"$$')]
    assert {next(iter(json.loads(row.json))) for row in tagged} == set(TAGS)
    for form in (redis_json().document, elasticsearch_json().document, DynamoDBValues().item):
        tags = [orjson.dumps(form({"f": row.value})) for row in tagged]
        for row in tagged:
            assert orjson.dumps(form({"f": json.loads(row.json)})) not in tags
