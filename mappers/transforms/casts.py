"""The cast of one BSON value to another type: exact, with a named loss, or refused, and never a silent loss."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import bson
from bson import Binary, Code, Decimal128, Int64, ObjectId, json_util
from bson.datetime_ms import DatetimeMS

from mappers.values.converter import iso_text
from mappers.values.json_values import milliseconds

CastType = Literal["string", "int", "long", "double", "decimal", "bool", "date", "objectId"]
"""MongoDB's own names of the types a value can be cast to."""

Cast = tuple[Any, str]
"""The value as another type, and what was lost on the way: "" for nothing."""

ROUNDED = "cast_rounded"
"""The value itself is another one now: 1.7 as 1, or digits that no double holds."""
RESPELLED = "cast_respelled"
"""The value is the same, its text was another: "007" as 7, an offset of a date, capital digits of an ObjectId."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_RANGES = {"int": (31, "a 32-bit int; cast to long"), "long": (63, "a 64-bit long; cast to decimal")}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,5})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_EXTENDED = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC)
_HEX = re.compile(r"[0-9a-fA-F]{24}", re.ASCII)


def cast(value: Any, to: CastType) -> Cast:
    """Return the value as that type and its loss; raises ValueError, without the value, if it has no such form.

    A text must be the form as a whole: no spaces, no unit behind a number. Numbers count as equal by the shortest text
    that reads back as the same double, as everywhere here (R4): decimal 0.1 and double 0.1 are each other's exact cast.
    """
    if isinstance(value, Code):  # A str to Python.
        raise _refused(value, to)
    return _CASTS[to](value)


def _to_string(value: Any) -> Cast:
    if isinstance(value, bool):
        return ("true" if value else "false"), ""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(value, "string")
        return repr(float(value)), ""
    if isinstance(value, dt.datetime):
        return iso_text(value), ""
    if isinstance(value, Binary) and value.subtype == 4 and len(value) == 16:
        return str(value.as_uuid(4)), ""
    if isinstance(value, str | int | ObjectId):
        return str(value), ""
    if isinstance(value, Decimal128) and value.to_decimal().is_finite():
        return str(value), ""
    raise _refused(value, "string")


def _to_whole(value: Any, to: str) -> Cast:
    if isinstance(value, dt.datetime | DatetimeMS) and to == "long":
        return Int64(milliseconds(value)), ""
    if isinstance(value, int):
        return _ranged(int(value), to), ""
    number = _decimal_of(value, to)
    # Checked before it is written out as an integer, which for 1E+6000 is long.
    if number.adjusted() > 40:
        raise ValueError(f"is beyond {_RANGES[to][1]}")
    whole = int(number)
    lost = ROUNDED if whole != number else ""
    if not lost and isinstance(value, str) and value != str(whole):
        lost = RESPELLED
    if not lost and not number and number.is_signed():
        lost = RESPELLED
    return _ranged(whole, to), lost


def _ranged(number: int, to: str) -> int:
    bits, text = _RANGES[to]
    if not -(2**bits) <= number < 2**bits:
        raise ValueError(f"is beyond {text}")
    return Int64(number) if to == "long" else number


def _to_double(value: Any) -> Cast:
    if isinstance(value, float):
        return value, ""
    if isinstance(value, Decimal128) and not value.to_decimal().is_finite():
        return float(value.to_decimal()), ""
    number = _decimal_of(value, "double")
    double = float(number)
    if math.isinf(double):
        raise ValueError("is beyond the range of a double")
    exact = Decimal(double) if isinstance(value, int) else Decimal(repr(double))
    if exact != number:
        return double, ROUNDED
    respelled = isinstance(value, str) and value not in (repr(double), str(int(double)) if double.is_integer() else "")
    return double, RESPELLED if respelled else ""


def _to_decimal(value: Any) -> Cast:
    if isinstance(value, Decimal128):
        return value, ""
    if isinstance(value, float) and not math.isfinite(value):
        return Decimal128(repr(value)), ""
    number = _decimal_of(value, "decimal")
    try:
        decimal = Decimal128(number)
    except ArithmeticError:
        raise ValueError("has more digits, or another range, than a decimal holds") from None
    return decimal, RESPELLED if isinstance(value, str) and str(decimal) != value else ""


def _to_bool(value: Any) -> Cast:
    if isinstance(value, bool):
        return value, ""
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true", ""
    if isinstance(value, int | float | Decimal128):
        number = value.to_decimal() if isinstance(value, Decimal128) else value
        if number in (0, 1):
            return number == 1, ""
    raise ValueError(f"{_kind(value)} is no bool: true, false, 1 and 0 are")


def _to_date(value: Any) -> Cast:
    if isinstance(value, dt.datetime | DatetimeMS):
        return value, ""
    if isinstance(value, str):
        if not _DATE.fullmatch(value):
            raise ValueError("is not a date in ISO 8601")
        try:
            moment = dt.datetime.fromisoformat(value)
            # Without an offset it is UTC, as MongoDB's own $toDate has it.
            moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise ValueError("is not a date of the calendar") from None
        kept = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        fraction = re.search(r"\.\d+", value)
        if fraction is not None and fraction[0][4:].strip("0"):
            return kept, ROUNDED
        text = iso_text(kept)
        usual = (text, text.replace(".000Z", "Z"), text.replace("T00:00:00.000Z", ""))
        return kept, "" if value in usual else RESPELLED
    if isinstance(value, bool):
        raise _refused(value, "date")
    number = _decimal_of(value, "date")
    if number != number.to_integral_value() or not -(2**63) <= number < 2**63:
        raise ValueError("is not a whole number of milliseconds of 64 bits")
    ms = int(number)
    if _FIRST_MS <= ms <= _LAST_MS:
        return _EPOCH + dt.timedelta(milliseconds=ms), ""
    return DatetimeMS(ms), ""


def _to_object_id(value: Any) -> Cast:
    if isinstance(value, ObjectId):
        return value, ""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return ObjectId(value), "" if value == value.lower() else RESPELLED
    raise ValueError(f"{_kind(value)} is no objectId: 24 hex digits are")


def _decimal_of(value: Any, to: str) -> Decimal:
    """Return the finite number that a value means; a text must be a number and nothing else."""
    if isinstance(value, bool):
        raise _refused(value, to)
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(float(value)))
    if isinstance(value, Decimal128) and value.to_decimal().is_finite():
        return value.to_decimal()
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    raise _refused(value, to)


def _refused(value: Any, to: str) -> ValueError:
    return ValueError(f"{_kind(value)} cannot be cast to {to}")


def _kind(value: Any) -> str:
    """Return a description of the value for an error, without the value itself."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN or an infinity"
    if isinstance(value, str) and not isinstance(value, Code):
        return "this text"
    return f"a value of type {type(value).__name__}"


_CASTS: dict[str, Callable[[Any], Cast]] = {
    "string": _to_string,
    "int": lambda value: _to_whole(value, "int"),
    "long": lambda value: _to_whole(value, "long"),
    "double": _to_double,
    "decimal": _to_decimal,
    "bool": _to_bool,
    "date": _to_date,
    "objectId": _to_object_id,
}


def encodable(value: Any) -> Any:
    """Return a value of a plan as BSON holds it: Extended JSON such as ``{$date: …}`` read, dates in UTC.

    Raises ValueError for a value that no document can have.
    """
    encoded = _bson(value)
    try:
        bson.encode({"": encoded})
    except (bson.errors.BSONError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"cannot be stored in a document: {type(error).__name__}") from None
    return encoded


def _bson(value: Any) -> Any:
    if isinstance(value, dict):
        inside = {name: _bson(inner) for name, inner in value.items()}
        try:
            return json_util.object_hook(inside, _EXTENDED)
        except (bson.errors.BSONError, TypeError, ValueError, ArithmeticError):
            raise ValueError("is not valid Extended JSON") from None
    if isinstance(value, list | tuple):
        return [_bson(inner) for inner in value]
    if isinstance(value, dt.datetime):
        moment = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return value
