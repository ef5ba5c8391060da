"""What becomes of every BSON value: one table per form of record, exact, tagged or rejected (R1-R19, docs/values.md).

A tag is canonical Extended JSON: an object whose one key starts with ``$``. A user's own name that starts with ``$``
gets one more, so no user data looks like a tag and the way back needs no guess (R8).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Container, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import orjson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, Losses, MappingError
from mappers.decimals import dynamodb_text, fits_dynamodb, plain_text
from mappers.names import dynamodb_name, elasticsearch_name, tagged_name
from mappers.policies import HashPolicies, ItemPolicies, JsonPolicies, Shared
from mappers.remembering import Remembered
from mappers.tags import TAGS, base64_text, binary_tag, date_tag, date_text, decimal_tag, double_tag, in_utc, uuid_text
from mappers.tags import milliseconds as milliseconds

Convert = Callable[[Any], Any]

DYNAMODB_DEPTH = 31
"""Nested lists and maps below an attribute that DynamoDB takes; one more is refused (R16)."""

EXACT_IN_DOUBLE = 2**53
"""Integers up to here are exact as doubles, which is what JavaScript reads (R18)."""
NULL_TEXT = b"\x00null"
"""What a hash field holds for null (R19)."""
_SHOWN_NAME = 100  # Characters of a field's name that an error shows.


# --- text that several forms share ------------------------------------------------------------------------------------


class _NotPlainError(Exception):
    """A document turned out to hold a value that needs the table."""


# Dates and dataclasses have forms of orjson's own; both are for the table.
_PASSED = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def _finite(value: Decimal128) -> str:
    text = plain_text(value)
    if text is None:
        raise _NotPlainError
    return text


def _as_float(convert: Convert, value: float) -> Any:
    return convert(float(value))


def _text(value: Any) -> str:
    return str(value)


def _same(value: Any) -> Any:
    return value


def _whole(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise MappingError("E-MAP-VALUE", "", "a whole number of more than 64 bits")
    return value


def _whole_or_text(value: int) -> int | str:
    return _whole(value) if abs(value) <= EXACT_IN_DOUBLE else str(value)


def iso_text(value: dt.datetime) -> str:
    """Return ISO 8601 with exactly three decimals and ``Z``, which Elasticsearch reads for years 1 to 9999 (R17)."""
    if value.tzinfo is not dt.UTC:  # CODEC decodes every date as UTC; a mapper of one's own may bring another.
        value = in_utc(value)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


class _Table(dict[type, Convert]):
    """What becomes of a value, by its exact type; a subclass is found by the type it comes from."""

    def __missing__(self, kind: type) -> Convert:
        for base in kind.__mro__[1:]:
            convert = self.get(base)
            if convert is not None:
                # Subclasses of float (NumPy has one) print and serialise in ways of their own.
                self[kind] = partial(_as_float, convert) if base is float else convert
                return self[kind]
        raise MappingError("E-MAP-VALUE", "", f"a value of type {kind.__name__} is no BSON value")


class _Form:
    """What the tables share: policies, and the losses of the document at hand by field."""

    def __init__(self, policies: Shared, losses: Losses | None) -> None:
        self._policies: Shared = policies
        self._losses = losses
        self._found: list[tuple[str, str]] = []  # path and kind; an array's elements bear the array's path

    def _lose(self, kind: str) -> None:
        self._found.append(("", kind))

    def _named(self, name: str, since: int) -> int:
        """Put the name before the paths found since then; return how many there are now."""
        name = _shown(name)
        for at in range(since, len(self._found)):
            path, kind = self._found[at]
            self._found[at] = (f"{name}.{path}" if path else name, kind)
        return len(self._found)

    def _settle(self) -> None:
        """Count what was lost; called once the whole document, or a value of its own, is converted."""
        if self._losses is not None:
            for path, kind in self._found:
                self._losses.add(kind, path)
        self._found.clear()

    def _nonfinite(self, tag: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match self._policies.nonfinite:
            case "as_null":
                self._lose("nonfinite_null")
                return None
            case "reject":
                raise MappingError("E-MAP-VALUE", "", "NaN or an infinity; values: {nonfinite: tag} would keep it")
            case _:
                return tag


class JsonValues(_Form):
    """BSON to JSON, for a Redis string or an Elasticsearch document; field order is kept.

    =====================  ============================================================
    exact as JSON          string, bool, null, int, long, double (-0.0 too), object, array
    exact as text          ObjectId hex, date ISO with ms and Z, decimal128, UUID, binary subtype 0 in base64
    tagged                 NaN and infinities, dates outside years 1-9999, other binary, timestamp, regex, code,
                           MinKey, MaxKey, undefined, symbol, dbPointer; a DBRef is the sub-document it is stored as
    rejected               repeated names, invalid UTF-8 (by `mappers.anomalies`, unless a policy says otherwise)
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
        whole = _whole_or_text if large_as_text else _whole
        self._table = _Table(
            {
                str: _same,
                bool: _same,
                type(None): _same,
                int: whole,
                Int64: (lambda value: whole(int(value))) if large_as_text else int,
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
        )
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
        if known and (text := self._whole(document, document.values())) is not None:
            return text
        return orjson.dumps(self.document(document))

    def text(self, value: Any, path: str) -> bytes:
        """Return the JSON of what `value` returns, or raise as it does."""
        if (text := self._whole(value, (value,))) is not None:
            return text
        return orjson.dumps(self.value(value, path))

    def _whole(self, value: Any, parts: Iterable[Any]) -> bytes | None:
        if not self._plain(parts):
            return None
        try:
            return orjson.dumps(value, self._leaf, _PASSED)
        except orjson.JSONEncodeError as error:
            if isinstance(error.__cause__, _NotPlainError):
                return None
            raise

    def document(self, document: Document) -> dict[str, Any]:
        """Return what `orjson.dumps` writes of a document; raises MappingError naming the field it cannot hold."""
        self._found.clear()
        fields = self._fields(document, self._top)
        self._settle()
        return fields

    def value(self, value: Any, path: str = "") -> Any:
        """Return what `orjson.dumps` writes of one value below the top level; its losses count at the path."""
        self._found.clear()
        converted = self._table[type(value)](value)
        if self._found and path:
            self._named(path, 0)
        self._settle()
        return converted

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return self._fields(value, self._below)

    def _fields(self, value: Mapping[str, Any], names: Remembered[str]) -> dict[str, Any]:
        table = self._table
        fields: dict[str, Any] = {}
        found = len(self._found)
        name = ""
        try:
            for name, inner in value.items():
                fields[names[name]] = table[type(inner)](inner)
                if len(self._found) > found:
                    found = self._named(name, found)
        except MappingError as error:
            raise _below(name, error) from None
        return fields

    def _array(self, value: list[Any]) -> list[Any]:
        table = self._table
        elements: list[Any] = []
        try:
            for inner in value:
                elements.append(table[type(inner)](inner))  # noqa: PERF401 - the error names how far it came
        except MappingError as error:
            raise _below(str(len(elements)), error) from None
        return elements

    def _code(self, value: Code) -> dict[str, Any]:
        tag: dict[str, Any] = {"$code": str(value)}
        if value.scope is not None:
            tag["$scope"] = self._object(value.scope)
        return tag


class _Unchanged(set[str]):
    """Names that a rule leaves as they are, as far as they were met."""

    def __init__(self, names: Remembered[str]) -> None:
        super().__init__()
        self._names = names

    def learns(self, value: Mapping[str, Any]) -> bool:
        """Return whether no name of the object is escaped; they are known then."""
        if any(self._names[name] != name for name in value):
            return False
        if len(self) < len(self._names):  # Names are remembered up to a bound; so these are.
            self.update(value)
        return True


def _plain_by(unchanged: _Unchanged, quick: Container[type]) -> Callable[[Iterable[Any]], bool]:
    """Return what tells whether orjson writes values as the table does: none is a case of its own.

    The `quick` types need no look. Code, which is text to orjson, and references, which have names, are not plain.
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


def joined(source: bytes, members: Mapping[str, str]) -> bytes:
    """Return a JSON object with further members at its end; it has none of their names."""
    more = orjson.dumps(members)
    return more if source == b"{}" else source[:-1] + b"," + more[1:]


def redis_json(policies: JsonPolicies | HashPolicies | None = None, losses: Losses | None = None) -> JsonValues:
    """Return the table for JSON held in Redis: any name is legal there."""
    large_as_text = policies is not None and policies.int53 == "string"
    return JsonValues(lambda name, _top: tagged_name(name), policies, losses, large_as_text=large_as_text)


def elasticsearch_json(policies: JsonPolicies | None = None, losses: Losses | None = None) -> JsonValues:
    """Return the table for Elasticsearch's `_source`, with names it does not take for paths or its own fields."""
    large_as_text = policies is not None and policies.int53 == "string"
    return JsonValues(elasticsearch_name, policies, losses, large_as_text=large_as_text)


class DynamoDBValues(_Form):
    """BSON to DynamoDB's typed JSON (``{"S": …}``), as BatchWriteItem takes it.

    ===========  =======================================================================
    exact        string S, bool BOOL, null NULL, int and long N, object M, array L, binary subtype 0 B,
                 date N (epoch milliseconds), ObjectId S (hex), UUID S,
                 double and decimal128 N where DynamoDB's range and 38 digits hold them (by value: 1.10 is 1.1)
    tagged       -0.0, NaN, infinities, numbers out of range, other binary, timestamp, regex, code, MinKey, MaxKey,
                 undefined, symbol, dbPointer
    rejected     deeper than 31 levels, over 400 KB, repeated names and invalid UTF-8, unless a policy says otherwise
    ===========  =======================================================================
    """

    def __init__(self, policies: ItemPolicies | None = None, losses: Losses | None = None) -> None:
        """Build the table."""
        self._rules = policies or ItemPolicies()
        super().__init__(self._rules, losses)
        self._json = redis_json()
        self._depth = 0
        self._naming = False
        self._names = Remembered(dynamodb_name)
        self._table = _Table(
            {
                str: lambda value: {"S": value},
                bool: lambda value: {"BOOL": value},
                type(None): lambda _: {"NULL": True},
                int: lambda value: {"N": str(_whole(value))},
                Int64: lambda value: {"N": str(int(value))},
                float: self._double,
                dict: self._map,
                list: self._list,
                ObjectId: lambda value: {"S": str(value)},
                dt.datetime: lambda value: {"N": str(milliseconds(value))},
                DatetimeMS: lambda value: {"N": str(int(value))},
                Decimal128: self._decimal,
                bytes: lambda value: {"B": base64_text(value)},
                Binary: self._binary,
                Code: self._code,
                DBRef: lambda value: self._map(value.as_doc().to_dict()),
                **{kind: self._tagging(tag) for kind, tag in TAGS.items()},
            }
        )

    def item(self, document: Document) -> dict[str, Any]:
        """Return the document's attributes; raises MappingError naming the field DynamoDB cannot hold."""
        self._depth = 0
        self._found.clear()
        try:
            attributes = self._attributes(document)
            if not self._found:
                return attributes
        except MappingError:
            pass
        # Again, slowly: what is lost or cannot be held must be named.
        self._depth = 0
        self._found.clear()
        self._naming = True
        try:
            attributes = self._attributes(document)
        finally:
            self._naming = False
        self._settle()
        return attributes

    def value(self, value: Any, path: str = "") -> dict[str, Any]:
        """Return one attribute value; its losses count at the path."""
        self._depth = 0
        self._found.clear()
        converted: dict[str, Any] = self._table[type(value)](value)
        if self._found and path:
            self._named(path, 0)
        self._settle()
        return converted

    def _attributes(self, value: Mapping[str, Any]) -> dict[str, Any]:
        table, names = self._table, self._names
        if not self._naming:
            return {
                names[name]: {"S": inner} if type(inner) is str else table[type(inner)](inner)
                for name, inner in value.items()
            }
        attributes: dict[str, Any] = {}
        found = len(self._found)
        name = ""
        try:
            for name, inner in value.items():
                attributes[names[name]] = table[type(inner)](inner)
                found = self._named(name, found)
        except MappingError as error:
            raise _below(name, error) from None
        return attributes

    def _fits(self, levels: int = 1) -> bool:
        """Tell whether so many levels fit here; where they do not, the policy says whether that is a reject."""
        if self._depth + levels <= DYNAMODB_DEPTH:
            return True
        if self._rules.depth_overflow == "reject":
            raise MappingError("E-DDB-DEPTH", "", f"nested deeper than the {DYNAMODB_DEPTH} levels DynamoDB takes")
        self._lose("depth_json")
        return False

    def _as_json(self, value: Any) -> dict[str, Any]:
        return {"S": orjson.dumps(self._json.value(value)).decode()}

    def _map(self, value: Mapping[str, Any]) -> dict[str, Any]:
        if self._depth >= DYNAMODB_DEPTH and not self._fits():
            return self._as_json(value)
        self._depth += 1
        attributes = self._attributes(value)
        self._depth -= 1
        return {"M": attributes}

    def _list(self, value: list[Any]) -> dict[str, Any]:
        if self._depth >= DYNAMODB_DEPTH and not self._fits():
            return self._as_json(value)
        self._depth += 1
        table = self._table
        if not self._naming:
            elements = [table[type(inner)](inner) for inner in value]
        else:
            elements = []
            try:
                for inner in value:
                    elements.append(table[type(inner)](inner))
            except MappingError as error:
                raise _below(str(len(elements)), error) from None
        self._depth -= 1
        return {"L": elements}

    def _tag(self, tag: Mapping[str, Any]) -> dict[str, Any]:
        # A tag of which only a part fits would be none: it stands as a whole or is a string as a whole.
        return _typed(tag) if self._fits(_levels(tag)) else {"S": orjson.dumps(tag).decode()}

    def _tagging(self, tag: Convert) -> Convert:
        return lambda value: self._tag(tag(value))

    def _binary(self, value: Binary) -> dict[str, Any]:
        text = uuid_text(value, self._rules.uuid_legacy)
        return self._tag(binary_tag(value)) if text is None else {"S": text}

    def _not_finite(self, tag: dict[str, Any]) -> dict[str, Any]:
        return {"NULL": True} if self._nonfinite(tag) is None else self._tag(tag)

    def _zero(self, tag: dict[str, Any]) -> dict[str, Any]:
        if self._rules.neg_zero == "tag":
            return self._tag(tag)
        self._lose("neg_zero")
        return {"N": "0"}

    def _double(self, value: float) -> dict[str, Any]:
        text = orjson.dumps(value).decode()  # As repr: the shortest text that reads back as the same double (R4).
        if "e" not in text and text not in ("-0.0", "null"):
            return {"N": text.removesuffix(".0")}
        if math.isfinite(value):
            # Through repr: the shortest text that reads back as the same double, at most 17 digits (R4).
            decimal = Decimal(repr(value))
            if fits_dynamodb(decimal):
                return {"N": dynamodb_text(decimal)}
            return self._tag(double_tag(value)) if value else self._zero(double_tag(value))
        return self._not_finite(double_tag(value))

    def _decimal(self, value: Decimal128) -> dict[str, Any]:
        text = plain_text(value)
        if text is not None and text[-1] != "0" and text[0] != "-":  # As DynamoDB writes it (R5).
            return {"N": text}
        decimal = value.to_decimal()
        if not decimal.is_finite():
            return self._not_finite(decimal_tag(value))
        keeps_scale = self._rules.decimal_scale == "tag"
        if not decimal and decimal.is_signed() and not keeps_scale:
            return self._zero(decimal_tag(value))
        if fits_dynamodb(decimal):
            text = dynamodb_text(decimal)
            if not keeps_scale or text == str(value):
                return {"N": text}
        return self._tag(decimal_tag(value))

    def _code(self, value: Code) -> dict[str, Any]:
        if not self._fits():
            return self._as_json(value)
        self._depth += 1
        tag: dict[str, Any] = {"$code": {"S": str(value)}}
        if value.scope is not None:
            tag["$scope"] = self._map(value.scope)
        self._depth -= 1
        return {"M": tag}


def _levels(tag: Any) -> int:
    """Return how many levels of maps a tag has."""
    return 1 + max(map(_levels, tag.values())) if isinstance(tag, Mapping) else 0


def _typed(tag: Any) -> dict[str, Any]:
    """Return a tag as an attribute value."""
    match tag:
        case Mapping():
            return {"M": {name: _typed(inner) for name, inner in tag.items()}}
        case bool():
            return {"BOOL": tag}
        case str():
            return {"S": tag}
        case _:
            return {"N": str(tag)}


def flat_text(value: Any, values: JsonValues, path: str = "") -> bytes:
    r"""Return one value as the text a Redis hash field holds: strings raw, null tagged ``\x00null``, the rest JSON.

    Text as it is, not quoted, is what applications read from a hash; that a hash cannot tell ``"1"`` from ``1`` is
    part of that form (R19, R68).
    """
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
    return converted.encode() if isinstance(converted, str) else orjson.dumps(converted)


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + "…"


def _below(name: str, error: MappingError) -> MappingError:
    name = _shown(name)
    return MappingError(error.code, f"{name}.{error.field}" if error.field else name, error.reason)
