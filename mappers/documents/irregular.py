"""Documents that a decoder would change: each value is read exactly, read by a policy, or rejected (R2).

Undefined, symbol, dbPointer and text that is no UTF-8 have types of their own here, which the tables of
`mappers.values.json_values` tag; nothing else knows them, so that none can pass for an ordinary value in a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson import Code, DBRef, ObjectId
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON

from mappers.contract import Document, Losses, MappingError
from mappers.documents.decoding import CODEC, TYPE_NAMES, decode, elements, readable
from mappers.policies import Anomalies


@dataclass(frozen=True, slots=True)
class Undefined:
    """The deprecated type undefined."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A text of the deprecated type symbol."""

    text: str


@dataclass(frozen=True, slots=True)
class DBPointer:
    """The deprecated type dbPointer: a namespace and an ObjectId."""

    namespace: str
    id: ObjectId


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A string whose bytes are not valid UTF-8."""

    content: bytes


UNDEFINED = Undefined()


class Walked(dict[str, Any]):
    """A document read element by element, with the bytes it was read from."""

    def __init__(self, fields: Mapping[str, Any], raw: bytes) -> None:
        """Take the fields and the bytes."""
        super().__init__(fields)
        self.raw = raw


def decode_all(
    raw: bytes, policies: Anomalies, losses: Losses, codec: CodecOptions[dict[str, Any]] = CODEC
) -> Document:
    """Return the document. The policies decide on what `decode` refuses, and their losses are counted.

    Raises MappingError for what no policy covers.
    """
    try:
        return decode(raw, codec)
    except MappingError as refused:
        if refused.code not in ("E-SRC-ANOMALY", "E-SRC-DECODE"):
            raise
    fields = _Walker(policies, losses).object(raw, "")
    return Walked(fields, raw)


def stored_bytes(document: Document) -> bytes:
    """Return the BSON that this whole document, as `decode` or `decode_all` gave it, was read from."""
    if isinstance(document, Walked):
        return document.raw
    # Within another document the encoder leaves _id where it stands; `decode` has proven that these are the bytes.
    return bson.encode({"": document}, codec_options=CODEC)[6:-1]


class _Walker:
    """Reads one document."""

    def __init__(self, policies: Anomalies, losses: Losses) -> None:
        self._policies = policies
        self._losses = losses

    def object(self, raw: bytes, path: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        several: set[str] = set()
        try:
            for kind, encoded, start, end in elements(raw):
                name = self._name(encoded)
                below = f"{path}.{name}" if path else name
                if name in fields and (self._policies.duplicates == "reject" or _names_it(below)):
                    raise MappingError(
                        "E-SRC-ANOMALY", name, "two fields have this name; a decoder would keep only one"
                    )
                try:
                    value = self._value(kind, raw[start:end], below)
                except MappingError as error:
                    raise MappingError(
                        error.code, f"{name}.{error.field}" if error.field else name, error.reason
                    ) from None
                if name not in fields:
                    fields[name] = value
                    continue
                self._losses.add(f"duplicates_{self._policies.duplicates}", below)
                if self._policies.duplicates == "last":
                    fields[name] = value
                elif self._policies.duplicates == "array":
                    fields[name] = [*(fields[name] if name in several else [fields[name]]), value]
                several.add(name)
        except RecursionError:
            raise MappingError("E-SRC-DECODE", "", "nested too deeply to be read") from None
        _check_length(raw)
        return fields

    def _name(self, encoded: bytes) -> str:
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            raise MappingError("E-SRC-DECODE", readable(encoded), "a name is not valid UTF-8") from None

    def _value(self, kind: int, raw: bytes, path: str) -> Any:
        if _names_it(path) and kind in (0x06, 0x0C, 0x0E):
            raise MappingError(
                "E-SRC-ANOMALY", "", f"the deprecated type {TYPE_NAMES[kind]}, which cannot name a record"
            )
        match kind:
            case 0x02:
                return self._string(raw, path)
            case 0x03:
                return self.object(raw, path)
            case 0x04:
                return self._array(raw, path)
            case 0x06:
                return UNDEFINED
            case 0x0C:
                return DBPointer(self._plain(raw[:-12]), ObjectId(raw[-12:]))
            case 0x0E:
                return Symbol(self._plain(raw))
            case 0x0F:
                return self._code(raw, path)
            case _:
                return _leaf(kind, raw)

    def _array(self, raw: bytes, path: str) -> list[Any]:
        values: list[Any] = []
        for kind, name, start, end in elements(raw):
            if name != b"%d" % len(values):
                raise MappingError("E-SRC-ANOMALY", readable(name), "the keys of an array do not count from 0")
            try:
                values.append(self._value(kind, raw[start:end], path))
            except MappingError as error:
                at = str(len(values))
                raise MappingError(error.code, f"{at}.{error.field}" if error.field else at, error.reason) from None
        _check_length(raw)
        return values

    def _string(self, raw: bytes, path: str) -> str | Undecodable:
        content = _content(raw)
        try:
            return content.decode()
        except UnicodeDecodeError:
            # Replaced, two ids might become one.
            match "reject" if _names_it(path) else self._policies.utf8:
                case "replace":
                    self._losses.add("utf8_replaced", path)
                    return content.decode(errors="replace")
                case "tag_bytes":
                    return Undecodable(content)
                case _:
                    raise MappingError("E-SRC-DECODE", "", "a string is not valid UTF-8") from None

    def _plain(self, raw: bytes) -> str:
        try:
            return _content(raw).decode()
        except UnicodeDecodeError:
            raise MappingError("E-SRC-DECODE", "", "a string is not valid UTF-8") from None

    def _code(self, raw: bytes, path: str) -> Code:
        _check_length(raw)
        end = 8 + int.from_bytes(raw[4:8], "little")
        return Code(self._plain(raw[4:end]), self.object(raw[end:], path))


def _names_it(path: str) -> bool:
    """Return whether the value is the document's `_id` or a part of it, which must be exact."""
    return path == "_id" or path.startswith("_id.")


def _content(raw: bytes) -> bytes:
    """Return the bytes of a string without the NUL at their end, which its length includes."""
    if int.from_bytes(raw[:4], "little") != len(raw) - 4 or raw[-1:] != b"\x00" or len(raw) < 5:
        raise MappingError("E-SRC-DECODE", "", "a string has no end")
    return raw[4:-1]


def _check_length(raw: bytes) -> None:
    if int.from_bytes(raw[:4], "little") != len(raw):
        raise MappingError("E-SRC-DECODE", "", "a length is not that of its object")


def _leaf(kind: int, raw: bytes) -> Any:
    """Return the value of a type that holds no other; raises MappingError where it does not survive decoding."""
    element = bytes((kind, 0)) + raw
    whole = (len(element) + 5).to_bytes(4, "little") + element + b"\x00"
    try:
        value = bson.decode(whole, CODEC)[""]
    except (InvalidBSON, UnicodeDecodeError, OverflowError):
        raise MappingError("E-SRC-DECODE", "", f"a {TYPE_NAMES[kind]} that cannot be decoded") from None
    if isinstance(value, DBRef) or bson.encode({"": value}, codec_options=CODEC) != whole:
        raise MappingError("E-SRC-ANOMALY", "", f"a {TYPE_NAMES[kind]} that does not survive decoding")
    return value
