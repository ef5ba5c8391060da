"""What becomes of every BSON value: one table per form of record, exact, tagged or rejected (R1-R19, docs/values.md).

A tag is canonical Extended JSON: an object whose one key starts with ``$``. A user's own name that starts with ``$``
gets one more, so no user data looks like a tag and the way back needs no guess (R8).
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import orjson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, MappingError
from mappers.decimals import dynamodb_text, fits_dynamodb
from mappers.names import dynamodb_name, elasticsearch_name, tagged_name

Convert = Callable[[Any], Any]

DYNAMODB_DEPTH = 31
"""Nested lists and maps below an attribute that DynamoDB takes; one more is refused (R16)."""

_SHOWN_NAME = 100  # Characters of a field's name that an error shows.
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_REGEX_FLAGS = ((2, "i"), (4, "l"), (8, "m"), (16, "s"), (32, "u"), (64, "x"))  # re's numbers, in BSON's order


def milliseconds(value: dt.datetime | DatetimeMS) -> int:
    """Return a BSON date as the integer it is stored as: milliseconds since 1970 (R17)."""
    if isinstance(value, DatetimeMS):
        return int(value)
    return ((value if value.tzinfo is dt.UTC else _in_utc(value)) - _EPOCH) // _MILLISECOND


# --- tags, the same in every form -------------------------------------------------------------------------------------


def _tag_double(value: float) -> dict[str, Any]:
    name = (
        "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)
    )
    return {"$numberDouble": name}


def _tag_decimal(value: Decimal128) -> dict[str, Any]:
    return {"$numberDecimal": str(value)}


def _tag_date(value: DatetimeMS | dt.datetime) -> dict[str, Any]:
    return {"$date": {"$numberLong": str(milliseconds(value))}}


def _tag_binary(value: Binary) -> dict[str, Any]:
    return {"$binary": {"base64": _base64(value), "subType": f"{value.subtype:02x}"}}


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


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _is_uuid(value: Binary) -> bool:
    return value.subtype == 4 and len(value) == 16


# --- text that several forms share ------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return str(value)


def _same(value: Any) -> Any:
    return value


def _whole(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise MappingError("E-MAP-VALUE", "", "a whole number of more than 64 bits")
    return value


def iso_text(value: dt.datetime) -> str:
    """Return ISO 8601 with exactly three decimals and ``Z``, which Elasticsearch reads for years 1 to 9999 (R17)."""
    if value.tzinfo is not dt.UTC:  # CODEC decodes every date as UTC; a mapper of one's own may bring another.
        value = _in_utc(value)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


def _in_utc(value: dt.datetime) -> dt.datetime:
    if value.utcoffset() is None:
        raise MappingError("E-MAP-VALUE", "", "a date without a time zone; say which moment it is")
    return value.astimezone(dt.UTC)


class JsonValues:
    """BSON to JSON, for a Redis string or an Elasticsearch document; field order is kept.

    =====================  ============================================================
    exact as JSON          string, bool, null, int, long, double (-0.0 too), object, array
    exact as text          ObjectId hex, date ISO with ms and Z, decimal128, UUID, binary subtype 0 in base64
    tagged                 NaN and infinities, dates outside years 1-9999, other binary, timestamp, regex, code,
                           MinKey, MaxKey; a DBRef is the sub-document it is stored as
    rejected               undefined, symbol, dbPointer, repeated names, invalid UTF-8 (by `mappers.decoding.decode`)
    =====================  ============================================================
    """

    def __init__(self, name: Callable[[str, bool], str]) -> None:
        """Take the rule for field names: called with a name and whether it stands at the top level."""
        self._name = name
        self._table: dict[type, Convert] = {
            str: _same,
            bool: _same,
            type(None): _same,
            int: _whole,
            Int64: int,
            float: lambda value: value if math.isfinite(value) else _tag_double(value),
            dict: self._object,
            list: self._array,
            ObjectId: _text,
            dt.datetime: iso_text,
            DatetimeMS: _tag_date,
            Decimal128: lambda value: _text(value) if value.to_decimal().is_finite() else _tag_decimal(value),
            bytes: _base64,
            Binary: lambda value: str(value.as_uuid(4)) if _is_uuid(value) else _tag_binary(value),
            Timestamp: _tag_timestamp,
            Regex: _tag_regex,
            Code: self._code,
            DBRef: lambda value: self._object(value.as_doc().to_dict()),
            MinKey: _tag_min_key,
            MaxKey: _tag_max_key,
        }

    def document(self, document: Document) -> dict[str, Any]:
        """Return what `orjson.dumps` writes of a document; raises MappingError naming the field it cannot hold."""
        return self._fields(document, top=True)

    def value(self, value: Any) -> Any:
        """Return what `orjson.dumps` writes of one value below the top level."""
        return _convert(self._table, value)

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return self._fields(value, top=False)

    def _fields(self, value: Mapping[str, Any], top: bool) -> dict[str, Any]:
        table = self._table
        fields: dict[str, Any] = {}
        name = ""
        try:
            for name, inner in value.items():
                convert = table.get(type(inner))
                fields[self._name(name, top)] = convert(inner) if convert else _convert(table, inner)
        except MappingError as error:
            raise _below(name, error) from None
        return fields

    def _array(self, value: list[Any]) -> list[Any]:
        table = self._table
        elements: list[Any] = []
        try:
            for inner in value:
                convert = table.get(type(inner))
                elements.append(convert(inner) if convert else _convert(table, inner))
        except MappingError as error:
            raise _below(str(len(elements)), error) from None
        return elements

    def _code(self, value: Code) -> dict[str, Any]:
        tag: dict[str, Any] = {"$code": str(value)}
        if value.scope is not None:
            tag["$scope"] = self._object(value.scope)
        return tag


def redis_json() -> JsonValues:
    """Return the table for JSON held in Redis: any name is legal there."""
    return JsonValues(lambda name, _top: tagged_name(name))


def elasticsearch_json() -> JsonValues:
    """Return the table for Elasticsearch's `_source`, with names it does not take for paths or its own fields."""
    return JsonValues(elasticsearch_name)


class DynamoDBValues:
    """BSON to DynamoDB's typed JSON (``{"S": …}``), as BatchWriteItem takes it.

    ===========  =======================================================================
    exact        string S, bool BOOL, null NULL, int and long N, object M, array L, binary subtype 0 B,
                 date N (epoch milliseconds), ObjectId S (hex), UUID S,
                 double and decimal128 N where DynamoDB's range and 38 digits hold them (by value: 1.10 is 1.1)
    tagged       -0.0, NaN, infinities, numbers out of range, other binary, timestamp, regex, code, MinKey, MaxKey
    rejected     deeper than 31 levels, over 400 KB, and what `mappers.decoding.decode` refuses
    ===========  =======================================================================
    """

    def __init__(self) -> None:
        """Build the table."""
        self._depth = 0
        self._table: dict[type, Convert] = {
            str: lambda value: {"S": value},
            bool: lambda value: {"BOOL": value},
            type(None): lambda _: {"NULL": True},
            int: lambda value: {"N": str(_whole(value))},
            Int64: lambda value: {"N": str(int(value))},
            float: self._double,
            dict: lambda value: {"M": self._map(value)},
            list: self._list,
            ObjectId: lambda value: {"S": str(value)},
            dt.datetime: lambda value: {"N": str(milliseconds(value))},
            DatetimeMS: lambda value: {"N": str(int(value))},
            Decimal128: self._decimal,
            bytes: lambda value: {"B": _base64(value)},
            Binary: lambda value: {"S": str(value.as_uuid(4))} if _is_uuid(value) else self._tag(_tag_binary(value)),
            Timestamp: lambda value: self._tag(_tag_timestamp(value)),
            Regex: lambda value: self._tag(_tag_regex(value)),
            Code: self._code,
            DBRef: lambda value: {"M": self._map(value.as_doc().to_dict())},
            MinKey: lambda value: self._tag(_tag_min_key(value)),
            MaxKey: lambda value: self._tag(_tag_max_key(value)),
        }

    def item(self, document: Document) -> dict[str, Any]:
        """Return the document's attributes; raises MappingError naming the field DynamoDB cannot hold."""
        self._depth = 0
        return self._attributes(document)

    def value(self, value: Any) -> dict[str, Any]:
        """Return one attribute value."""
        self._depth = 0
        return _convert(self._table, value)  # type: ignore[no-any-return]

    def _attributes(self, value: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table
        attributes: dict[str, Any] = {}
        name = ""
        try:
            for name, inner in value.items():
                convert = table.get(type(inner))
                attributes[dynamodb_name(name)] = convert(inner) if convert else _convert(table, inner)
        except MappingError as error:
            raise _below(name, error) from None
        return attributes

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DYNAMODB_DEPTH:
            raise MappingError("E-DDB-DEPTH", "", f"nested deeper than the {DYNAMODB_DEPTH} levels DynamoDB takes")

    def _map(self, value: Mapping[str, Any]) -> dict[str, Any]:
        self._deeper()
        attributes = self._attributes(value)
        self._depth -= 1
        return attributes

    def _list(self, value: list[Any]) -> dict[str, Any]:
        self._deeper()
        table = self._table
        elements: list[Any] = []
        try:
            for inner in value:
                convert = table.get(type(inner))
                elements.append(convert(inner) if convert else _convert(table, inner))
        except MappingError as error:
            raise _below(str(len(elements)), error) from None
        self._depth -= 1
        return {"L": elements}

    def _tag(self, tag: Mapping[str, Any]) -> dict[str, Any]:
        self._deeper()
        inner: dict[str, Any] = {}
        for name, value in tag.items():
            if isinstance(value, Mapping):
                inner[name] = self._tag(value)
            else:
                inner[name] = {"S": value} if isinstance(value, str) else {"N": str(value)}
        self._depth -= 1
        return {"M": inner}

    def _double(self, value: float) -> dict[str, Any]:
        if math.isfinite(value):
            # Through repr: the shortest text that reads back as the same double, at most 17 digits (R4).
            decimal = Decimal(repr(value))
            if fits_dynamodb(decimal):
                return {"N": dynamodb_text(decimal)}
        return self._tag(_tag_double(value))

    def _decimal(self, value: Decimal128) -> dict[str, Any]:
        decimal = value.to_decimal()
        if decimal.is_finite() and fits_dynamodb(decimal):
            return {"N": dynamodb_text(decimal)}
        return self._tag(_tag_decimal(value))

    def _code(self, value: Code) -> dict[str, Any]:
        self._deeper()
        tag: dict[str, Any] = {"$code": {"S": str(value)}}
        if value.scope is not None:
            tag["$scope"] = {"M": self._map(value.scope)}
        self._depth -= 1
        return {"M": tag}


def flat_text(value: Any, values: JsonValues) -> bytes:
    r"""Return one value as the text a Redis hash field holds: strings raw, null tagged ``\x00null``, the rest JSON.

    Text as it is, not quoted, is what applications read from a hash; that a hash cannot tell ``"1"`` from ``1`` is
    part of that form (R19, R68).
    """
    if isinstance(value, str) and not isinstance(value, Code):  # Code is a str, and may have a scope.
        return value.encode()
    if value is None:
        return b"\x00null"
    if type(value) is bytes:
        return value
    converted = values.value(value)
    return converted.encode() if isinstance(converted, str) else orjson.dumps(converted)


def _convert(table: Mapping[type, Convert], value: Any) -> Any:
    """Convert a value whose exact type may not stand in the table: a subclass, or nothing BSON knows."""
    for kind in type(value).__mro__:
        convert = table.get(kind)
        if convert is not None:
            # Subclasses of float (NumPy has one) print and serialise in ways of their own.
            return convert(float(value) if kind is float else value)
    raise MappingError("E-MAP-VALUE", "", f"a value of type {type(value).__name__} is no BSON value")


def _below(name: str, error: MappingError) -> MappingError:
    name = name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + "…"
    return MappingError(error.code, f"{name}.{error.field}" if error.field else name, error.reason)
