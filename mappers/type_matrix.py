"""The fate of every BSON type in every form of record, as one table; docs/values.md is made from it and tests hold it.

exact: the same value in the store's own type. text: the same value as a text. tagged: an object whose first name starts
with ``$``. rejected: the document is not written unless a policy says otherwise.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import bson
import orjson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from mappers.contract import Losses, MappingError
from mappers.documents.decoding import CODEC
from mappers.documents.irregular import decode_all
from mappers.dynamodb.values import DynamoDBValues
from mappers.policies import ITEM_POLICIES, JSON_POLICIES
from mappers.values.json_values import NULL_TEXT, elasticsearch_json, flat_text, redis_json

Fate = Literal["exact", "text", "tagged", "rejected"]
Form = Literal["dynamodb", "redis", "elasticsearch", "hash"]
FORMS: tuple[Form, ...] = ("dynamodb", "redis", "elasticsearch", "hash")


class Element(bytes):
    """A value that Python's BSON cannot write: the bytes of an element named ``v``."""


@dataclass(frozen=True, slots=True)
class Row:
    """The fate of one BSON type, or of a part of its values."""

    type: str
    sample: Any
    dynamodb: Fate
    json: Fate
    """In a Redis string and in an Elasticsearch document alike."""
    hash: Fate
    note: str = ""


def _string(text: bytes) -> bytes:
    return (len(text) + 1).to_bytes(4, "little") + text + b"\x00"


TABLE: tuple[Row, ...] = (
    Row("double", 1.5, "exact", "exact", "text", "1.0 is `N` 1 in DynamoDB; JSON keeps the point; see below"),
    Row("double -0.0", -0.0, "tagged", "exact", "text", "policy `neg_zero`"),
    Row("double NaN, ±Infinity", math.nan, "tagged", "tagged", "tagged", "one NaN; policy `nonfinite`"),
    Row("double outside 1E-130 to 9.99…E+125", 5e-324, "tagged", "exact", "text"),
    Row("decimal128", Decimal128("1.10"), "exact", "text", "text", "exact by value; policy `decimal_scale`"),
    Row("decimal128 -0", Decimal128("-0"), "tagged", "text", "text", "policy `neg_zero`"),
    Row("decimal128 outside that range", Decimal128("1E+6000"), "tagged", "text", "text"),
    Row("decimal128 NaN, ±Infinity", Decimal128("NaN"), "tagged", "tagged", "tagged", "one NaN; policy `nonfinite`"),
    Row("int", 7, "exact", "exact", "text"),
    Row("long", Int64(2**53 + 1), "exact", "exact", "text", "policy `int53`"),
    Row("string", "é", "exact", "exact", "exact"),
    Row("string that is no UTF-8", Element(b"\x02v\x00" + _string(b"\xff")), "rejected", "rejected", "rejected",
        "policy `utf8`"),
    Row("object", {"a": 1}, "exact", "exact", "text", "DynamoDB keeps no order of names; Elasticsearch gives it none"),
    Row("object with two fields of one name",
        Element(b"\x03v\x00\x0b\x00\x00\x00\x0aa\x00\x0aa\x00\x00"), "rejected", "rejected", "rejected",
        "policy `duplicates`"),
    Row("array", [1, "a"], "exact", "exact", "text"),
    Row("binary, subtype 0", b"\x00\xff", "exact", "text", "exact"),
    Row("binary, subtype 4 of 16 bytes (UUID)", Binary(bytes(range(16)), 4), "text", "text", "text"),
    Row("binary, subtype 3 (UUID of an old driver)", Binary(bytes(range(16)), 3), "tagged", "tagged", "tagged",
        "policy `uuid_legacy`"),
    Row("binary, any other", Binary(b"\x01", 5), "tagged", "tagged", "tagged"),
    Row("objectId", ObjectId("5f3b1c2d4e5f60718293a4b5"), "text", "text", "text"),
    Row("bool", True, "exact", "exact", "text"),
    Row("null", None, "exact", "exact", "tagged", "in a hash: policy `nulls`"),
    Row("date, years 1 to 9999", dt.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC), "exact", "text", "text",
        "milliseconds since 1970 in DynamoDB"),
    Row("date of another year", DatetimeMS(253402300800000), "exact", "tagged", "tagged"),
    Row("timestamp", Timestamp(1, 2), "tagged", "tagged", "tagged"),
    Row("regex", Regex(r"\p{L}", "i"), "tagged", "tagged", "tagged", "never compiled"),
    Row("javascript", Code("f()"), "tagged", "tagged", "tagged"),
    Row("javascript with scope", Code("f()", {"n": 1}), "tagged", "tagged", "tagged"),
    Row("a reference (DBRef)", DBRef("c", 1), "exact", "exact", "text", "the object it is stored as"),
    Row("minKey", MinKey(), "tagged", "tagged", "tagged"),
    Row("maxKey", MaxKey(), "tagged", "tagged", "tagged"),
    Row("undefined", Element(b"\x06v\x00"), "tagged", "tagged", "tagged"),
    Row("symbol", Element(b"\x0ev\x00" + _string(b"s")), "tagged", "tagged", "tagged"),
    Row("dbPointer", Element(b"\x0cv\x00" + _string(b"d.c") + bytes(12)), "tagged", "tagged", "tagged"),
)  # fmt: skip
"""Under the default policies."""


def stored(row: Row) -> bytes:
    """Return a document whose field ``v`` is the row's sample."""
    if not isinstance(row.sample, Element):
        return bson.encode({"v": row.sample}, codec_options=CODEC)
    return (len(row.sample) + 5).to_bytes(4, "little") + row.sample + b"\x00"


def written(row: Row, form: Form) -> bytes | None:
    """Return the sample as the form writes it, in JSON (for a hash its bytes); None if it is rejected."""
    policies = ITEM_POLICIES if form == "dynamodb" else JSON_POLICIES
    try:
        value = decode_all(stored(row), policies, Losses())["v"]
        match form:
            case "dynamodb":
                return orjson.dumps(DynamoDBValues().value(value))
            case "hash":
                return flat_text(value, redis_json())
            case "redis":
                return orjson.dumps(redis_json().value(value))
            case _:
                return orjson.dumps(elasticsearch_json().value(value))
    except MappingError:
        return None


def fate(row: Row, form: Form) -> Fate:
    """Return the actual fate of the sample, judged by its written form."""
    content = written(row, form)
    if content is None:
        return "rejected"
    if form == "hash":
        if type(row.sample) in (str, bytes):
            return "exact"
        return (
            "tagged"
            if content == NULL_TEXT or (content.startswith(b'{"$') and _is_tag(orjson.loads(content)))
            else "text"
        )
    value = orjson.loads(content)
    if form == "dynamodb":
        ((kind, value),) = value.items()
        if kind == "S":
            return "exact" if type(row.sample) is str else "text"
        return "tagged" if kind == "M" and _is_tag(value) else "exact"
    if isinstance(value, str):
        return "exact" if type(row.sample) is str else "text"
    return "tagged" if _is_tag(value) else "exact"


def declared(row: Row, form: Form) -> Fate:
    """Return the fate that the table promises."""
    return {"dynamodb": row.dynamodb, "hash": row.hash}.get(form, row.json)


def _is_tag(value: Any) -> bool:
    names: Iterator[str] = iter(value) if isinstance(value, dict) else iter(())
    first = next(names, "")
    return first.startswith("$") and not first.startswith("$$")
