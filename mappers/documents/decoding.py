"""Decoding: a stored document's bytes become Python values, and no silent change of a decoder goes unnoticed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON

from mappers.contract import Document, MappingError
from mappers.native.extension import MODULE

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    tz_aware=True,
    tzinfo=dt.UTC,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="strict",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Nothing is guessed, clamped or replaced: dates outside Python's years stay integers, UUIDs stay binary (R3)."""
CODEC_MS: CodecOptions[dict[str, Any]] = CODEC.with_options(
    tz_aware=False, tzinfo=None, datetime_conversion=DatetimeConversion.DATETIME_MS
)
"""The same with every date as the integer it is stored as: what mappers of ours get, at a third less work."""

TYPE_NAMES: dict[int, str] = {
    0x01: "double",
    0x02: "string",
    0x03: "object",
    0x04: "array",
    0x05: "binData",
    0x06: "undefined",
    0x07: "objectId",
    0x08: "bool",
    0x09: "date",
    0x0A: "null",
    0x0B: "regex",
    0x0C: "dbPointer",
    0x0D: "javascript",
    0x0E: "symbol",
    0x0F: "javascriptWithScope",
    0x10: "int",
    0x11: "timestamp",
    0x12: "long",
    0x13: "decimal",
    0x7F: "maxKey",
    0xFF: "minKey",
}
"""BSON element type byte to the alias MongoDB's ``$type`` returns."""

_FIXED_SIZES = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16}
_FIXED_SIZES |= {0x7F: 0, 0xFF: 0}
_LENGTH_AND_STRING = (0x02, 0x0D, 0x0E)
_WHOLE_LENGTH = (0x03, 0x04, 0x0F)
_ID_FIRST = b"_id\x00"


def decode(raw: bytes, codec: CodecOptions[dict[str, Any]] = CODEC) -> Document:
    """Return the document, or raise MappingError if decoding it would lose anything; `codec`: how dates are given.

    A decoder turns undefined into null, symbols into strings, keeps the last of two fields of one name and reorders
    references, all silently; encoding again and comparing bytes notices each of these (R2).
    """
    try:
        document = bson.decode(raw, codec)
    except (InvalidBSON, UnicodeDecodeError, OverflowError) as error:
        reason = f"the stored document cannot be decoded: {_without_values(error)}"
        raise MappingError("E-SRC-DECODE", _undecodable_field(raw), reason) from None
    # Encoding moves _id to the front of a document, not of one within another; a document of a view may have it last.
    if (
        bson.encode(document, codec_options=codec) != raw
        and bson.encode({"": document}, codec_options=codec)[6:-1] != raw
    ):
        field, reason = _first_anomaly(raw, document)
        raise MappingError("E-SRC-ANOMALY", field, reason)
    return document


def identity_type(raw: bytes) -> str:
    """Return the ``$type`` alias of the document's `_id`, "missing", or "unknown" for bytes that are no document."""
    if raw[5:9] == _ID_FIRST:  # A stored document has its _id first.
        return TYPE_NAMES.get(raw[4], f"0x{raw[4]:02x}")
    try:
        return next((TYPE_NAMES[kind] for kind, name, *_ in elements(raw) if name == b"_id"), "missing")
    except MappingError:  # `decode` will reject it.
        return "unknown"


def identity_types(documents: Sequence[bytes]) -> Counter[str]:
    """Return the number of documents for each `identity_type`."""
    types: Counter[str] = Counter()
    for beginning, count in Counter([raw[4:9] for raw in documents]).items():
        if beginning[1:] == _ID_FIRST:
            types[TYPE_NAMES.get(beginning[0], f"0x{beginning[0]:02x}")] += count
    if types.total() < len(documents):
        types.update(identity_type(raw) for raw in documents if raw[5:9] != _ID_FIRST)
    return types


def position(raw: bytes) -> bytes | None:
    """Return BSON ``{"_id": value}`` cut from the document without decoding the value, or None where it has none."""
    for kind, name, start, end in elements(raw):
        if name == b"_id":
            element = bytes((kind,)) + _ID_FIRST + raw[start:end]
            return (len(element) + 5).to_bytes(4, "little") + element + b"\x00"
    return None


def documents(batch: bytes) -> list[bytes]:
    """Return the documents of a raw batch of a cursor, which is a run of BSON documents."""
    if MODULE is not None and (quickly := MODULE.cut(batch)) is not None:
        cut: list[bytes] = quickly
        return cut
    raw_documents: list[bytes] = []
    start = 0
    while start < len(batch):
        end = start + int.from_bytes(batch[start : start + 4], "little")
        if not start + 5 <= end <= len(batch):
            raise InvalidBSON("a document's length is below 5, or more than the bytes that are there")
        raw_documents.append(batch[start:end])
        start = end
    return raw_documents


def elements(raw: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield type, name, and where the value starts and ends, of each top-level element (bsonspec.org, version 1.1).

    Raises MappingError, which names the field, for an unknown type and for bytes that end too soon.
    """
    at = 4
    name = b""
    while at < len(raw) and (kind := raw[at]) != 0:
        name_end = raw.find(0, at + 1)
        name = raw[at + 1 : name_end]
        start = name_end + 1
        end = _value_end(raw, kind, start)
        if kind not in TYPE_NAMES:
            raise MappingError("E-SRC-DECODE", readable(name), f"the unknown element type 0x{kind:02x}")
        if not at < start <= end < len(raw):
            break
        yield kind, name, start, end
        at = end
    else:
        if at == len(raw) - 1:
            return
        name = b""
    raise MappingError("E-SRC-DECODE", readable(name), "the stored document ends here, too early")


def _value_end(raw: bytes, kind: int, start: int) -> int:
    """Return the offset at which the value ends; one before its start, or past the document, if it has no end."""
    length = int.from_bytes(raw[start : start + 4], "little")  # Unsigned: a negative length leads past the end.
    if kind in _FIXED_SIZES:
        return start + _FIXED_SIZES[kind]
    if kind in _LENGTH_AND_STRING:
        return start + 4 + length
    if kind in _WHOLE_LENGTH:
        return start + length
    if kind == 0x05:  # int32 length, subtype, bytes
        return start + 5 + length
    if kind == 0x0C:  # string, then 12 bytes
        return start + 4 + length + 12
    pattern_end = raw.find(0, start)  # a regex: two C strings
    return raw.find(0, pattern_end + 1) + 1


def _undecodable_field(raw: bytes) -> str:
    """Return the first top-level field that cannot be decoded; "" if the fault is in the document as a whole."""
    try:
        for kind, name, start, end in elements(raw):
            element = bytes((kind,)) + name + b"\x00" + raw[start:end] + b"\x00"
            try:
                bson.decode((len(element) + 4).to_bytes(4, "little") + element, CODEC)
            except (InvalidBSON, UnicodeDecodeError, OverflowError):
                return readable(name)
    except MappingError as error:
        return error.field
    return ""


def readable(name: bytes) -> str:
    """Return a field's name as text, whatever its bytes."""
    return name.decode(errors="backslashreplace")


def _first_anomaly(raw: bytes, document: Document) -> tuple[str, str]:
    """Return the first top-level field whose bytes decoding would change, and the reason."""
    fields = list(elements(raw))
    repeated = {name for name, count in Counter(name for _, name, *_ in fields).items() if count > 1}
    for kind, name, start, end in fields:
        field = readable(name)
        if name in repeated:
            return field, "two fields have this name; a decoder would keep only the last"
        if kind in (0x06, 0x0C, 0x0E):
            return field, f"the deprecated type {TYPE_NAMES[kind]}; a decoder would change it"
        element = bytes((kind,)) + name + b"\x00" + raw[start:end]
        if bson.encode({field: document[field]}, codec_options=CODEC)[4:-1] != element:
            return (
                field,
                "holds a value that does not survive decoding (deprecated type, repeated name or reordered reference)",
            )
    return "", "does not survive decoding"


def _without_values(error: Exception) -> str:
    """Return the decoder's complaint without the bytes of the document."""
    if isinstance(error, UnicodeDecodeError):
        return "a string is not valid UTF-8"
    text = str(error)
    if "codec can't decode" in text:
        return "a string or name is not valid UTF-8"
    if "unknown BSON type" in text:  # The text goes on with a name that may be part of a value.
        return "an element of a type BSON does not know"
    return text.partition(":")[0][:120]
