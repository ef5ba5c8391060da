"""The text of an `_id` in a key: typed, equal exactly for ids that MongoDB holds equal, or plain (R31-R33)."""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal

import bson
import orjson
from bson import Binary, DBRef, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, MappingError
from mappers.documents.decimals import exact_text
from mappers.documents.decoding import CODEC

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_SHORTENED = re.compile("h:[0-9a-f]{64}")


IdEncoding = Literal["typed", "plain"]
"""How a route writes `_id` into keys: with a prefix for its type, or as its text alone."""

PLAIN_KINDS: Mapping[str, str] = {
    "string": "string",
    "objectId": "objectId",
    "int": "number",
    "long": "number",
    "binData": "UUID",
}
"""The BSON types of `_id` that have a plain text, and their kind: within one kind no two ids share a text.

Doubles and decimals are left out, since 1.0 is no text that anyone would look for and 0.1 is two ids; so are objects,
arrays and all binary data but UUIDs.
"""


def identity(document: Document, encoding: IdEncoding = "typed") -> str:
    """Return the text of the document's `_id`; raises MappingError where it has none (a view may drop it)."""
    if "_id" not in document:
        raise MappingError(
            "E-ID-MISSING", "_id", "the document has no _id, so nothing would identify its record in a target"
        )
    return encode(document["_id"]) if encoding == "typed" else plain(document["_id"])


def encode(value: Any) -> str:
    """Return the typed text of one id, injective up to MongoDB's own equality of numbers.

    ``o:`` ObjectId hex, ``s:`` string, ``n:`` exact decimal (1, 1.0 and Long 1 are one id in MongoDB; double 0.1 and
    decimal 0.1 are two), ``d:`` epoch milliseconds, ``b:`` boolean, ``z:`` null, ``u:`` UUID, ``j:`` JSON of an object,
    array or DBRef whose leaves are encoded likewise in their order, ``x:`` base64url of the BSON of anything else.
    """
    simple = _SIMPLE.get(type(value))
    if simple is not None:
        return simple(value)
    if isinstance(value, Mapping | list | DBRef):
        return "j:" + orjson.dumps(_structure(value)).decode()
    return "x:" + base64.urlsafe_b64encode(bson.encode({"": value}, codec_options=CODEC)[4:-1]).decode()


def plain(value: Any) -> str:
    """Return the id's text without a prefix: the string, the hex of an ObjectId, a whole number, a UUID.

    Two ids of different kinds may share a text. The caller must first prove that all are of one kind (`PLAIN_KINDS`).
    Raises MappingError E-ID-TYPE for an id that has no plain text, and for the empty string, which leaves nothing of
    itself in a key (R33).
    """
    if value == "":
        raise MappingError("E-ID-TYPE", "_id", 'it is the empty string "", which has no plain text')
    if type(value) in (str, int, bson.Int64, ObjectId):
        return str(value)
    if type(value) is Binary and value.subtype == 4 and len(value) == 16:
        return str(value.as_uuid(4))
    raise MappingError("E-ID-TYPE", "_id", f"it is {type(value).__name__}, which has no plain text")


def shortened(text: str, limit_bytes: int) -> str:
    """Return the text itself if it fits the store's limit, else ``h:`` and its BLAKE2b-256 (R32).

    A plain text that begins with ``h:`` is hashed too, so that it never is what another id was shortened to. Whoever
    shortens keeps the full text beside the record.
    """
    encoded = text.encode()
    if len(encoded) <= limit_bytes and not text.startswith("h:"):
        return text
    return "h:" + blake2b(encoded, digest_size=32).hexdigest()


def unmistakable(text: str) -> str:
    """Return the text itself unless it could be read as a shortened one (``h:`` and 64 hex digits), else its digest.

    For an id within a longer key, which is shortened only where the whole key is too long. Only a plain id can be such
    a text. Every other plain id that begins with ``h:`` keeps its text.
    """
    return shortened(text, 0) if _SHORTENED.fullmatch(text) else text


def may_be_id(text: str, encoding: IdEncoding = "typed", kind: str = "") -> bool:
    """Return whether some `_id` has this text; `kind` is the one kind of all plain ids, "" if it is not known."""
    if encoding == "typed":
        return _TYPED.fullmatch(text) is not None
    return bool(text) and (kind not in _PLAIN or _PLAIN[kind].fullmatch(text) is not None)


def any_text_is_id(encoding: IdEncoding, kind: str) -> bool:
    """Return whether an `_id` may have any text at all; `kind` as in `may_be_id`."""
    return encoding == "plain" and kind not in _PLAIN


_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TYPED = re.compile(
    r"o:[0-9a-f]{24}|s:.*|n:(?:-?[0-9]+(?:\.[0-9]+)?(?:E[+-][0-9]+)?|nan|-?inf)|d:-?[0-9]+|b:(?:true|false)|z:"
    rf"|u:{_UUID}|j:[\[{{].*|x:[A-Za-z0-9_-]+={{0,2}}",
    re.DOTALL,
)
"""The forms that `encode` gives an id."""
_PLAIN = {
    "objectId": re.compile("[0-9a-f]{24}"),
    "number": re.compile("0|-?[1-9][0-9]*"),
    "UUID": re.compile(_UUID),
}
"""The forms that `plain` gives an id, by kind; a string has any."""


def _structure(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _structure(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_structure(inner) for inner in value]
    if isinstance(value, DBRef):  # Stored as an object, so its numbers are equal by value too.
        return _structure(value.as_doc())
    return encode(value)


def _float(value: float) -> str:
    # Decimal(float) is exact, as MongoDB's comparison of a double with a decimal128 is.
    return "n:" + exact_text(Decimal(value)) if math.isfinite(value) else f"n:{value}"


def _decimal128(value: Decimal128) -> str:
    decimal = value.to_decimal()
    if decimal.is_finite():
        return "n:" + exact_text(decimal)
    return "n:nan" if decimal.is_nan() else f"n:{float(decimal)}"


def _binary(value: Binary) -> str:
    if value.subtype == 4 and len(value) == 16:
        return f"u:{value.as_uuid(4)}"
    return "x:" + base64.urlsafe_b64encode(bytes((5, value.subtype)) + value).decode()


_SIMPLE: dict[type, Callable[[Any], str]] = {
    ObjectId: lambda value: f"o:{value}",
    str: lambda value: f"s:{value}",
    int: lambda value: "n:" + exact_text(Decimal(value)),
    bson.Int64: lambda value: "n:" + exact_text(Decimal(value)),
    float: _float,
    Decimal128: _decimal128,
    dt.datetime: lambda value: f"d:{(value - _EPOCH) // _MILLISECOND}",
    DatetimeMS: lambda value: f"d:{int(value)}",
    bool: lambda value: "b:true" if value else "b:false",
    type(None): lambda _: "z:",
    bytes: lambda value: "x:" + base64.urlsafe_b64encode(b"\x05\x00" + value).decode(),
    Binary: _binary,
}
