"""The order in which MongoDB sorts `_id`s, for a look at what a server gave: across types first, then within one.

Source of the order: "Comparison/Sort Order" of MongoDB's manual. What a collation orders is not judged here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from bson import Decimal128

from mappers.documents.decoding import elements

CLASSES: Final[Sequence[Mapping[int, str]]] = (
    {0xFF: "minKey"},
    {0x06: "undefined"},
    {0x0A: "null"},
    {0x01: "double", 0x10: "int", 0x12: "long", 0x13: "decimal"},
    {0x02: "string", 0x0E: "symbol"},
    {0x03: "object"},
    {0x04: "array"},
    {0x05: "binData"},
    {0x07: "objectId"},
    {0x08: "bool"},
    {0x09: "date"},
    {0x11: "timestamp"},
    {0x0B: "regex"},
    {0x0C: "dbPointer"},
    {0x0D: "javascript"},
    {0x0F: "javascriptWithScope"},
    {0x7F: "maxKey"},
)
"""The BSON types that sort together, each with the name that `$type` knows, in the order in which they sort."""
_PLACES: Final = {kind: place for place, types in enumerate(CLASSES) for kind in types}
_KIND_AT, _VALUE_AT = 4, 9
"""Where the type and the value of the one element of a position begin; between them stands its name."""


def place(at: bytes) -> int:
    """Return the place of a position's type among `CLASSES`."""
    return _PLACES[at[_KIND_AT]]


def is_nan(at: bytes) -> bool:
    """Return whether a position's `_id` is a number that is none."""
    return at[_KIND_AT] in (0x01, 0x13) and _is_nan(_number(at[_KIND_AT], at[_VALUE_AT:-1]))


def compare(one: bytes, other: bytes, *, collated: bool = False) -> int | None:
    """Return -1, 0 or 1 as the first position sorts before, with or after the second; None where that is not known.

    `collated` says that texts are sorted by a collation.
    """
    if one == other:
        return 0
    return _compare(one[_KIND_AT], one[_VALUE_AT:-1], other[_KIND_AT], other[_VALUE_AT:-1], collated)


def _compare(kind: int, raw: bytes, other_kind: int, other_raw: bytes, collated: bool) -> int | None:
    here, there = _PLACES.get(kind), _PLACES.get(other_kind)
    if here is None or there is None:
        return None
    if here != there:
        return _sign(here, there)
    compare_within = _WITHIN.get(here)
    if compare_within is None:
        return 0 if (kind, raw) == (other_kind, other_raw) else None
    return compare_within(kind, raw, other_kind, other_raw, collated)


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _single(*_: object) -> int:
    return 0


def _numbers(kind: int, raw: bytes, other_kind: int, other_raw: bytes, _: bool) -> int:
    one, other = _number(kind, raw), _number(other_kind, other_raw)
    nan, other_nan = _is_nan(one), _is_nan(other)
    return _sign(other_nan, nan) if nan or other_nan else _sign(one, other)


def _number(kind: int, raw: bytes) -> int | float | Decimal:
    if kind == 0x13:
        return Decimal128.from_bid(raw).to_decimal()
    value: int | float = struct.unpack({0x01: "<d", 0x10: "<i", 0x12: "<q"}[kind], raw)[0]
    return value


def _is_nan(number: int | float | Decimal) -> bool:
    return number.is_nan() if isinstance(number, Decimal) else math.isnan(number)


def _texts(_: int, raw: bytes, __: int, other_raw: bytes, collated: bool) -> int | None:
    return None if collated else _sign(raw[4:-1], other_raw[4:-1])


def _objects(kind: int, raw: bytes, _: int, other_raw: bytes, collated: bool) -> int | None:
    """Compare element by element: by type, then by name (an array's have none), then by value."""
    named = kind == 0x03
    ours, theirs = list(elements(raw)), list(elements(other_raw))
    for (own, name, start, end), (own_there, name_there, start_there, end_there) in zip(ours, theirs, strict=False):
        here, there = _PLACES.get(own), _PLACES.get(own_there)
        if here is None or there is None:
            return None
        if here != there:
            return _sign(here, there)
        if named and name != name_there:
            return _sign(name, name_there)
        within = _compare(own, raw[start:end], own_there, other_raw[start_there:end_there], collated)
        if within != 0:
            return within
    return _sign(len(ours), len(theirs))


def _binaries(_: int, raw: bytes, __: int, other_raw: bytes, ___: bool) -> int:
    return _sign((len(raw), raw[4:]), (len(other_raw), other_raw[4:]))


def _bytes(_: int, raw: bytes, __: int, other_raw: bytes, ___: bool) -> int:
    return _sign(raw, other_raw)


def _dates(_: int, raw: bytes, __: int, other_raw: bytes, ___: bool) -> int:
    return _sign(struct.unpack("<q", raw), struct.unpack("<q", other_raw))


def _timestamps(_: int, raw: bytes, __: int, other_raw: bytes, ___: bool) -> int:
    return _sign(struct.unpack("<Q", raw), struct.unpack("<Q", other_raw))


_Within = Callable[[int, bytes, int, bytes, bool], int | None]
_WITHIN: Mapping[int, _Within] = {
    **dict.fromkeys((_PLACES[0xFF], _PLACES[0x06], _PLACES[0x0A], _PLACES[0x7F]), _single),
    _PLACES[0x10]: _numbers,
    _PLACES[0x02]: _texts,
    _PLACES[0x03]: _objects,
    _PLACES[0x04]: _objects,
    _PLACES[0x05]: _binaries,
    _PLACES[0x07]: _bytes,
    _PLACES[0x08]: _bytes,
    _PLACES[0x09]: _dates,
    _PLACES[0x11]: _timestamps,
}
"""How two values of a class compare; what a server does with the classes that are not here is not known well enough."""
