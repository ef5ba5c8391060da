"""R2, R3, R13, R14, R17, R22-R24: what cannot be decoded without loss is refused, everything else comes out whole."""

from __future__ import annotations

import datetime as dt
import random
import struct
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON

from mappers.contract import MappingError
from mappers.documents.decoding import CODEC, TYPE_NAMES, decode, documents, identity_type, position

OBJECT_ID = bytes(range(12))


def document(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\x00"
    return (len(body) + 4).to_bytes(4, "little") + body


def element(kind: int, name: bytes, value: bytes = b"") -> bytes:
    return bytes((kind,)) + name + b"\x00" + value


def string(text: bytes) -> bytes:
    return (len(text) + 1).to_bytes(4, "little") + text + b"\x00"


def int32(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


ID = element(0x10, b"_id", int32(1))
SECRET = string(b"secret")

LOST = {
    "undefined": ("f", element(0x06, b"f")),
    "undefined in an array": ("f", element(0x04, b"f", document(element(0x06, b"0")))),
    "symbol": ("f", element(0x0E, b"f", SECRET)),
    "nested symbol": ("f", element(0x03, b"f", document(element(0x0E, b"deep", SECRET)))),
    "dbPointer": ("f", element(0x0C, b"f", SECRET + OBJECT_ID)),
    "two fields of one name": ("f", element(0x02, b"f", SECRET) + element(0x02, b"f", string(b"other"))),
    "two equal fields of one name": ("f", element(0x02, b"f", SECRET) * 2),
    "two _id fields": ("_id", element(0x02, b"_id", SECRET)),
    "nested fields of one name": ("f", element(0x03, b"f", document(element(0x02, b"a", SECRET), element(0x0A, b"a")))),
    "$id before $ref": (
        "f",
        element(0x03, b"f", document(element(0x02, b"$id", SECRET), element(0x02, b"$ref", string(b"c")))),
    ),
    "a reference's own field before $db": (
        "f",
        element(
            0x03,
            b"f",
            document(
                element(0x02, b"$ref", string(b"c")),
                element(0x02, b"$id", SECRET),
                element(0x0A, b"x"),
                element(0x02, b"$db", string(b"d")),
            ),
        ),
    ),
    "array keys that do not count": ("f", element(0x04, b"f", document(element(0x02, b"7", SECRET)))),
    "array keys with a leading zero": ("f", element(0x04, b"f", document(element(0x02, b"00", SECRET)))),
    "unsorted regex options": ("f", element(0x0B, b"f", b"secret\x00xi\x00")),
    "unknown regex option": ("f", element(0x0B, b"f", b"secret\x00iq\x00")),
    "regex option given twice": ("f", element(0x0B, b"f", b"secret\x00ii\x00")),
}

UNDECODABLE = {
    "invalid UTF-8 in a value": ("f", document(ID, element(0x02, b"f", string(b"secret\xff")))),
    "invalid UTF-8 in a nested value": (
        "f",
        document(ID, element(0x03, b"f", document(element(0x02, b"deep", string(b"secret\xff"))))),
    ),
    "invalid UTF-8 in a name": (r"f\xff", document(ID, element(0x02, b"f\xff", SECRET))),
    "a boolean that is neither 0 nor 1": ("f", document(ID, element(0x08, b"f", b"\x02"))),
    "unknown element type": ("f", document(ID, element(0x20, b"f", SECRET))),
    "unknown nested element type": ("f", document(ID, element(0x03, b"f", document(element(0x20, b"secret", SECRET))))),
    "a string longer than the document": ("f", document(ID, element(0x02, b"f", int32(999) + b"secret\x00"))),
    "a value without its end": ("f", document(ID, element(0x0B, b"f", b"secret"))),
    "truncated within a value": ("f", document(ID, element(0x02, b"f", SECRET))[:-6]),
    "a length that is too long": ("", int32(99) + document(ID)[4:]),
    "a length that is too short": ("", int32(3) + document(ID)[4:]),
    "bytes after the end": ("", document(ID) + b"\x00"),
    "nothing": ("", b""),
}


@pytest.mark.parametrize("case", LOST)
def test_a_value_that_decoding_would_change_is_refused_by_its_field(case: str) -> None:
    field, elements = LOST[case]
    raw = document(ID, element(0x0A, b"before"), elements, element(0x0A, b"after"))
    bson.decode(raw, CODEC)  # The decoder itself sees nothing wrong, which is why the bytes are compared.
    with pytest.raises(MappingError) as caught:
        decode(raw)
    assert (caught.value.code, caught.value.field) == ("E-SRC-ANOMALY", field)
    assert "secret" not in f"{caught.value} {caught.value.args}"


@pytest.mark.parametrize("case", UNDECODABLE)
def test_bytes_that_cannot_be_decoded_are_refused_by_their_field(case: str) -> None:
    field, raw = UNDECODABLE[case]
    with pytest.raises(MappingError) as caught:
        decode(raw)
    assert (caught.value.code, caught.value.field) == ("E-SRC-DECODE", field)
    assert "secret" not in f"{caught.value} {caught.value.args}"


def test_a_repeated_name_is_told_from_a_deprecated_type() -> None:
    reasons = []
    for case in ("two fields of one name", "symbol"):
        with pytest.raises(MappingError) as caught:
            decode(document(ID, LOST[case][1]))
        reasons.append(caught.value.reason)
    assert "two fields" in reasons[0]
    assert "symbol" in reasons[1]


SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -(2**31), Int64(1), Int64(2**63 - 1), 0.0, -0.0, 1.5, 5e-324, float("inf")),
    *("", "text", "nul\x00inside", "é漢😀", b"", b"bytes", ObjectId(OBJECT_ID), dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
    *(DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1), Decimal128("1.10"), Decimal128("sNaN"), Decimal128("-0E+6111")),
    *(Binary(b"u" * 16, 4), Binary(b"short", 4), Binary(b"u" * 16, 3), Binary(b"x", 2), Binary(b"x", 0x80)),
    *(Regex(r"\p{L}", "imsux"), Regex(""), Timestamp(0, 0), Timestamp(2**32 - 1, 1), MinKey(), MaxKey()),
    *(Code("f()"), Code("f()", {}), Code("f()", {"x": float("inf")}), DBRef("c", 1), DBRef("c", "x", "db", more=[1])),
)
NAMES = ("a", "", "a.b", "$x", "$ref", "$id", "$db", "0", "_id", "é", "a%2Eb")


def random_value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(10) if depth else 9
    if kind == 0:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(12))]
    if kind == 1:
        return random_object(rng, depth - 1)
    if kind == 2:
        return rng.uniform(-1e9, 1e9)
    if kind == 3:
        return Int64(rng.randrange(-(2**63), 2**63))
    return rng.choice(SCALARS)


def random_object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = [rng.choice(NAMES) for _ in range(rng.randrange(6))]
    if "$ref" in names and "$id" in names:  # In another order it would be the anomaly of LOST.
        names = [name for name in names if not name.startswith("$")]
    return {name: random_value(rng, depth) for name in names}


def test_ten_thousand_ordinary_documents_are_not_flagged() -> None:
    rng = random.Random(2)
    for number in range(10_000):
        raw = bson.encode({"_id": number} | random_object(rng, 3), codec_options=CODEC)
        assert bson.encode(decode(raw), codec_options=CODEC) == raw


def test_a_damaged_document_is_decoded_whole_or_refused_and_nothing_else() -> None:
    rng = random.Random(3)
    refused = 0
    for number in range(10_000):
        raw = bytearray(bson.encode({"_id": number} | random_object(rng, 2), codec_options=CODEC))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.choice((*TYPE_NAMES, 0, 0x20, rng.randrange(256)))
        damaged = bytes(raw[: rng.randrange(len(raw))] if rng.random() < 0.1 else raw)
        try:
            decoded = decode(damaged)
        except MappingError:
            refused += 1
        else:
            assert bson.encode(decoded, codec_options=CODEC) == damaged
    assert 1_000 < refused < 10_000


@pytest.mark.parametrize(
    "value", [-(2**63), -62135596800001, -62135596800000, -1, 0, 1, 253402300799999, 253402300800000, 2**63 - 1]
)
def test_a_date_of_any_year_survives(value: int) -> None:
    raw = document(ID, element(0x09, b"at", value.to_bytes(8, "little", signed=True)))
    at = decode(raw)["at"]
    within = -62135596800000 <= value <= 253402300799999  # Years 1 to 9999, those of Python.
    assert type(at) is (dt.datetime if within else DatetimeMS)
    assert bson.encode({"at": at}, codec_options=CODEC)[8:16] == value.to_bytes(8, "little", signed=True)


def test_binary_uuids_and_patterns_are_left_as_they_are_stored() -> None:
    values = {"legacy": Binary(b"u" * 16, 3), "uuid": Binary(b"u" * 16, 4), "regex": Regex(r"\p{L}", "i")}
    decoded = decode(bson.encode(values, codec_options=CODEC))
    assert {name: type(value) for name, value in decoded.items()} == {"legacy": Binary, "uuid": Binary, "regex": Regex}
    assert (decoded["legacy"].subtype, decoded["uuid"].subtype) == (3, 4)
    assert decoded["regex"].pattern == r"\p{L}"


# Alias of $type (MongoDB's manual), type byte (bsonspec.org) and the bytes of one value of each type.
VALUES = [
    ("double", 0x01, struct.pack("<d", 1.5)),
    ("string", 0x02, string(b"_id\x00\x01_id")),
    ("object", 0x03, document(element(0x10, b"_id", int32(7)))),
    ("array", 0x04, document(element(0x10, b"0", int32(7)))),
    ("binData", 0x05, int32(3) + b"\x80abc"),
    ("undefined", 0x06, b""),
    ("objectId", 0x07, OBJECT_ID),
    ("bool", 0x08, b"\x01"),
    ("date", 0x09, bytes(8)),
    ("null", 0x0A, b""),
    ("regex", 0x0B, b"a\x00ix\x00"),
    ("dbPointer", 0x0C, string(b"c") + OBJECT_ID),
    ("javascript", 0x0D, string(b"f()")),
    ("symbol", 0x0E, string(b"s")),
    ("javascriptWithScope", 0x0F, int32(4 + 4 + 4 + 5) + string(b"f()") + document()),
    ("int", 0x10, int32(7)),
    ("timestamp", 0x11, bytes(8)),
    ("long", 0x12, bytes(8)),
    ("decimal", 0x13, Decimal128("1.10").bid),
    ("maxKey", 0x7F, b""),
    ("minKey", 0xFF, b""),
]


def test_every_bson_type_has_its_alias() -> None:
    assert {kind: alias for alias, kind, _ in VALUES} == TYPE_NAMES


@pytest.mark.parametrize(("alias", "kind", "value"), VALUES, ids=[alias for alias, *_ in VALUES])
@pytest.mark.parametrize("others_before", [False, True])
def test_type_and_position_of_an_id_are_those_of_its_bytes(
    alias: str, kind: int, value: bytes, others_before: bool
) -> None:
    # With every other type before it, so that each is walked past once.
    before = [element(k, b"f%d" % k, v) for _, k, v in VALUES] if others_before else []
    raw = document(*before, element(kind, b"_id", value), element(0x10, b"last", int32(1)))
    assert identity_type(raw) == alias
    assert position(raw) == document(element(kind, b"_id", value))


@pytest.mark.parametrize(("alias", "kind", "value"), VALUES, ids=[alias for alias, *_ in VALUES])
def test_a_position_holds_the_id_that_decoding_gives(alias: str, kind: int, value: bytes) -> None:
    raw = document(element(0x10, b"first", int32(1)), element(kind, b"_id", value))
    if alias in ("undefined", "symbol", "dbPointer"):
        with pytest.raises(MappingError):
            decode(raw)
        return
    at = position(raw)
    assert at is not None
    assert bson.encode({"_id": decode(raw)["_id"]}, codec_options=CODEC) == at


@pytest.mark.parametrize(
    "raw", [document(), document(element(0x03, b"a", document(ID))), document(element(0x0A, b"_"))]
)
def test_a_document_without_an_id_has_no_position(raw: bytes) -> None:
    assert position(raw) is None
    assert identity_type(raw) == "missing"


@pytest.mark.parametrize("raw", [b"", document(ID)[:-8], document(element(0x20, b"f", SECRET))])
def test_bytes_that_are_no_document_have_no_position(raw: bytes) -> None:
    with pytest.raises(MappingError):
        position(raw)


def test_the_type_of_an_id_never_stops_a_batch() -> None:
    assert identity_type(b"") == identity_type(document(element(0x20, b"f", SECRET), ID)) == "unknown"
    assert identity_type(document(ID)[:-3]) == "int"  # It stands before the place of damage.
    assert identity_type(document(element(0x20, b"_id"))) == "0x20"


def test_a_batch_is_cut_into_exactly_its_documents() -> None:
    whole = [bson.encode({"_id": number, "text": "x" * number}) for number in range(50)] + [document()]
    assert documents(b"".join(whole)) == whole
    assert documents(b"") == []


@pytest.mark.parametrize("tail", [int32(0), int32(4), b"\x05", document(ID)[:-1], int32(-1)])
def test_a_batch_that_is_cut_short_is_an_error_and_not_a_shorter_batch(tail: bytes) -> None:
    with pytest.raises(InvalidBSON):
        documents(document(ID) + tail)


def test_a_document_with_its_id_last_is_decoded_in_its_own_order() -> None:
    raw = document(element(0x0A, b"a"), ID, element(0x0A, b"z"))
    assert list(decode(raw)) == ["a", "_id", "z"]
