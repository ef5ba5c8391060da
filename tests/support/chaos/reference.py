"""What a route must make of a document, written anew from docs/values.md: no code of offramp is used here."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import bson
from bson import Binary, Code, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class RejectedError(Exception):
    """The route must reject the document."""


def milliseconds(value: dt.datetime) -> int:
    """Return a date as milliseconds since 1970."""
    return (value - _EPOCH) // dt.timedelta(milliseconds=1)


def iso(value: dt.datetime) -> str:
    """Return a date of the years 1 to 9999 in ISO 8601, in UTC, with three decimals."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{value.microsecond // 1000:03}Z"


# --- ids --------------------------------------------------------------------------------------------------------------


def typed_id(value: Any) -> str:
    """Return the typed text of an `_id`."""
    match value:
        case bool():
            return f"b:{str(value).lower()}"
        case None:
            return "z:"
        case ObjectId():
            return f"o:{value}"
        case str() if not isinstance(value, Code):
            return f"s:{value}"
        case int():
            return f"n:{_exact(Decimal(int(value)))}"
        case float():
            return f"n:{_exact(Decimal(value))}"
        case Decimal128():
            return f"n:{_exact(value.to_decimal())}"
        case dt.datetime():
            return f"d:{milliseconds(value)}"
        case Binary(subtype=4) if len(value) == 16:
            return f"u:{value.as_uuid()}"
        case Mapping() | list():
            return "j:" + compact(_structure(value))
        case bytes():
            subtype = value.subtype if isinstance(value, Binary) else 0
            return "x:" + base64.urlsafe_b64encode(bytes((5, subtype)) + value).decode()
        case _:
            return "x:" + base64.urlsafe_b64encode(bson.encode({"": value})[4:-1]).decode()


def _exact(value: Decimal) -> str:
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _structure(value: Any) -> Any:
    match value:
        case Mapping():
            return {name: _structure(inner) for name, inner in value.items()}
        case list():
            return [_structure(inner) for inner in value]
        case _:
            return typed_id(value)


def plain_id(value: Any) -> str:
    """Return the text of an `_id` without its type."""
    return str(value)


def shortened(text: str, limit_bytes: int) -> str:
    """Return the text, or h: and its digest where it is longer than the store allows or could be taken for one."""
    return text if len(text.encode()) <= limit_bytes and not text.startswith("h:") else digest(text)


def digest(text: str) -> str:
    """Return h: and the digest of the text of an `_id`."""
    return f"h:{hashlib.blake2b(text.encode(), digest_size=32).hexdigest()}"


def redis_key_text(text: str) -> str:
    """Return the text of an `_id` as it stands in a key: its braces and percent signs escaped."""
    return text.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


# --- JSON -------------------------------------------------------------------------------------------------------------


def compact(value: Any) -> str:
    """Return JSON without spaces, its text as it is."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def tag(value: Any) -> Any:
    """Return the tag of a value that no target has a type for; None for one that needs none."""
    match value:
        case float() if not math.isfinite(value):
            return {"$numberDouble": "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"}
        case Decimal128() if not value.to_decimal().is_finite():
            return {"$numberDecimal": str(value)}
        case Binary(subtype=4) if len(value) == 16:
            return None
        case Binary() if value.subtype != 0:
            return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": f"{value.subtype:02x}"}}
        case Timestamp():
            return {"$timestamp": {"t": value.time, "i": value.inc}}
        case Regex():
            return {"$regularExpression": {"pattern": value.pattern, "options": "i"}}
        case Code():
            return {"$code": str(value)} | ({} if value.scope is None else {"$scope": dict(value.scope)})
        case MinKey():
            return {"$minKey": 1}
        case MaxKey():
            return {"$maxKey": 1}
        case _:
            return None


def json_form(value: Any, *, elastic: bool = False, top: bool = False) -> Any:
    """Return a value as the JSON of a Redis string, or of an Elasticsearch document."""
    if (tagged := tag(value)) is not None:
        return tagged
    match value:
        case Mapping():
            return {_json_name(name, elastic, top): json_form(inner, elastic=elastic) for name, inner in value.items()}
        case list():
            return [json_form(inner, elastic=elastic) for inner in value]
        case bool() | None | float():
            return value
        case int():
            return int(value)
        case dt.datetime():
            return iso(value)
        case Binary(subtype=4):
            return str(value.as_uuid())
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return str(value)


def _json_name(name: str, elastic: bool, top: bool) -> str:
    if elastic:
        if not name:
            return "%00E"
        if top and name == "_source":
            return "%5Fsource"
        name = name.replace("%", "%25").replace(".", "%2E")
    return f"${name}" if name.startswith("$") else name


def flat_text(value: Any) -> bytes:
    """Return a value as the field of a Redis hash, the element of a list or the member of a set."""
    match value:
        case None:
            return b"\x00null"
        case str() if not isinstance(value, Code):
            return value.encode()
        case Binary() if value.subtype != 0:
            pass
        case bytes():
            return bytes(value)
    form = json_form(value)
    return form.encode() if isinstance(form, str) else json_text(form).encode()


def json_text(form: Any) -> str:
    """Return JSON with doubles as the shortest text in the notation of the JSON libraries of other languages."""
    match form:
        case dict():
            return "{" + ",".join(f"{compact(name)}:{json_text(inner)}" for name, inner in form.items()) + "}"
        case list():
            return "[" + ",".join(map(json_text, form)) + "]"
        case float():
            mantissa, _, exponent = repr(form).partition("e")
            return f"{mantissa}e{int(exponent):+}" if exponent else mantissa
        case _:
            return compact(form)


# --- DynamoDB ---------------------------------------------------------------------------------------------------------

_LEAST, _MOST = Decimal("1E-130"), Decimal("9.9999999999999999999999999999999999999E+125")


def attribute(value: Any) -> dict[str, Any]:
    """Return a value as an attribute value of DynamoDB; a number is a Decimal."""
    if (tagged := tag(value)) is not None:
        return _tag_attribute(tagged)
    match value:
        case Mapping():
            return {"M": {dynamodb_name(name): attribute(inner) for name, inner in value.items()}}
        case list():
            return {"L": [attribute(inner) for inner in value]}
        case bool():
            return {"BOOL": value}
        case None:
            return {"NULL": True}
        case float():
            return _number(Decimal(repr(value)), {"$numberDouble": repr(value)})
        case int():
            return {"N": Decimal(int(value))}
        case Decimal128():
            return _number(value.to_decimal(), {"$numberDecimal": str(value)})
        case dt.datetime():
            return {"N": Decimal(milliseconds(value))}
        case Binary(subtype=4):
            return {"S": str(value.as_uuid())}
        case bytes():
            return {"B": bytes(value)}
        case _:
            return {"S": str(value)}


def _number(value: Decimal, tagged: Any) -> dict[str, Any]:
    if value.is_zero():
        return _tag_attribute(tagged) if value.is_signed() else {"N": Decimal(0)}
    return {"N": value} if _LEAST <= abs(value) <= _MOST else _tag_attribute(tagged)


def _tag_attribute(value: Any) -> dict[str, Any]:
    match value:
        case Mapping():
            return {"M": {name: _tag_attribute(inner) for name, inner in value.items()}}
        case str():
            return {"S": value}
        case _:
            return {"N": Decimal(value)}


def dynamodb_name(name: str) -> str:
    """Return a field's name as DynamoDB has it."""
    if not name:
        return "%00E"
    if name.startswith("%"):
        return f"%25{name[1:]}"
    return f"${name}" if name.startswith("$") else name


def attributes(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a document's fields, its `_id` left out."""
    return {dynamodb_name(name): attribute(value) for name, value in document.items() if name != "_id"}


def levels(value: Any) -> int:
    """Return how many objects and arrays a value has, one within another."""
    inner: Sequence[Any] = ()
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return 0
    return 1 + max(map(levels, inner), default=0)
