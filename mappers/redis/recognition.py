"""Whether what a key holds may be the content of the document that the key is of, by the fields that both have."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from mappers.documents.decimals import exact_text
from mappers.documents.fields import MISSING, lookup
from mappers.identity import IdEncoding, encode
from mappers.redis.msgpack import packed
from mappers.values.field_names import tagged_name
from mappers.values.json_values import NULL_TEXT
from mappers.values.tags import date_text

_NULL = NULL_TEXT.decode()
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_TAGS = ("{", "[")
"""How the text of an object or an array begins, and of the tag of a value that JSON has no form for."""
_WHOLE = re.compile("-?[0-9]{1,15}")
_OBJECT, _LONG_OBJECTS = 0x80, (0xDE, 0xDF)
"""The first bytes of an object in MessagePack."""
_MOST_EXPONENT = 6_200
"""No decimal128 is larger, or nearer to 0."""


def json_fits(value: bytes, texts: Mapping[str, str], encoding: IdEncoding) -> bool:
    """Return whether the JSON may be of a document with these texts of fields in its key: an object with an `_id`."""
    document = _parsed(value)
    return isinstance(document, dict) and _fields_fit(document, texts, encoding)


def packed_fits(value: bytes, texts: Mapping[str, str], encoding: IdEncoding) -> bool:
    """Return whether the MessagePack may be of a document with these texts of fields in its key.

    An object, with a name `_id` somewhere, and behind it the id of the key where it is a text in MessagePack too.
    """
    if not value or not (value[0] & 0xF0 == _OBJECT or value[0] in _LONG_OBJECTS):
        return False
    text = texts.get("_id", "")
    behind = b""
    if encoding == "typed" and text[:1] in ("s", "o", "u"):
        behind = packed(text[2:])
    return packed("_id") + behind in value


def hash_fits(fields: Mapping[bytes, bytes], texts: Mapping[str, str], encoding: IdEncoding) -> bool:
    """Return whether the fields may be of a document with these texts of fields in its key; `_id` is among them."""
    nested = {path.partition(".")[0] for path in texts if "." in path}
    document: dict[str, Any] = {}
    for name in {"_id", *(path.partition(".")[0] for path in texts)}:
        if (text := fields.get(name.encode())) is not None:
            document[tagged_name(name)] = _parsed(text) if name in nested else text.decode(errors="surrogateescape")
    return _fields_fit(document, texts, encoding)


def _fields_fit(document: Mapping[str, Any], texts: Mapping[str, str], encoding: IdEncoding) -> bool:
    """Return whether a document of JSON has an `_id`, and at each of these paths what may have this text in a key."""
    if "_id" not in document:
        return False
    for path, text in texts.items():
        value = lookup(document, ".".join(map(tagged_name, path.split("."))))
        if value is MISSING:
            return False
        if not (_is_id(text, value, encoding) if path == "_id" else _is_text(text, value)):
            return False
    return True


def possible_ids(text: bytes) -> Collection[str] | None:
    """Return every typed text that an `_id` may have of which a hash field is the text; None where any may be."""
    if text.decode(errors="replace").startswith(_TAGS):
        return None
    return [*_typed(text)]


def _typed(text: bytes) -> Iterator[str]:
    yield encode(text)
    try:
        content = text.decode()
    except UnicodeDecodeError:
        return
    yield from (f"{kind}:{content}" for kind in "sobu")
    if content == _NULL:
        yield encode(None)
    number = _number(content)
    if number is not None and abs(number.adjusted()) < _MOST_EXPONENT:
        yield "n:" + exact_text(number)
        if math.isfinite(double := float(number)):
            yield encode(double)
    if _DATE.fullmatch(content):
        with suppress(ValueError):
            yield encode(dt.datetime.fromisoformat(content))


def _is_id(text: str, value: Any, encoding: IdEncoding) -> bool:
    content = _text(value)
    if isinstance(value, dict | list) or (content.startswith(_TAGS) and content != text[2:]):
        return encoding == "typed" and text[0] in "jxdn"
    if encoding == "plain":
        return content == text
    kind, rest = text[0], text[2:]
    match kind:
        case "n":
            return rest[-3:] in ("nan", "inf") or _same_number(rest, content)
        case "d":
            return _is_date(rest, content)
        case "z":
            return content == _NULL
        case "x":
            return True
        case _:
            return content == rest


def _is_text(text: str, value: Any) -> bool:
    """Return whether a field with this text in a key may be this value in JSON."""
    content = _text(value)
    if content == text or isinstance(value, dict | list) or content.startswith(_TAGS):
        return True
    return _same_number(text, content) or _is_date(text, content)


def _is_date(milliseconds_text: str, content: str) -> bool:
    return _WHOLE.fullmatch(milliseconds_text) is not None and date_text(int(milliseconds_text)) == content


def _text(value: Any) -> str:
    """Return the text of a scalar of JSON as a hash field has it; of an object or an array any."""
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _same_number(text: str, other: str) -> bool:
    """Return whether both are the same number, as it is or as a double: the text of an id has all digits of one."""
    first, second = _number(text), _number(other)
    if first is None or second is None:
        return False
    return first == second or float(first) == float(second)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
