"""Secondary indexes of DynamoDB: their keys in a plan, and items that no index refuses (R43)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from mappers.contract import Document, Losses, MappingError
from mappers.documents.decimals import dynamodb_text, fits_dynamodb
from mappers.dynamodb.keys import (
    PARTITION_KEY_LIMIT_BYTES,
    SORT_KEY_LIMIT_BYTES,
    Key,
    KeyAttribute,
    Value,
    attribute,
    key_fault,
    maker,
)
from mappers.dynamodb.size import item_size
from mappers.dynamodb.values import DynamoDBValues
from mappers.values.field_names import name_collision

Mismatch = Literal["reject", "omit", "coerce"]
UNINDEXED = "_unindexed"
"""The attribute that keeps, by name, the values that could not stand where an index has its key."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_GLOBAL_LIMIT = 20
_LOCAL_LIMIT = 5
_INCLUDED_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index of a table."""

    partition: str | KeyAttribute | None = None
    """Its partition key: a field, or an object with name, field or value, and type; a local index has the table's."""
    sort: str | KeyAttribute | None = None
    """Its sort key likewise, if it has one; a local index needs one."""
    projection: Literal["all", "keys"] | Sequence[str] = "all"
    """Which attributes it holds: all, keys, or a list of names besides the keys."""
    local: bool = False
    """Whether it is a local index, which shares the table's partition key."""

    def attributes(self, key: Key) -> tuple[KeyAttribute, ...]:
        """Return its key attributes in full, in DynamoDB's order."""
        first = key.attributes[0] if self.local else attribute(self.partition or "", "")
        return (first,) if self.sort is None else (first, attribute(self.sort, ""))

    def names(self, key: Key) -> tuple[str, ...]:
        """Return the names of its key attributes."""
        return tuple(key_attribute.attribute for key_attribute in self.attributes(key))

    @property
    def included(self) -> Sequence[str]:
        """The attributes that the plan projects by name, besides keys."""
        return () if isinstance(self.projection, str) else self.projection


def check_indexes(indexes: Mapping[str, Index], key: Key) -> None:
    """Return if a table of this key can have these indexes; raises ValueError otherwise."""
    types = dict(key.types)
    for name, index in indexes.items():
        at = f"indexes: {name!r}"
        if not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name):
            raise ValueError(f"{at}: a name has 3 to 255 characters of A-Z a-z 0-9 _ . -")
        if index.local and (index.partition is not None or index.sort is None or key.sort is None):
            raise ValueError(
                f"{at}: a local index needs a sort key, has no partition key of its own, and needs a table with a"
                " sort key"
            )
        if not index.local and index.partition is None:
            raise ValueError(f"{at}: has no partition key; set partition")
        if len(index.included) > _INCLUDED_LIMIT or (not isinstance(index.projection, str) and not index.projection):
            raise ValueError(f"{at}: projection names 1 to {_INCLUDED_LIMIT} attributes; or write all or keys")
        for key_attribute in index.attributes(key):
            key_attribute.check(at)
            label = key_attribute.attribute
            if types.setdefault(label, key_attribute.type) != key_attribute.type:
                raise ValueError(f"{at}: {label!r} is {types[label]} in another key; give it one type")
        names = index.names(key)
        if len(set(names)) < len(names):
            raise ValueError(f"{at}: partition and sort are both {names[0]!r}; name two attributes")
    for count, limit, kind in (
        (sum(not index.local for index in indexes.values()), _GLOBAL_LIMIT, "global"),
        (sum(index.local for index in indexes.values()), _LOCAL_LIMIT, "local"),
    ):
        if count > limit:
            raise ValueError(f"indexes: found {count} {kind} indexes; DynamoDB allows {limit}")
    sources: dict[str, tuple[str | None, str | None]] = {}
    for key_attribute in [*key.attributes, *(part for index in indexes.values() for part in index.attributes(key))]:
        name, source = key_attribute.attribute, (key_attribute.path, key_attribute.value)
        if sources.setdefault(name, source) != source:
            raise ValueError(f"indexes: {name!r} is described in two ways; describe it the same wherever it is a key")


class IndexKeys:
    """Gives items the attributes that key the table's indexes, and counts the local indexes into their size."""

    def __init__(
        self, indexes: Mapping[str, Index], key: Key, mismatch: Mismatch, values: DynamoDBValues, losses: Losses
    ) -> None:
        """Take checked indexes; `losses` counts the values that an index does not get."""
        self._mismatch = mismatch
        self._losses = losses
        self._local = [index for index in indexes.values() if index.local]
        self.copies = 1 + len(self._local)
        self._key = key
        limits: dict[KeyAttribute, int] = {}
        for index in indexes.values():
            both = zip(index.attributes(key), (PARTITION_KEY_LIMIT_BYTES, SORT_KEY_LIMIT_BYTES), strict=False)
            for key_attribute, limit in both:
                if key_attribute.attribute not in key.names:
                    limits[key_attribute] = min(limit, limits.get(key_attribute, limit))
        self._makers = [
            (key_attribute, limit, maker(key_attribute, limit, values.value)) for key_attribute, limit in limits.items()
        ]

    @property
    def rejecting(self) -> Sequence[tuple[KeyAttribute, int, Value]]:
        """The key attributes for which a document of another type is rejected, with their limits and makers."""
        return self._makers if self._mismatch == "reject" else ()

    def __call__(self, document: Document, typed: str, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return the item with its index keys; raises MappingError where one does not fit and must not be omitted.

        A field that is missing is no fault: the item is then not in the index.
        """
        aside: dict[str, Any] = {}
        for key_attribute, limit, make in self._makers:
            name = key_attribute.attribute
            if name in attributes and not key_attribute.own:
                raise name_collision(name)
            value = attributes["_id"] if name == "_id" else make(document, typed, attributes)
            if value is None:
                continue
            fault = key_fault(value, key_attribute.type, limit)
            if not fault:
                attributes[name] = value
                continue
            if self._mismatch == "reject":
                raise MappingError("E-DDB-INDEX", name, f"keys an index but {fault} (set `index_mismatch`)")
            if key_attribute.own:
                aside[name] = attributes.pop(name)
            coerced = _coerced(value, key_attribute.type) if self._mismatch == "coerce" else None
            if coerced is not None and not key_fault(coerced, key_attribute.type, limit):
                attributes[name] = coerced
                self._losses.add("index_coerced", name)
            else:
                self._losses.add("index_omitted", name)
        if aside:
            if UNINDEXED in attributes:
                raise name_collision(UNINDEXED)
            attributes[UNINDEXED] = {"M": aside}
        return attributes

    def size(self, attributes: Mapping[str, Any]) -> int:
        """Return the bytes DynamoDB counts against an item's limit: its own, and of its entries in local indexes."""
        return measured(attributes, self._key, self._local)


def measured(attributes: Mapping[str, Any], key: Key, local: Sequence[Index]) -> int:
    """Return the size of an item together with its entries in these local indexes."""
    return item_size(attributes) + sum(item_size(entry) for entry in _entries(attributes, key, local))


def _entries(attributes: Mapping[str, Any], key: Key, local: Sequence[Index]) -> Iterator[Mapping[str, Any]]:
    for index in local:
        names = index.names(key)
        if names[-1] not in attributes:
            continue
        if index.projection == "all":
            yield attributes
        else:
            projected = {*key.names, *names, *index.included}
            yield {name: value for name, value in attributes.items() if name in projected}


def _coerced(value: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the same value as this type; None if the type cannot express it."""
    actual, inner = next(iter(value.items()))
    if kind == "S" and actual == "N":
        return {"S": inner}
    if kind == "S" and actual == "BOOL":
        return {"S": "true" if inner else "false"}
    if kind == "N" and actual == "S" and _NUMBER.fullmatch(inner):
        try:
            number = Decimal(inner)
        except InvalidOperation:
            return None
        return {"N": dynamodb_text(number)} if fits_dynamodb(number) else None
    return None
