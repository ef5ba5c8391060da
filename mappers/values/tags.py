"""Tags: canonical Extended JSON for values that a store has no type for, the same in every form of record."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable
from typing import Any

from bson import Binary, Decimal128, MaxKey, MinKey, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS

from mappers.contract import MappingError
from mappers.documents.irregular import DBPointer, Symbol, Undecodable, Undefined
from mappers.policies import LegacyUuid
from mappers.values.memo import Remembered

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_LEAST_MS, _MOST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999."""
_DAY_MS = 86_400_000
_REGEX_FLAGS = ((2, "i"), (4, "l"), (8, "m"), (16, "s"), (32, "u"), (64, "x"))  # re's numbers, in BSON's order
_LEGACY_ORDERS = {
    "python": UuidRepresentation.PYTHON_LEGACY,
    "java": UuidRepresentation.JAVA_LEGACY,
    "csharp": UuidRepresentation.CSHARP_LEGACY,
}


def milliseconds(value: dt.datetime | DatetimeMS) -> int:
    """Return a BSON date as the integer it is stored as: milliseconds since 1970 (R17)."""
    if isinstance(value, DatetimeMS):
        return int(value)
    return ((value if value.tzinfo is dt.UTC else in_utc(value)) - _EPOCH) // _MILLISECOND


def _day(day: int) -> str:
    return (_EPOCH + dt.timedelta(days=day)).date().isoformat() + "T"


def _second(ms: int) -> str:
    return f"{ms // 1000:02}.{ms % 1000:03}Z"


_DAYS: Remembered[int] = Remembered(_day)
_MINUTES = [f"{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60)]
_SECONDS: Remembered[int] = Remembered(_second)


def date_text(ms: int) -> str | None:
    """Return ISO 8601 with exactly three decimals and ``Z``; None for a date that Elasticsearch cannot read (R17).

    Put together from remembered parts: a `datetime` takes six times as long.
    """
    if not _LEAST_MS <= ms <= _MOST_MS:
        return None
    day = ms // _DAY_MS
    ms %= _DAY_MS
    return f"{_DAYS[day]}{_MINUTES[ms // 60_000]}{_SECONDS[ms % 60_000]}"


def double_tag(value: float) -> dict[str, Any]:
    """Return the tag of a double."""
    name = (
        "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)
    )
    return {"$numberDouble": name}


def decimal_tag(value: Decimal128) -> dict[str, Any]:
    """Return the tag of a decimal, its zeros kept."""
    return {"$numberDecimal": str(value)}


def date_tag(value: DatetimeMS | dt.datetime) -> dict[str, Any]:
    """Return the tag of a date of any year."""
    return {"$date": {"$numberLong": str(milliseconds(value))}}


def binary_tag(value: Binary) -> dict[str, Any]:
    """Return the tag of binary with its subtype."""
    return {"$binary": {"base64": base64_text(value), "subType": f"{value.subtype:02x}"}}


def _tag_timestamp(value: Timestamp) -> dict[str, Any]:
    return {"$timestamp": {"t": value.time, "i": value.inc}}


def _tag_regex(value: Regex[Any]) -> dict[str, Any]:
    # Never compiled: BSON's patterns are PCRE, not Python's (R22).
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode()
    options = "".join(letter for flag, letter in _REGEX_FLAGS if value.flags & flag)
    return {"$regularExpression": {"pattern": pattern, "options": options}}


def _tag_min_key(_: MinKey) -> dict[str, Any]:
    return {"$minKey": 1}


def _tag_max_key(_: MaxKey) -> dict[str, Any]:
    return {"$maxKey": 1}


def _tag_undefined(_: Undefined) -> dict[str, Any]:
    return {"$undefined": True}


def _tag_symbol(value: Symbol) -> dict[str, Any]:
    return {"$symbol": value.text}


def _tag_pointer(value: DBPointer) -> dict[str, Any]:
    return {"$dbPointer": {"$ref": value.namespace, "$id": {"$oid": str(value.id)}}}


def _tag_undecodable(value: Undecodable) -> dict[str, Any]:
    # Extended JSON has no such tag: the type is string, but its bytes are no text.
    return {"$invalidUtf8": {"base64": base64_text(value.content)}}


TAGS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Timestamp: _tag_timestamp,
    Regex: _tag_regex,
    MinKey: _tag_min_key,
    MaxKey: _tag_max_key,
    Undefined: _tag_undefined,
    Symbol: _tag_symbol,
    DBPointer: _tag_pointer,
    Undecodable: _tag_undecodable,
}
"""Types that are a tag in every form, whatever their value."""


def base64_text(value: bytes) -> str:
    """Return the bytes in base64, padded."""
    return base64.b64encode(value).decode()


def uuid_text(value: Binary, legacy: LegacyUuid) -> str | None:
    """Return a UUID's text, None for binary that is none or whose byte order nobody has declared (R9)."""
    if len(value) != 16:
        return None
    if value.subtype == 4:
        return str(value.as_uuid(UuidRepresentation.STANDARD))
    if value.subtype == 3 and legacy != "keep_binary":
        return str(value.as_uuid(_LEGACY_ORDERS[legacy]))
    return None


def in_utc(value: dt.datetime) -> dt.datetime:
    """Return the same moment in UTC; raises MappingError for a date that names none."""
    if value.utcoffset() is None:
        raise MappingError("E-MAP-VALUE", "", "a date without a time zone; give it one")
    return value.astimezone(dt.UTC)
