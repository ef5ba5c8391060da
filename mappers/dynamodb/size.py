"""The exact size DynamoDB counts for an item (R40)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ITEM_LIMIT_BYTES = 409_600
"""400 KB as DynamoDB counts it: UTF-8 names and values and its own overhead for each (R40)."""


def item_size(attributes: Mapping[str, Any]) -> int:
    """Return the bytes DynamoDB counts for an item in typed JSON (binary in base64), exact by R40's rule."""
    return sum(len(name.encode()) + value_size(value) for name, value in attributes.items())


def value_size(value: Mapping[str, Any]) -> int:
    """Return the bytes DynamoDB counts for one value in typed JSON."""
    kind, inner = next(iter(value.items()))
    match kind:
        case "S":
            return len(inner.encode())
        case "N":
            return _number_size(inner)
        case "B":
            return _binary_size(inner)
        case "M":
            return 3 + sum(1 + len(name.encode()) + value_size(element) for name, element in inner.items())
        case "L":
            return 3 + sum(1 + value_size(element) for element in inner)
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
