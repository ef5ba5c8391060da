"""Documents to DynamoDB items: typed JSON, its key, and the exact size DynamoDB will count."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import orjson
from msgspec import Struct

from mappers.contract import Comparable, MappingError, Restorable
from mappers.documents.decimals import same_number
from mappers.dynamodb.indexes import Index
from mappers.dynamodb.keys import (
    PARTITION_KEY_LIMIT_BYTES,
    SORT_KEY_LIMIT_BYTES,
    Key,
    KeyAttribute,
    check_value,
)
from mappers.dynamodb.size import ITEM_LIMIT_BYTES, item_size, value_size
from mappers.dynamodb.values import DynamoDBValues
from mappers.tree import Elements, Leaf, Names, Tree
from mappers.values.json_values import trimmed

__all__ = [
    "FULL_ID",
    "ITEM_LIMIT_BYTES",
    "Index",
    "Item",
    "Key",
    "KeyAttribute",
    "Oversize",
    "address",
    "item",
    "item_from_store",
    "item_size",
]

Oversize = Literal["reject", "compress", "split", "s3"]
FULL_ID = "_id_full"
"""The attribute that keeps the whole text of the id where the key had to be shortened (R32)."""
RAW = "_raw"
"""The attribute, of type B, that keeps the document's exact BSON on a lossless route."""


class Item(Struct, Comparable, Restorable, frozen=True, gc=False):
    """One item of a table; `body` is its typed JSON as BatchWriteItem takes it, numbers in canonical text."""

    address: str
    """JSON of the key attributes, such as ``{"_id":{"S":"o:…"}}``."""
    body: bytes
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the body with names sorted: DynamoDB's maps have no order (R11). Raises for a body not of bytes."""
        return orjson.dumps(orjson.loads(bytes(self.body)), option=orjson.OPT_SORT_KEYS)

    def content(self) -> Tree:
        """Return the attributes by name, the key's too; numbers are decimals, sets have no order."""
        return Names({name: _attribute_tree(value) for name, value in json.loads(bytes(self.body)).items()})

    def restore(self) -> bytes:
        """Return the BSON in the attribute RAW."""
        return base64.b64decode(orjson.loads(self.body)[RAW]["B"], validate=True)


def _attribute_tree(typed: Mapping[str, Any]) -> Tree:
    ((kind, value),) = typed.items()
    match kind:
        case "M":
            return Names({name: _attribute_tree(inner) for name, inner in value.items()})
        case "L":
            return Elements([_attribute_tree(inner) for inner in value])
        case "N":
            return Leaf(kind, Decimal(value))
        case "SS" | "NS" | "BS":
            return Leaf(kind, tuple(sorted(value)))
        case _:
            return Leaf(kind, value)


def item(
    values: Mapping[str, Any], key: Key | None = None, expires_at_ms: int | None = None, *, oversize: bool = False
) -> Item:
    """Return the item of these BSON or Python values, for a mapper of your own.

    Raises MappingError where DynamoDB would refuse it: a key missing, empty, too long or of another type, nested too
    deep, over 400 KB unless `oversize` (for a route whose `oversize` says what becomes of such items).
    """
    key = key or Key()
    attributes = DynamoDBValues().item(values)
    for key_attribute, limit in limited_keys(key.attributes):
        check_value(key_attribute.attribute, attributes.get(key_attribute.attribute), key_attribute.type, limit)
    return sized_item(attributes, key.names, expires_at_ms, None if oversize else item_size)


def item_from_store(attributes: Mapping[str, Any], key: Key) -> Item:
    """Return the item a store gave back, binary as bytes or base64: numbers and sets in canonical text (R25, R28)."""
    try:
        body = orjson.dumps(attributes)
    except TypeError:  # Binary as bytes.
        body = b""
    if not body or _ODD_NUMBER.search(body) or any(kind in body for kind in (b'"NS":', b'"SS":', b'"BS":')):
        attributes = {name: _same(value) for name, value in attributes.items()}
        body = orjson.dumps(attributes)
    return Item(address(attributes, key.names), body)


# A number in another text than `decimals.dynamodb_text` gives. Within a string each quote has a backslash.
_ODD_NUMBER = re.compile(rb'"N":"(?!(?:0|-?[1-9][0-9]*(?:\.[0-9]*[1-9])?|-?0\.[0-9]*[1-9])")')


def limited_keys(attributes: Iterable[KeyAttribute]) -> Iterable[tuple[KeyAttribute, int]]:
    return zip(attributes, (PARTITION_KEY_LIMIT_BYTES, SORT_KEY_LIMIT_BYTES), strict=False)


def sized_item(
    attributes: Mapping[str, Any],
    names: Sequence[str],
    expires_at_ms: int | None,
    size_of: Callable[[Mapping[str, Any]], int] | None,
    copies: int = 1,
) -> Item:
    """Return the item; `copies` is how often at most its local indexes repeat it in what DynamoDB counts."""
    body = orjson.dumps(attributes)
    # No item is larger than its JSON, in which each value has more around it than DynamoDB counts for it.
    size = size_of(attributes) if size_of is not None and len(body) * copies > ITEM_LIMIT_BYTES else 0
    if size > ITEM_LIMIT_BYTES:
        largest = max(attributes, key=lambda name: len(name.encode()) + value_size(attributes[name]))
        raise MappingError(
            "E-DDB-SIZE",
            largest,
            f"the item is {size} bytes, DynamoDB takes {ITEM_LIMIT_BYTES}; this is its largest field (set `oversize`)",
        )
    return Item(address(attributes, names), trimmed(body), expires_at_ms)


def address(attributes: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the address of an item: JSON of its key attributes, which have these names."""
    return orjson.dumps({name: attributes[name] for name in names}).decode()


def _same(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute value as a store gave it in the form the mapper writes."""
    kind, inner = next(iter(value.items()))
    match kind:
        case "N":
            return {"N": same_number(inner)}
        case "B":
            return {"B": inner if isinstance(inner, str) else _text(inner)}
        case "M":
            return {"M": {name: _same(element) for name, element in inner.items()}}
        case "L":
            return {"L": [_same(element) for element in inner]}
        case "NS":
            return {"NS": sorted(same_number(element) for element in inner)}
        case "SS":
            return {"SS": sorted(inner)}
        case "BS":
            return {"BS": sorted(element if isinstance(element, str) else _text(element) for element in inner)}
        case _:
            return {kind: inner}


def _text(value: bytes) -> str:
    return base64.b64encode(bytes(value)).decode()
