"""The form of every BSON value in a DynamoDB item: typed JSON, exact, tagged or rejected (docs/values.md)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from bson import Binary, Code, DBRef, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, Losses, MappingError
from mappers.documents.decimals import dynamodb_text, fits_dynamodb, plain_text
from mappers.policies import ItemPolicies, JsonPolicies
from mappers.values.converter import Convert, Form, Table, below, whole
from mappers.values.field_names import dynamodb_name, unescaped
from mappers.values.json_values import redis_json
from mappers.values.memo import Remembered
from mappers.values.tags import TAGS, base64_text, binary_tag, decimal_tag, double_tag, milliseconds, uuid_text

DYNAMODB_DEPTH = 31
"""Nested lists and maps below an attribute that DynamoDB takes; one more is refused (R16)."""


_BOOLEANS = {True: {"BOOL": True}, False: {"BOOL": False}}
_NULL = {"NULL": True}


class DynamoDBValues(Form):
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
        self._json = redis_json(JsonPolicies(name_escape=self._rules.name_escape))
        self._depth = 0
        self._naming = False
        strict = self._rules.name_escape == "reject"
        self._names = Remembered((lambda name: unescaped(name, dynamodb_name(name))) if strict else dynamodb_name)
        rows: dict[type, Convert] = {
            str: lambda value: {"S": value},
            bool: _BOOLEANS.__getitem__,
            type(None): lambda _: _NULL,
            int: lambda value: {"N": str(whole(value))},
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
        self._table = Table(rows)

    def item(self, document: Document) -> dict[str, Any]:
        """Return the document's attributes; raises MappingError naming the field DynamoDB cannot hold."""
        self._depth = 0
        self._lost.clear()
        try:
            attributes = self._attributes(document)
            if not self._lost:
                return attributes
        except MappingError:
            pass
        # Again, slowly: what is lost or cannot be held must be named.
        self._depth = 0
        self._lost.clear()
        self._naming = True
        try:
            attributes = self._attributes(document)
        finally:
            self._naming = False
        self._count_losses()
        return attributes

    def value(self, value: Any, path: str = "") -> dict[str, Any]:
        """Return one attribute value; its losses count at the path."""
        self._depth = 0
        self._lost.clear()
        converted: dict[str, Any] = self._table[type(value)](value)
        if self._lost and path:
            self._named(path, 0)
        self._count_losses()
        return converted

    def _attributes(self, value: Mapping[str, Any]) -> dict[str, Any]:
        table, names = self._table, self._names
        if not self._naming:
            return {
                names[name]: {"S": inner} if type(inner) is str else table[type(inner)](inner)
                for name, inner in value.items()
            }
        attributes: dict[str, Any] = {}
        lost = len(self._lost)
        name = ""
        try:
            for name, inner in value.items():
                attributes[names[name]] = table[type(inner)](inner)
                lost = self._named(name, lost)
        except MappingError as error:
            raise below(name, error) from None
        return attributes

    def _fits(self, levels: int = 1) -> bool:
        """Return whether so many levels fit here; raises MappingError if they do not and the policy rejects them."""
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
                raise below(str(len(elements)), error) from None
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
