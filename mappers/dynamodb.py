"""Documents to DynamoDB items: typed JSON, its key, and the exact size DynamoDB will count."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from mappers.anomalies import stored_bytes
from mappers.contract import Document, Losses, MappingError
from mappers.decimals import same_number
from mappers.fields import expiry_ms
from mappers.identity import identity, shortened
from mappers.policies import ITEM_POLICIES, Fidelity, ItemPolicies
from mappers.values import DynamoDBValues

ITEM_LIMIT_BYTES = 409_600
"""400 KB as DynamoDB counts it: UTF-8 names and values and its own overhead for each (R40)."""
PARTITION_KEY_LIMIT_BYTES = 2048
SORT_KEY_LIMIT_BYTES = 1024
FULL_ID = "_id_full"
"""The attribute that keeps the whole typed id where the key had to be shortened (R32)."""
RAW = "_raw"
"""The attribute, of type B, that keeps the document's exact BSON on a lossless route."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a table; `body` is its typed JSON as BatchWriteItem takes it, numbers in canonical text."""

    address: str
    """JSON of the key attributes, such as ``{"_id":{"S":"o:…"}}``."""
    body: bytes
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the body with names sorted: DynamoDB's maps have no order (R11)."""
        return orjson.dumps(orjson.loads(self.body), option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Key:
    """The names of a table's key attributes, all of type S."""

    partition: str = "_id"
    """The partition key attribute."""
    sort: str | None = None
    """The sort key attribute, if the table has one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The key attributes in DynamoDB's order."""
        return (self.partition,) if self.sort is None else (self.partition, self.sort)


def item(values: Mapping[str, Any], key: Key | None = None, expires_at_ms: int | None = None) -> Item:
    """Return the item of these BSON or Python values, for a mapper of your own.

    Raises MappingError where DynamoDB would refuse it: a key missing, empty, too long or no string, over 400 KB,
    nested too deep.
    """
    return _item(DynamoDBValues().item(values), key or Key(), expires_at_ms)


def item_from_store(attributes: Mapping[str, Any], key: Key) -> Item:
    """Return the item a store gave back (binary as bytes), with numbers and sets in canonical text (R25, R28)."""
    same = {name: _same(value) for name, value in attributes.items()}
    return Item(_address(same, key), orjson.dumps(same))


class ItemMapper:
    """One document to one item: key `_id` in its typed encoding, every other field an attribute."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its items."""

        key: Key = Key()
        """Names of the key attributes; this mapper keys items by `_id`."""
        expires: str | None = None
        """A date field after which DynamoDB may drop the item."""
        ttl_attribute: str = "_ttl"
        """The attribute that holds `expires` in epoch seconds."""
        values: ItemPolicies = ITEM_POLICIES
        """What becomes of values DynamoDB does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as attribute `_raw`; what cannot be restored from it is rejected."""

    target: ClassVar[str] = "dynamodb"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a key that is not `_id`, or a TTL attribute that is taken."""
        if options.key != Key():
            raise ValueError(
                "key: the mapper 'item' keys items by _id alone; another key needs a mapper of your own (use:)"
            )
        if options.ttl_attribute in ("", "_id", FULL_ID, RAW):
            raise ValueError(f"ttl_attribute: {options.ttl_attribute!r} cannot hold a time; give another name")
        self._options = options
        self._values = DynamoDBValues(options.values, losses)

    def __call__(self, document: Document, /) -> Iterable[Item]:
        """Return the document's one item."""
        typed = identity(document)
        attributes = self._values.item({name: value for name, value in document.items() if name != "_id"})
        key = shortened(typed, PARTITION_KEY_LIMIT_BYTES)
        # A field in the TTL attribute's place is refused even where the document has no date: DynamoDB would take the
        # field for the time at which to delete the item (R56).
        reserved = {"_id"} if self._options.expires is None else {"_id", self._options.ttl_attribute}
        added: dict[str, Any] = {"_id": {"S": key}}
        if self._options.fidelity == "lossless":
            added[RAW] = {"B": base64.b64encode(stored_bytes(document)).decode()}
        if key != typed:
            added[FULL_ID] = {"S": typed}
        expires_at_ms = None
        if self._options.expires is not None:
            expires_at_ms = expiry_ms(document, self._options.expires)
            if expires_at_ms is not None:
                # DynamoDB counts whole seconds; milliseconds would never expire (R56).
                seconds = expires_at_ms // 1000
                expires_at_ms = seconds * 1000
                added[self._options.ttl_attribute] = {"N": str(seconds)}
        for name in reserved | set(added):
            if name in attributes:
                raise MappingError(
                    "E-NAME-COLLISION", name, "the document has a field of this name, which offramp needs"
                )
        return (_item(added | attributes, self._options.key, expires_at_ms),)


def _item(attributes: Mapping[str, Any], key: Key, expires_at_ms: int | None) -> Item:
    for name, limit in zip(key.names, (PARTITION_KEY_LIMIT_BYTES, SORT_KEY_LIMIT_BYTES), strict=False):
        text = attributes.get(name, {}).get("S")
        if text is None:
            raise MappingError("E-DDB-KEY", name, "the key attribute is missing or no string")
        if not 0 < len(text.encode()) <= limit:
            raise MappingError("E-DDB-KEY", name, f"the key is {len(text.encode())} bytes; DynamoDB takes 1 to {limit}")
    size = item_size(attributes)
    if size > ITEM_LIMIT_BYTES:
        largest = max(attributes, key=lambda name: len(name.encode()) + _size(attributes[name]))
        raise MappingError(
            "E-DDB-SIZE",
            largest,
            f"the item is {size} bytes, DynamoDB takes {ITEM_LIMIT_BYTES}; this is its largest field",
        )
    return Item(_address(attributes, key), orjson.dumps(attributes), expires_at_ms)


def _address(attributes: Mapping[str, Any], key: Key) -> str:
    return orjson.dumps({name: attributes[name] for name in key.names}).decode()


def item_size(attributes: Mapping[str, Any]) -> int:
    """Return the bytes DynamoDB counts for an item in typed JSON (binary in base64), exact by R40's rule."""
    return sum(len(name.encode()) + _size(value) for name, value in attributes.items())


def _size(value: Mapping[str, Any]) -> int:
    kind, inner = next(iter(value.items()))
    match kind:
        case "S":
            return len(inner.encode())
        case "N":
            return _number_size(inner)
        case "B":
            return _binary_size(inner)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size(element) for name, element in inner.items())
        case "L":
            return 3 + sum(1 + _size(element) for element in inner)
        case "SS":
            return sum(len(element.encode()) for element in inner)
        case "NS":
            return sum(_number_size(element) for element in inner)
        case "BS":
            return sum(_binary_size(element) for element in inner)
        case _:  # BOOL and NULL
            return 1


def _number_size(text: str) -> int:
    """Return 1 byte a pair of digits aligned on the point, no zero pairs at the ends, and 1; 1 more if negative."""
    negative = text.startswith("-")
    whole, _, fraction = text.lstrip("-").partition(".")
    digits = whole.zfill(len(whole) + len(whole) % 2) + fraction + "0" * (len(fraction) % 2)
    pairs: Sequence[str] = [digits[at : at + 2] for at in range(0, len(digits), 2)]
    first = next((at for at, pair in enumerate(pairs) if pair != "00"), None)
    if first is None:
        return 1
    last = max(at for at, pair in enumerate(pairs) if pair != "00")
    return min(21, last - first + 1 + 1 + negative)


def _binary_size(base64_text: str) -> int:
    return len(base64_text) // 4 * 3 - base64_text[-2:].count("=")


def _same(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute value as a store gave it in the form the mapper writes."""
    kind, inner = next(iter(value.items()))
    match kind:
        case "N":
            return {"N": same_number(inner)}
        case "B":
            return {"B": _text(inner)}
        case "M":
            return {"M": {name: _same(element) for name, element in inner.items()}}
        case "L":
            return {"L": [_same(element) for element in inner]}
        case "NS":
            return {"NS": sorted(same_number(element) for element in inner)}
        case "SS":
            return {"SS": sorted(inner)}
        case "BS":
            return {"BS": sorted(_text(element) for element in inner)}
        case _:
            return {kind: inner}


def _text(value: bytes) -> str:
    return base64.b64encode(bytes(value)).decode()
