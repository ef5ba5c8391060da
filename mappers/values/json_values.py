"""The form of every BSON value, exact, tagged or rejected: a table per form of record (R1-R19, docs/values.md).

A tag is canonical Extended JSON: an object whose one key starts with ``$``. A user's own name that starts with ``$``
gets one more, so no user data looks like a tag and the way back needs no guess (R8).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import orjson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, Losses, MappingError
from mappers.documents.decimals import plain_text
from mappers.policies import HashPolicies, IndexPolicies, JsonPolicies, Shared
from mappers.values.converter import Convert, Form, Table, below, iso_text, same, whole
from mappers.values.field_names import elasticsearch_name, tagged_name, unescaped
from mappers.values.memo import Remembered
from mappers.values.tags import TAGS, base64_text, binary_tag, date_tag, date_text, decimal_tag, double_tag, uuid_text
from mappers.values.tags import milliseconds as milliseconds

EXACT_IN_DOUBLE = 2**53
"""Integers up to here are exact as doubles, which is what JavaScript reads (R18)."""
NULL_TEXT = b"\x00null"
"""The text of null in a hash field (R19)."""


class _NotPlainError(Exception):
    """A document turned out to hold a value that needs the table."""


# Dates and dataclasses have forms of orjson's own; both are for the table.
_PASSED = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def _finite(value: Decimal128) -> str:
    text = plain_text(value)
    if text is None:
        raise _NotPlainError
    return text


def _text(value: Any) -> str:
    return str(value)


def _whole_or_text(value: int) -> int | str:
    return whole(value) if abs(value) <= EXACT_IN_DOUBLE else str(value)


class JsonValues(Form):
    """BSON to JSON, for a Redis string or an Elasticsearch document; field order is kept.

    =====================  ============================================================
    exact as JSON          string, bool, null, int, long, double (-0.0 too), object, array
    exact as text          ObjectId hex, date ISO with ms and Z, decimal128, UUID, binary subtype 0 in base64
    tagged                 NaN and infinities, dates outside years 1-9999, other binary, timestamp, regex, code,
                           MinKey, MaxKey, undefined, symbol, dbPointer; a DBRef is the sub-document it is stored as
    rejected               repeated names, invalid UTF-8 (by `irregular`, unless a policy says otherwise)
    =====================  ============================================================
    """

    def __init__(
        self,
        name: Callable[[str, bool], str],
        policies: Shared | None = None,
        losses: Losses | None = None,
        *,
        large_as_text: bool = False,
    ) -> None:
        """Take the rule for field names, called with a name and whether it stands at the top level, and policies."""
        super().__init__(policies or JsonPolicies(), losses)
        self._top = Remembered[str](lambda text: name(text, True))
        self._below = Remembered[str](lambda text: name(text, False))
        number = _whole_or_text if large_as_text else whole
        rows: dict[type, Convert] = {
            str: same,
            bool: same,
            type(None): same,
            int: number,
            Int64: (lambda value: number(int(value))) if large_as_text else int,
            float: lambda value: value if math.isfinite(value) else self._nonfinite(double_tag(value)),
            dict: self._object,
            list: self._array,
            ObjectId: str,
            dt.datetime: iso_text,
            DatetimeMS: lambda value: date_text(int(value)) or date_tag(value),
            Decimal128: lambda value: (
                plain_text(value)
                or (_text(value) if value.to_decimal().is_finite() else self._nonfinite(decimal_tag(value)))
            ),
            bytes: base64_text,
            Binary: lambda value: uuid_text(value, self._policies.uuid_legacy) or binary_tag(value),
            Code: self._code,
            DBRef: lambda value: self._object(value.as_doc().to_dict()),
            **TAGS,
        }
        self._table = Table(rows)
        # What orjson may meet in a plain document, with the text or the tag it becomes.
        leaves = {
            kind: self._table[kind]
            for kind in (ObjectId, dt.datetime, DatetimeMS, bytes, Binary, Timestamp, MinKey, MaxKey, Regex)
        } | {Decimal128: _finite}
        self._leaf: Convert = lambda value: leaves[type(value)](value)
        self._unchanged = _Unchanged(self._top)
        self._plain = _plain_by(
            _Unchanged(self._below), {str, bool, type(None), *leaves, *(() if large_as_text else (int, Int64))}
        )

    def dumps(self, document: Document) -> bytes:
        """Return the JSON of what `document` returns, or raise as it does.

        orjson walks the document itself where nothing in it is escaped, tagged for its value, or lost.
        """
        known = self._unchanged.issuperset(document) or self._unchanged.learns(document)
        if known and (text := self._directly(document, document.values())) is not None:
            return text
        return trimmed(orjson.dumps(self.document(document)))

    def text(self, value: Any, path: str) -> bytes:
        """Return the JSON of what `value` returns, or raise as it does."""
        if (text := self._directly(value, (value,))) is not None:
            return text
        return trimmed(orjson.dumps(self.value(value, path)))

    def _directly(self, value: Any, parts: Iterable[Any]) -> bytes | None:
        if not self._plain(parts):
            return None
        try:
            return trimmed(orjson.dumps(value, self._leaf, _PASSED))
        except orjson.JSONEncodeError as error:
            if isinstance(error.__cause__, _NotPlainError):
                return None
            raise

    def document(self, document: Document) -> dict[str, Any]:
        """Return what `orjson.dumps` writes of a document; raises MappingError naming the field it cannot hold."""
        self._lost.clear()
        fields = self._fields(document, self._top)
        self._count_losses()
        return fields

    def value(self, value: Any, path: str = "") -> Any:
        """Return what `orjson.dumps` writes of one value below the top level; its losses count at the path."""
        self._lost.clear()
        converted = self._table[type(value)](value)
        if self._lost and path:
            self._named(path, 0)
        self._count_losses()
        return converted

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return self._fields(value, self._below)

    def _fields(self, value: Mapping[str, Any], names: Remembered[str]) -> dict[str, Any]:
        table = self._table
        fields: dict[str, Any] = {}
        lost = len(self._lost)
        name = ""
        try:
            for name, inner in value.items():
                fields[names[name]] = table[type(inner)](inner)
                if len(self._lost) > lost:
                    lost = self._named(name, lost)
        except MappingError as error:
            raise below(name, error) from None
        return fields

    def _array(self, value: list[Any]) -> list[Any]:
        table = self._table
        elements: list[Any] = []
        try:
            for inner in value:
                elements.append(table[type(inner)](inner))  # noqa: PERF401 - the error names how far it came
        except MappingError as error:
            raise below(str(len(elements)), error) from None
        return elements

    def _code(self, value: Code) -> dict[str, Any]:
        tag: dict[str, Any] = {"$code": str(value)}
        if value.scope is not None:
            tag["$scope"] = self._object(value.scope)
        return tag


class _Unchanged(set[str]):
    """The names met so far that a rule leaves unchanged."""

    def __init__(self, names: Remembered[str]) -> None:
        super().__init__()
        self._names = names

    def learns(self, value: Mapping[str, Any]) -> bool:
        """Return whether no name of the object is escaped; the names are then added."""
        try:
            if any(self._names[name] != name for name in value):
                return False
        except MappingError:  # A name that is not taken: the table will say where it stands.
            return False
        if len(self) < len(self._names):  # Names are remembered up to a bound; so these are.
            self.update(value)
        return True


def _plain_by(unchanged: _Unchanged, quick: Container[type]) -> Callable[[Iterable[Any]], bool]:
    """Return the function that tells whether orjson writes values exactly as the table does.

    Values of the `quick` types always are. Code, which is text to orjson, and references, which have names, are not.
    """

    def plain(values: Iterable[Any]) -> bool:
        for value in values:
            kind = type(value)
            if kind in quick:
                continue
            if kind is float:
                if value - value:  # NaN, for NaN and the infinities.
                    return False
            elif kind is dict:
                if not (unchanged.issuperset(value) or unchanged.learns(value)) or not plain(value.values()):
                    return False
            elif kind is not list or not plain(value):
                return False
        return True

    return plain


def trimmed(text: bytes) -> bytes:
    """Return a copy, because orjson's result keeps its whole buffer: 4 KB for one digit, 8 KB for a small document."""
    return bytes(memoryview(text))


def joined(source: bytes, members: Mapping[str, str]) -> bytes:
    """Return a JSON object with further members at its end; it has none of their names."""
    more = orjson.dumps(members)
    return more if source == b"{}" else source[:-1] + b"," + more[1:]


def redis_json(policies: JsonPolicies | HashPolicies | None = None, losses: Losses | None = None) -> JsonValues:
    """Return the table for JSON held in Redis: any name is legal there."""
    large_as_text = policies is not None and policies.int53 == "string"

    def named(name: str, _top: bool) -> str:
        return tagged_name(name)

    strict = policies is not None and policies.name_escape == "reject"
    return JsonValues(_as_is(named) if strict else named, policies, losses, large_as_text=large_as_text)


def elasticsearch_json(policies: IndexPolicies | None = None, losses: Losses | None = None) -> JsonValues:
    """Return the table for Elasticsearch's `_source`, with names it does not take for paths or its own fields."""
    large_as_text = policies is not None and policies.int53 == "string"
    strict = policies is not None and policies.name_escape == "reject"
    named = _as_is(elasticsearch_name) if strict else elasticsearch_name
    return JsonValues(named, policies, losses, large_as_text=large_as_text)


def _as_is(escape: Callable[[str, bool], str]) -> Callable[[str, bool], str]:
    return lambda name, top: unescaped(name, escape(name, top))


_FLAT: Mapping[type, Callable[[Any], str | None]] = {
    str: same,
    bool: lambda value: "true" if value else "false",
    int: lambda value: str(value) if abs(value) < 2**63 else None,
    Int64: str,
    float: lambda value: orjson.dumps(value).decode() if math.isfinite(value) else None,
    ObjectId: str,
    DatetimeMS: lambda value: date_text(int(value)),
    Decimal128: plain_text,
}
"""The text of a scalar that no policy touches; None, or nothing, for one that another way must judge."""


def flat_text(value: Any, values: JsonValues, path: str = "") -> bytes:
    r"""Return one value as the text a Redis hash field holds: strings raw, null tagged ``\x00null``, the rest JSON.

    Text as it is, not quoted, is what applications read from a hash; that a hash cannot tell ``"1"`` from ``1`` is
    part of that form (R19, R68).
    """
    quick = _FLAT.get(type(value))
    if quick is not None and (text := quick(value)):
        return text.encode()
    if isinstance(value, str) and not isinstance(value, Code):  # Code is a str, and may have a scope.
        return value.encode()
    if value is None:
        return NULL_TEXT
    if type(value) is bytes:
        return value
    if isinstance(value, dict | list):
        return values.text(value, path)
    converted = values.value(value, path)
    if converted is None:  # By policy.
        return NULL_TEXT
    return converted.encode() if isinstance(converted, str) else trimmed(orjson.dumps(converted))
