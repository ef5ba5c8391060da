"""Hypothesis strategies for whatever a MongoDB can hold, with the values that break conversions drawn often."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from typing import Any

import bson
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS
from hypothesis import strategies as st

from mappers.documents.decoding import CODEC

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

_EDGE_INTEGERS = sorted(
    {0, 1, -1, 2**24 + 1, INT32_MIN, INT32_MIN - 1, INT32_MAX, INT32_MAX + 1, INT64_MIN, INT64_MAX, INT64_MIN + 1}
    | {sign * (2**53 + near) for sign in (1, -1) for near in (-1, 0, 1)}
)
_EDGE_FLOATS = [
    *(math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e308, -1e308),
    *(1.7976931348623157e308, 0.1, 1.0, 1e16, 1e21, 1e22, 1e-7, 2.0**53, 2.0**53 + 2, -(2.0**63), 2.0**63),
]
_EDGE_DECIMALS = [
    *("NaN", "Infinity", "-Infinity", "0", "-0", "0E+3", "-0E-6176", "1.10", "1.1", "0.1", "1E+6000", "-1E-6000"),
    *("1E-6176", "9.999999999999999999999999999999999E+6144", "1234567890123456789012345678901234", "100", "1E+2"),
    *("-0.1234567890123456789012345678901234", "9007199254740993"),
]
_EDGE_TEXTS = [
    *("", " ", "\x00", "a\x00b", "\x00a", "é", "e\u0301", "ß", "\ufeff", "\ufffe", "\uffff", "\u2028", "\x7f"),
    *(
        "😀",
        "👩‍👩‍👧‍👦",
        "\U0010ffff",
        "\u202e",
        '"',
        "\\",
        "\r\n",
        "null",
        "NaN",
        "1",
        "01",
        "1.0",
        "true",
        "o:",
        "n:1",
    ),
]
_EDGE_NAMES = [
    "a",
    "A",
    "b",
    "",
    " ",
    ".",
    "a.b",
    "a.",
    "$",
    "$date",
    "$numberLong",
    "$ref",
    "%",
    "a%2Eb",
    "_",
    "é",
    "😀",
]
_SUBTYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 128, 255)

INT64 = st.sampled_from(_EDGE_INTEGERS) | st.integers(-1000, 1000) | st.integers(INT64_MIN, INT64_MAX)


def texts(max_size: int = 12) -> st.SearchStrategy[str]:
    """Any string BSON can hold: no lone surrogates, which are no UTF-8."""
    return st.sampled_from(_EDGE_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)


def names() -> st.SearchStrategy[str]:
    """Any field name: empty, dotted, with $ or %, but without NUL, which ends a name."""
    anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    return st.sampled_from(_EDGE_NAMES) | anything


def doubles() -> st.SearchStrategy[float]:
    """Any double, NaN, infinities, both zeros and subnormals included."""
    return st.sampled_from(_EDGE_FLOATS) | st.floats()


def integers() -> st.SearchStrategy[int]:
    """Any 32-bit or 64-bit integer; an Int64 stays 64 bits wide even where 32 would do."""
    return INT64 | INT64.map(Int64)


def decimals() -> st.SearchStrategy[Decimal128]:
    """Any Decimal128: NaN, infinities, negative zero, trailing zeros, 34 digits, exponents to both ends."""
    digits = st.integers(-(10**34) + 1, 10**34 - 1)
    exponents = st.sampled_from([-6176, -130, -34, -2, -1, 0, 1, 2, 34, 125, 126, 6111]) | st.integers(-6176, 6111)
    built = st.builds(lambda number, exponent: f"{number}E{exponent:+d}", digits, exponents)
    return (st.sampled_from(_EDGE_DECIMALS) | built).map(Decimal128)


def dates() -> st.SearchStrategy[dt.datetime | DatetimeMS]:
    """Any date, to the millisecond: within Python's years a datetime in UTC, outside them a DatetimeMS."""
    first, last = -62_135_596_800_000, 253_402_300_799_999
    milliseconds = st.integers(first, last)
    edges = st.sampled_from([0, 1, -1, 999, -999, first, last, 4_102_444_800_000, 2**31 * 1000, -(2**31) * 1000])
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    inside = (edges | milliseconds).map(lambda ms: epoch + dt.timedelta(milliseconds=ms))
    outside = st.sampled_from([INT64_MIN, INT64_MAX, first - 1, last + 1]) | st.integers(last + 1, INT64_MAX)
    return inside | outside.map(DatetimeMS)


def object_ids() -> st.SearchStrategy[ObjectId]:
    """Any ObjectId."""
    return st.binary(min_size=12, max_size=12).map(ObjectId)


def binaries() -> st.SearchStrategy[Binary | bytes]:
    """Binary of every subtype, UUIDs of subtype 4 and the legacy orders of subtype 3; subtype 0 decodes to bytes."""
    uuids = st.builds(
        Binary.from_uuid,
        st.uuids(),
        st.sampled_from(
            [
                UuidRepresentation.STANDARD,
                UuidRepresentation.PYTHON_LEGACY,
                UuidRepresentation.JAVA_LEGACY,
                UuidRepresentation.CSHARP_LEGACY,
            ]
        ),
    )
    edges = st.sampled_from(
        [Binary.from_uuid(uuid.UUID(int=0)), Binary(b"", 0x80), Binary(b"short", 4), Binary(b"", 5)]
    )
    others = st.builds(Binary, st.binary(max_size=20), st.sampled_from(_SUBTYPES))
    return (uuids | edges | others).map(lambda value: bytes(value) if value.subtype == 0 else value)


def regexes() -> st.SearchStrategy[Regex[str]]:
    """Regular expressions as the server keeps them: any pattern without NUL, options in alphabetical order."""
    pattern = texts().filter(lambda text: "\x00" not in text)
    options = st.sets(st.sampled_from("imsux")).map(lambda some: "".join(sorted(some)))
    return st.builds(Regex, pattern, options)


def codes() -> st.SearchStrategy[Code]:
    """JavaScript, with a scope or without one."""
    scopes = st.none() | st.dictionaries(names(), INT64 | texts(), max_size=2)
    return st.builds(Code, texts(), scopes)


def timestamps() -> st.SearchStrategy[Timestamp]:
    """Internal timestamps up to the last second and counter."""
    part = st.sampled_from([0, 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
    return st.builds(Timestamp, part, part)


def references() -> st.SearchStrategy[DBRef]:
    """DBRefs with an ObjectId or a string, with a database or without."""
    return st.builds(
        DBRef, st.sampled_from(["users", "a.b", "é"]), object_ids() | texts(), st.sampled_from([None, "shop"])
    )


def scalars() -> st.SearchStrategy[Any]:
    """A value of any BSON type that holds no other, the deprecated three aside (a decoder cannot give them)."""
    return st.one_of(
        st.none(),
        st.booleans(),
        integers(),
        doubles(),
        decimals(),
        texts(),
        dates(),
        object_ids(),
        binaries(),
        regexes(),
        codes(),
        timestamps(),
        st.sampled_from([MinKey(), MaxKey()]),
    )


def values(depth: int = 4) -> st.SearchStrategy[Any]:
    """Any BSON value, nested at most so deep; empty objects and arrays included."""
    value = scalars() | references()
    for _ in range(depth):
        inner = value
        value = scalars() | references() | st.lists(inner, max_size=3) | objects(inner)
    return value


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object whose fields hold `inner`; never one that a decoder takes for a DBRef ($ref and $id together)."""
    return st.dictionaries(names(), inner, max_size=4).filter(lambda some: not {"$ref", "$id"} <= some.keys())


def ids() -> st.SearchStrategy[Any]:
    """Any `_id` MongoDB takes: every type but array, regex and undefined; an object's names do not start with $."""
    plain = st.one_of(
        object_ids(),
        texts(),
        integers(),
        doubles(),
        decimals(),
        st.booleans(),
        st.none(),
        dates(),
        binaries(),
        timestamps(),
        codes(),
        st.sampled_from([MinKey(), MaxKey()]),
    )
    own_names = names().filter(lambda name: not name.startswith("$"))
    inside = plain | regexes() | st.lists(plain, max_size=2)
    return plain | st.dictionaries(own_names, inside | st.dictionaries(own_names, inside, max_size=2), max_size=3)


def documents(
    identity: st.SearchStrategy[Any] | None = None, value: st.SearchStrategy[Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """A stored document: its `_id` first, then up to five fields of any names and values."""
    fields = st.dictionaries(
        names().filter(lambda name: name != "_id"), values() if value is None else value, max_size=5
    )
    return st.builds(
        lambda own, others: {"_id": own, **others},
        ids() if identity is None else identity,
        fields.filter(lambda some: not {"$ref", "$id"} <= some.keys()),
    )


def _string(content: bytes) -> bytes:
    return (len(content) + 1).to_bytes(4, "little") + content + b"\x00"


def _object(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\x00"
    return (len(body) + 4).to_bytes(4, "little") + body


def _scoped(code: bytes, scope: bytes) -> bytes:
    return (4 + len(_string(code)) + len(scope)).to_bytes(4, "little") + _string(code) + scope


ODD_ELEMENTS: dict[str, bytes] = {
    "undefined": b"\x06odd\x00",
    "symbol": b"\x0eodd\x00" + _string("sýmbol".encode()),
    "dbPointer": b"\x0codd\x00" + _string(b"db.things") + bytes(range(12)),
    "undefined in an array": b"\x04odd\x00" + _object(b"\x060\x00", b"\x0a1\x00"),
    "symbol in an object": b"\x03odd\x00" + _object(b"\x0ea.b\x00" + _string(b""), b"\x10$n\x00\x01\x00\x00\x00"),
    "code with an odd scope": b"\x0fodd\x00" + _scoped(b"f()", _object(b"\x06u\x00")),
    "$id before $ref": b"\x03odd\x00" + _object(b"\x0a$id\x00", b"\x02$ref\x00" + _string(b"things")),
    "two fields of one name": b"\x0aodd\x00" + b"\x02odd\x00" + _string(b"second") + b"\x01odd\x00" + b"\x00" * 8,
    "invalid UTF-8": b"\x02odd\x00" + _string(b"\xff text \xc3"),
}
"""Elements that a decoder changes or refuses, by what is odd; each field is called odd."""


def raw_documents(value: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[bytes]:
    """The bytes of a stored document: often with odd elements, its `_id` sometimes in the middle, as a view has it."""

    def built(document: dict[str, Any], odd: str | None, id_last: bool) -> bytes:
        document.pop("odd", None)
        if id_last:
            document["_id"] = document.pop("_id")
        elements = bson.encode({"": document}, codec_options=CODEC)[6:-1][4:-1]
        return _object(elements, ODD_ELEMENTS[odd] if odd else b"")

    oddities = st.none() | st.sampled_from(list(ODD_ELEMENTS))
    return st.builds(built, documents(value=value), oddities, st.booleans())
