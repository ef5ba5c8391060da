"""A sketch of a multiset of addresses: a fixed number of cells, from which the difference of two multisets is read.

It is an invertible Bloom lookup table (Goodrich and Mitzenmacher, 2011; Eppstein et al., "What's the Difference?",
2011) with exact sums. Every address has a hash and one cell in each of three tables. A cell is how many hashes fell
into it and what they add up to. So sketches of parts of a multiset add up in any order, and what is in two sketches
cancels out. Cells with a single hash left are read and taken out, until none is left.

A hash is 96 bits of blake2b under a secret key, and their CRC. If two multisets differ, the cells of their difference
are all zero with a probability below 2^-96: whatever the other hashes are, a cell of an address that differs is zero
for at most one of the 2^96 values of its own. Who does not know the key cannot choose addresses by their hashes.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from zlib import crc32

from stores.state.verification import address_bytes

_ID_BYTES = 12
_ID_BITS = 8 * _ID_BYTES
_HASH_BITS = _ID_BITS + 32
_COUNT_BIT = 160
"""Where the count begins in a cell: hashes of 2^31 addresses add up to less."""
_ONE = 1 << _COUNT_BIT
_HALF = 1 << (_COUNT_BIT - 1)
_SUM = _ONE - 1
_ID = (1 << _ID_BITS) - 1
_TABLES = 3
_SHIFTS = (0, 32, 64)
"""Which bits of a hash name its cell in each table."""
_FULL = 0.7
"""Share of the cells up to which their number of hashes is read; where there are many, 0.81 is the limit."""
_HEAD = struct.Struct("<BBBI")  # bits, bytes of a cell, whether cells are named, number of cells
_PLACE = struct.Struct("<I")
HASH_BYTES = _HASH_BITS // 8

FEWEST_BITS = 10
MOST_BITS = 18
"""A table has 2^18 cells at most: about 50 MB for the three of them, and 20 MB in the state."""


def capacity(bits: int) -> int:
    """Return how many hashes are read from a sketch of so many bits, with few exceptions."""
    return int(_FULL * _TABLES * (1 << bits))


def bits_for(hashes: float) -> int:
    """Return the bits of the smallest sketch for so many hashes, at most those of the largest."""
    return next((bits for bits in range(FEWEST_BITS, MOST_BITS) if capacity(bits) >= hashes), MOST_BITS)


def hasher(key: bytes) -> Callable[[str], int]:
    """Return the function from an address to its hash under this key."""
    new = blake2b(digest_size=_ID_BYTES, key=key).copy

    def hash_of(address: str) -> int:
        digest = new()
        digest.update(address_bytes(address))
        found = digest.digest()
        return crc32(found) << _ID_BITS | int.from_bytes(found, "little")

    return hash_of


class Sketch:
    """The cells of one multiset, or of the difference of two; used by one thread at a time."""

    def __init__(self, key: bytes, bits: int) -> None:
        """Begin with the empty multiset; sketches of the same key and bits can be added."""
        self._new = blake2b(digest_size=_ID_BYTES, key=key).copy
        self._bits = bits
        self._tables = tuple([0] * (1 << bits) for _ in range(_TABLES))

    def add(self, addresses: Iterable[str]) -> None:
        """Every one of the addresses is in the multiset once more."""
        first, second, third = self._tables
        new, number, mask = self._new, int.from_bytes, (1 << self._bits) - 1
        for address in addresses:
            digest = new()
            try:
                digest.update(address.encode())
            except UnicodeEncodeError:
                digest.update(address_bytes(address))
            found = digest.digest()
            hash_of = number(found, "little")
            cell = _ONE | crc32(found) << _ID_BITS | hash_of
            first[hash_of & mask] += cell
            second[hash_of >> 32 & mask] += cell
            third[hash_of >> 64 & mask] += cell

    def add_sketch(self, other: Sketch, times: int = 1) -> None:
        """Everything of the other multiset is in this one so many times more."""
        for table, added in zip(self._tables, other._tables, strict=True):
            for at, cell in enumerate(added):
                if cell:
                    table[at] += times * cell

    def decoded(self) -> Mapping[int, int] | None:
        """Return how often each hash is in the multiset, those that are in it; None if they are more than can be read.

        A number below zero is that of a difference. The answer has the same cells as the multiset.
        """
        tables = [[*table] for table in self._tables]
        left = [(table, at) for table in range(_TABLES) for at, cell in enumerate(tables[table]) if cell]
        found: Counter[int] = Counter()
        budget = _TABLES * 2 * (1 << self._bits)
        while left and budget:
            table, at = left.pop()
            single = self._single(tables[table][at], table, at)
            if single is None:
                continue
            budget -= 1
            value, times = single
            found[value] += times
            for other, place in enumerate(self._places(value)):
                tables[other][place] -= times * (_ONE + value)
                if other != table:
                    left.append((other, place))
        if any(map(any, tables)):
            return None
        return {value: times for value, times in found.items() if times}

    def estimate(self) -> int:
        """Return about how many hashes are in the multiset, however many they are."""
        size = 1 << self._bits
        zeros = sum(table.count(0) for table in self._tables) / _TABLES
        if zeros:
            return math.ceil(-size * math.log(zeros / size))
        counts = [[(cell + _HALF) >> _COUNT_BIT for cell in table] for table in self._tables]
        squares = sum(count * count for table in counts for count in table) / _TABLES
        return math.ceil((squares - sum(counts[0]) ** 2 / size) / (1 - 1 / size))

    def to_bytes(self) -> bytes:
        """Return the cells: all of them, or those that are not zero where that is less."""
        cells = [cell for table in self._tables for cell in table]
        width = max(max(cells).bit_length(), min(cells).bit_length()) // 8 + 1
        used = [at for at, cell in enumerate(cells) if cell]
        if len(used) * (_PLACE.size + width) >= len(cells) * width:
            head = _HEAD.pack(self._bits, width, False, len(cells))
            return head + b"".join([cell.to_bytes(width, "little", signed=True) for cell in cells])
        head = _HEAD.pack(self._bits, width, True, len(used))
        packed = [_PLACE.pack(at) + cells[at].to_bytes(width, "little", signed=True) for at in used]
        return head + b"".join(packed)

    @classmethod
    def from_bytes(cls, key: bytes, content: bytes) -> Sketch:
        """Return the sketch that `to_bytes` wrote."""
        bits, width, named, number = _HEAD.unpack_from(content)
        sketch = cls(key, bits)
        size = 1 << bits
        step = width + (_PLACE.size if named else 0)
        for order in range(number):
            start = _HEAD.size + order * step
            at = _PLACE.unpack_from(content, start)[0] if named else order
            cell = int.from_bytes(content[start + step - width : start + step], "little", signed=True)
            sketch._tables[at // size][at % size] = cell
        return sketch

    def _places(self, value: int) -> tuple[int, ...]:
        mask = (1 << self._bits) - 1
        return tuple(value >> shift & mask for shift in _SHIFTS)

    def _single(self, cell: int, table: int, at: int) -> tuple[int, int] | None:
        """Return the one hash of a cell and how often it is there; None for a cell of none or of several."""
        total = ((cell + _HALF) & _SUM) - _HALF
        times = (cell - total) >> _COUNT_BIT
        if not times:
            return None
        value, rest = divmod(total, times)
        if rest or not 0 <= value < 1 << _HASH_BITS or self._places(value)[table] != at:
            return None
        digest = (value & _ID).to_bytes(_ID_BYTES, "little")
        return (value, times) if crc32(digest) == value >> _ID_BITS else None


def add_cells(one: bytes, other: bytes) -> bytes:
    """Return both sketches, as `Sketch.to_bytes` wrote them, added up."""
    total = Sketch.from_bytes(b"", one)
    total.add_sketch(Sketch.from_bytes(b"", other))
    return total.to_bytes()
