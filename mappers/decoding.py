"""From the bytes of a stored document to Python values, noticing everything a decoder would change silently."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON

from mappers.contract import Document, MappingError

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    tz_aware=True,
    tzinfo=dt.UTC,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="strict",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Nothing is guessed, clamped or replaced: dates outside Python's years stay integers, UUIDs stay binary (R3)."""

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


def decode(raw: bytes) -> Document:
    """Return the document, or raise MappingError if decoding it would lose anything.

    A decoder turns undefined into null, symbols into strings, keeps the last of two fields of one name and reorders
    references, all silently; encoding again and comparing bytes notices each of these (R2).
    """
    try:
        document = bson.decode(raw, CODEC)
    except (InvalidBSON, UnicodeDecodeError, OverflowError) as error:
        raise MappingError(
            "E-SRC-DECODE", "", f"the stored document cannot be decoded: {_without_values(error)}"
        ) from None
    if bson.encode(document, codec_options=CODEC) != raw:
        field, reason = _first_anomaly(raw, document)
        raise MappingError("E-SRC-ANOMALY", field, reason)
    return document


def identity_type(raw: bytes) -> str:
    """Return the ``$type`` alias of the document's `_id`, or "missing"."""
    if raw[5:9] == _ID_FIRST:  # A stored document has its _id first.
        return TYPE_NAMES.get(raw[4], f"0x{raw[4]:02x}")
    return next(
        (TYPE_NAMES.get(kind, f"0x{kind:02x}") for kind, name, *_ in _elements(raw) if name == b"_id"), "missing"
    )


def position(raw: bytes) -> bytes | None:
    """Return BSON ``{"_id": value}`` cut from the document without decoding the value, or None where it has none."""
    for kind, name, start, end in _elements(raw):
        if name == b"_id":
            element = bytes((kind,)) + _ID_FIRST + raw[start:end]
            return (len(element) + 5).to_bytes(4, "little") + element + b"\x00"
    return None


def documents(batch: bytes) -> list[bytes]:
    """Cut a run of BSON documents, as a raw batch of a cursor is, into its documents."""
    cut: list[bytes] = []
    start = 0
    while start < len(batch):
        end = start + int.from_bytes(batch[start : start + 4], "little")
        if end <= start + 4:
            raise InvalidBSON("a document's length is less than 5")
        cut.append(batch[start:end])
        start = end
    return cut


def _elements(raw: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield type, name, and where the value starts and ends, of each top-level element (bsonspec.org, version 1.1)."""
    at = 4
    while raw[at] != 0:
        kind = raw[at]
        name_end = raw.index(0, at + 1)
        start = name_end + 1
        if kind in _FIXED_SIZES:
            end = start + _FIXED_SIZES[kind]
        elif kind in _LENGTH_AND_STRING:
            end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        elif kind in _WHOLE_LENGTH:
            end = start + int.from_bytes(raw[start : start + 4], "little")
        elif kind == 0x05:  # int32 length, subtype, bytes
            end = start + 5 + int.from_bytes(raw[start : start + 4], "little")
        elif kind == 0x0B:  # two C strings
            end = raw.index(0, raw.index(0, start) + 1) + 1
        elif kind == 0x0C:  # string, then 12 bytes
            end = start + 4 + int.from_bytes(raw[start : start + 4], "little") + 12
        else:
            raise InvalidBSON(f"unknown element type 0x{kind:02x}")
        yield kind, raw[at + 1 : name_end], start, end
        at = end


def _first_anomaly(raw: bytes, document: Document) -> tuple[str, str]:
    """Name the top-level field whose bytes do not survive decoding, and what is odd about it."""
    seen: set[bytes] = set()
    for kind, name, start, end in _elements(raw):
        field = name.decode()
        if name in seen:
            return field, "two fields of this name; a decoder would keep only the last"
        seen.add(name)
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
    return "a string or name is not valid UTF-8" if "codec can't decode" in text else text.partition(":")[0][:120]
