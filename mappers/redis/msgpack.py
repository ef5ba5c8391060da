"""MessagePack, written only: the values JSON can say, and bytes (docs/decisions.md says why no library does it)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

_DEEPEST = 250
"""Deeper than any document of MongoDB (100 levels) with its tags; Python's own recursion would end at about 480."""


def packed(value: Any) -> bytes:
    """Return the one shortest encoding of a value of None, bool, int, float, str, bytes, lists and mappings.

    A double stays a double of 64 bits, also where a whole number would be shorter. Raises ValueError for what
    MessagePack cannot hold.
    """
    out = bytearray()
    _pack(value, out, 0)
    return bytes(out)


def _pack(value: Any, out: bytearray, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    if value is None:
        out.append(0xC0)
    elif isinstance(value, bool):
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(value, out)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, str):
        text = value.encode()
        _head(len(text), out, (0xA0, 32), 0xD9, 0xDA, 0xDB)
        out += text
    elif isinstance(value, bytes):
        _head(len(value), out, None, 0xC4, 0xC5, 0xC6)
        out += value
    elif isinstance(value, Mapping):
        _head(len(value), out, (0x80, 16), None, 0xDE, 0xDF)
        _pack_all((part for pair in value.items() for part in pair), out, depth + 1)
    elif isinstance(value, list):
        _head(len(value), out, (0x90, 16), None, 0xDC, 0xDD)
        _pack_all(value, out, depth + 1)
    else:
        raise ValueError(f"a {type(value).__name__} has no form in MessagePack")


def _pack_all(values: Iterable[Any], out: bytearray, depth: int) -> None:
    for value in values:
        _pack(value, out, depth)


def _pack_int(value: int, out: bytearray) -> None:
    if -32 <= value < 128:
        out += struct.pack("b" if value < 0 else "B", value)
        return
    forms = ((0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q")) if value < 0 else _UNSIGNED
    for code, form in forms:
        try:
            out += struct.pack(">B" + form, code, value)
        except struct.error:
            continue
        return
    raise ValueError("a whole number of more than 64 bits")


_UNSIGNED = ((0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q"))


def _head(
    length: int, out: bytearray, fixed: tuple[int, int] | None, one_byte: int | None, two_bytes: int, four_bytes: int
) -> None:
    """Append a type and a length in the shortest of its forms."""
    if fixed is not None and length < fixed[1]:
        out.append(fixed[0] | length)
    elif one_byte is not None and length < 2**8:
        out += struct.pack(">BB", one_byte, length)
    elif length < 2**16:
        out += struct.pack(">BH", two_bytes, length)
    else:
        out += struct.pack(">BI", four_bytes, length)
