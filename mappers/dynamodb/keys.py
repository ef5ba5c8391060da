"""The key attributes of DynamoDB's tables and indexes: their keys in a plan, and their values for a document."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from bson import Decimal128
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING, lookup
from mappers.dynamodb.size import value_size
from mappers.identity import shortened, unmistakable
from mappers.values.field_names import dynamodb_name
from mappers.values.key_templates import Template, key_text
from mappers.values.tags import date_text, milliseconds

PARTITION_KEY_LIMIT_BYTES = 2048
SORT_KEY_LIMIT_BYTES = 1024
NAME_LIMIT_BYTES = 255
"""Of an attribute that keys a table or an index; others may be longer."""
_PARTED = re.compile(r"[^0-9A-Za-z%]")
_WORDS = {"S": "text", "N": "a number", "B": "bytes"}


@dataclass(frozen=True, slots=True)
class KeyAttribute:
    """One key attribute in full, where a name in short does not say enough."""

    name: str | None = None
    """The attribute's name; the field's by default."""
    field: str | None = None
    """The field, by dotted path, whose value it has as it is; the field of its name by default."""
    value: str | None = None
    """Text with fields in braces, such as "ORDER#{_id}", in the place of one field's value."""
    type: Literal["S", "N", "B"] = "S"
    """Its type in DynamoDB: S text, N number, B bytes; a document with another is rejected."""

    @property
    def attribute(self) -> str:
        """The name it has in the table."""
        return self.name if self.name is not None else _name(self.field or "")

    @property
    def path(self) -> str | None:
        """The field whose value it has, None for a template."""
        return None if self.value is not None else self.field if self.field is not None else self.name

    @property
    def paths(self) -> Sequence[str]:
        """The fields that decide its value."""
        return Template.parse(self.value).paths if self.value is not None else [self.path or ""]

    @property
    def own(self) -> bool:
        """True if it is the document's own attribute of that name."""
        return self.path is not None and "." not in self.path and _name(self.path) == self.attribute

    def check(self, option: str) -> None:
        """Return if it can be served; raises ValueError beginning with the option."""
        if self.field is not None and self.value is not None:
            raise ValueError(f"{option}: found field and value; write one of them")
        if self.attribute == "" and self.name is None:
            raise ValueError(f"{option}: has neither name nor field; name the attribute")
        size = len(self.attribute.encode())
        if not 0 < size <= NAME_LIMIT_BYTES:
            raise ValueError(
                f"{option}: the name {self.attribute!r} has {size} bytes; DynamoDB takes 1 to {NAME_LIMIT_BYTES}"
            )
        if self.value is not None:
            if self.name is None:
                raise ValueError(f"{option}: the value {self.value!r} has no name; set name too")
            if self.type != "S":
                raise ValueError(f"{option}: a value with fields in braces is text; set type S, or use field")
            try:
                _check_template(Template.parse(self.value))
            except ValueError as error:
                raise ValueError(f"{option}: {error}") from None
        elif "" in (self.path or "").split("."):
            raise ValueError(f"{option}: {self.path!r} has an empty field name; write a path such as address.city")

    @property
    def prefix(self) -> str:
        """The text every value begins with; a text without fields ends with NUL, as nothing follows it."""
        if self.value is None:
            return ""
        template = Template.parse(self.value)
        return template.prefix + ("\0" if template.constant else "")


def _name(field: str) -> str:
    return dynamodb_name(field) if field else ""


def attribute(declared: str | KeyAttribute, short: str) -> KeyAttribute:
    """Return the key attribute in full; `short` is its name if the plan gives only a text with fields in braces."""
    if isinstance(declared, KeyAttribute):
        return declared
    if "{" in declared or "}" in declared:
        return KeyAttribute(name=short, value=declared)
    return KeyAttribute(name=_name(declared), field=declared)


@dataclass(frozen=True)
class Key:
    """The key attributes of a table."""

    partition: str | KeyAttribute = "_id"
    """A field, or text with fields in braces (its attribute is then pk), or an object that says more."""
    sort: str | KeyAttribute | None = None
    """The sort key likewise (as text its attribute is sk), if the table has one."""

    @cached_property
    def attributes(self) -> tuple[KeyAttribute, ...]:
        """The key attributes in full, in DynamoDB's order."""
        partition = attribute(self.partition, "pk")
        return (partition,) if self.sort is None else (partition, attribute(self.sort, "sk"))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the key attributes in DynamoDB's order."""
        return tuple(key_attribute.attribute for key_attribute in self.attributes)

    @property
    def types(self) -> Mapping[str, str]:
        """The type of each key attribute."""
        return {key_attribute.attribute: key_attribute.type for key_attribute in self.attributes}

    def check(self) -> None:
        """Return if a table can have this key; raises ValueError otherwise."""
        for key_attribute in self.attributes:
            key_attribute.check("key")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"key: partition and sort are both {self.names[0]!r}; name two attributes")


def check_value(name: str, value: Mapping[str, Any] | None, kind: str, limit_bytes: int) -> None:
    """Return if DynamoDB takes the value as a key (R42); raises MappingError naming the attribute."""
    if value is None:
        raise MappingError("E-DDB-KEY", name, "the key attribute is missing")
    fault = key_fault(value, kind, limit_bytes)
    if fault:
        raise MappingError("E-DDB-KEY", name, f"the key attribute {fault}")


def key_fault(value: Mapping[str, Any], kind: str, limit_bytes: int) -> str:
    """Return why DynamoDB refuses the value in a key of this type, "" if it does not."""
    actual = next(iter(value))
    if actual != kind:
        return f"is of type {actual}, the key takes {kind} ({_WORDS[kind]})"
    size = value_size(value)
    if kind != "N" and not 0 < size <= limit_bytes:
        return f"is {size} bytes; DynamoDB takes 1 to {limit_bytes}"
    return ""


Value = Callable[[Document, str, Mapping[str, Any]], "dict[str, Any] | None"]
"""A function of a document, its typed id and its attributes; it returns a key's value, None for a missing field."""


def maker(key_attribute: KeyAttribute, limit_bytes: int, convert: Callable[[Any], dict[str, Any]]) -> Value:
    """Return the function that makes the attribute's value; `convert` turns a BSON value into typed JSON."""
    if key_attribute.value is not None:
        template = Template.parse(key_attribute.value)
        escaped = _separators(template)
        return lambda document, typed, _: _filled(template, escaped, document, typed, limit_bytes)
    path = key_attribute.path or ""
    if path == "_id":
        if key_attribute.type == "S":
            return lambda _document, typed, _: {"S": shortened(typed, limit_bytes)}
        return lambda document, _typed, _: _exact_id(document["_id"], convert)
    if key_attribute.own:
        name = key_attribute.attribute
        return lambda _document, _typed, attributes: attributes.get(name)

    def looked_up(document: Document, _typed: str, _attributes: Mapping[str, Any]) -> dict[str, Any] | None:
        value = lookup(document, path)
        return None if value is MISSING else convert(value)

    return looked_up


def _exact_id(value: Any, convert: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the id as a key of its own type; raises MappingError for a number two different ids could share (R42)."""
    if isinstance(value, float | Decimal128) and not isinstance(value, bool):
        typed = convert(value)
        exact = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        if "N" not in typed or Decimal(typed["N"]) != exact or exact != exact.to_integral_value():
            reason = "is not a whole number that DynamoDB holds exactly; use _id as text (type S)"
            raise MappingError("E-DDB-KEY", "_id", reason)
        return typed
    if isinstance(value, dt.datetime | DatetimeMS):
        # A date is a number in DynamoDB: the date 1 and the number 1 would be one key.
        raise MappingError("E-DDB-KEY", "_id", "is a date, which as a number could equal another id; use type S")
    return convert(value)


# --- text from fields, injective in them ------------------------------------------------------------------------------


def _check_template(template: Template) -> None:
    """Return if the fields' texts can be told apart within the whole; raises ValueError otherwise."""
    for literal, path in template.parts[1:]:
        if not path:
            break
        if not literal or not _PARTED.match(literal):
            shown = f"{literal!r} stands" if literal else "nothing stands"
            raise ValueError(
                f"{template.text!r}: {shown} between two fields; separate them by a character such as #, not a"
                " letter or digit"
            )


def _separators(template: Template) -> str:
    """Return the characters that end a field's text within the template; they are escaped in that text."""
    return "".join(sorted({literal[0] for literal, path in template.parts[1:] if path}))


def _filled(
    template: Template, separators: str, document: Document, typed: str, limit_bytes: int
) -> dict[str, Any] | None:
    texts: list[str] = []
    for literal, path in template.parts:
        texts.append(literal)
        if path:
            text = unmistakable(typed) if path == "_id" else _text(document, path)
            if text is None:
                return None
            texts.append(_escaped(text, separators))
    whole = "".join(texts)
    if len(whole.encode()) > limit_bytes and "_id" in template.paths:
        # R32: the whole id stands in an attribute of its own, whatever the key.
        at = [path for _, path in template.parts].index("_id")
        texts[2 * at + 1] = _escaped(shortened(typed, 0), separators)
        whole = "".join(texts)
    return {"S": whole}


def _escaped(text: str, separators: str) -> str:
    if "%" in text:
        text = text.replace("%", "%25")
    for sign in separators:
        if sign in text:
            text = text.replace(sign, "".join(f"%{byte:02X}" for byte in sign.encode()))
    return text


def _text(document: Document, path: str) -> str | None:
    """Return the text of a field: dates in ISO 8601, which sort by time, the rest as in other keys."""
    value = lookup(document, path)
    if value is MISSING:
        return None
    if isinstance(value, dt.datetime | DatetimeMS):
        text = date_text(milliseconds(value))
        if text is None:
            raise MappingError("E-MAP-KEY", path, "is is needed for the key but is a date outside the years 1 to 9999")
        return text
    return key_text(document, path)
