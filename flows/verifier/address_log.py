"""Expected and listed addresses in a scratch file, where one process compares them once and exactly."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from types import TracebackType

from stores.state.verification import address_bytes, address_text

_BUCKETS = 256
_GATHERED_BYTES = 1 << 14
_LENGTH = struct.Struct("<I")
_EXPECTED, _LISTED = 0, _BUCKETS


class AddressLog:
    """Two sets of addresses, of which one of 256 buckets is in memory at a time; the file is gone when it is closed."""

    def __init__(self) -> None:
        """Begin with empty sets."""
        self._file = tempfile.TemporaryFile(prefix="offramp-addresses-")  # noqa: SIM115 - closed by `__exit__`
        self._gathered = [bytearray() for _ in range(2 * _BUCKETS)]
        self._frames = [array("Q") for _ in range(2 * _BUCKETS)]
        """For each side and bucket a flat array: offset and length of each frame."""

    def __enter__(self) -> AddressLog:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The file is gone."""
        self._file.close()

    def expect(self, addresses: Iterable[str]) -> None:
        """Add expected addresses."""
        self._add(_EXPECTED, addresses)

    def list(self, addresses: Iterable[str]) -> None:
        """Add addresses that the target lists; adding one twice changes nothing."""
        self._add(_LISTED, addresses)

    def extras(self) -> Iterator[str]:
        """Yield every listed address that is not expected."""
        for bucket in range(_BUCKETS):
            yield from map(address_text, self._read(_LISTED + bucket) - self._read(_EXPECTED + bucket))

    def listed(self) -> int:
        """Return how many addresses are listed."""
        return sum(len(self._read(_LISTED + bucket)) for bucket in range(_BUCKETS))

    def _add(self, side: int, addresses: Iterable[str]) -> None:
        for address in addresses:
            encoded = address_bytes(address)
            place = side + zlib.crc32(encoded) % _BUCKETS
            gathered = self._gathered[place]
            gathered += _LENGTH.pack(len(encoded)) + encoded
            if len(gathered) >= _GATHERED_BYTES:
                self._frames[place].extend((self._file.seek(0, os.SEEK_END), len(gathered)))
                self._file.write(gathered)
                self._gathered[place] = bytearray()

    def _read(self, place: int) -> set[bytes]:
        content = [bytes(self._gathered[place])]
        frames = self._frames[place]
        for at in range(0, len(frames), 2):
            self._file.seek(frames[at])
            content.append(self._file.read(frames[at + 1]))
        return {address for each in content for address in _addresses(each)}


def _addresses(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + length
        yield content[at - length : at]
