"""The addresses a route should hold and the addresses its target lists, balanced on disk, a bucket at a time.

Only so can records that share an address, and records nobody expects, be found without holding every address in
memory: the logs are about as large as the addresses, a bucket is a 256th of them. Each part of a pass writes a log of
its own, which only grows: cut back to a size at which it was flushed it says what it said then.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stores.state.verification import address_bytes, address_text

_BUCKETS = 256
_GATHERED_BYTES = 1 << 14
_FRAME = struct.Struct("<BBI")  # side, bucket, length of what follows
_HEAD = struct.Struct("<BII")  # finding, length of the address, length of the position
_EXPECTED, _LISTED = 0, 1
_AT_ONCE = 500
"""Mismatches looked at again at the same time."""
SAMPLES = 10
"""Addresses kept of each kind of mismatch, to be named in reports."""


class Finding(IntEnum):
    """What was seen at an expected address; of several records at one address the least stands for what is there."""

    SAME = 0
    DIFFERS = 1
    MISSING = 2
    EXPIRED = 3
    REFUSED = 4
    """Absent, and its document is on record as one the target refused."""
    INCONCLUSIVE = 5
    """The store did not answer for it, which proves nothing (R152)."""


class Entry(NamedTuple):
    """What was seen at the address of one record."""

    address: str
    finding: Finding
    position: bytes = b""
    """BSON ``{"_id": id}`` of its document, where something is to be looked at again."""


class Mismatch(NamedTuple):
    """An address at which the logs say that the target is wrong, or could not be asked."""

    kind: str
    """missing, differs, extra, collides, inconclusive; after another look also unsettled, or what is no mismatch: same,
    settled (neither expected nor held any more), gone (an extra that is), lapsed, expired or refused."""
    address: str
    position: bytes = b""


WRONG = ("missing", "differs", "extra", "collides", "unsettled", "inconclusive")
"""The kinds that are no part of a clean verdict."""
Look = Callable[[Sequence[Mismatch]], Sequence[Mismatch]]
"""Looks again, and returns what is so by now, in the same order."""


@dataclass(slots=True)
class Balance:
    """The closed ledger: records = held + missing + collides + expired, and what is rarer and stands below.

    `lapsed` and `extra` are of what is listed.
    """

    records: int = 0
    held: int = 0
    """Expected addresses that hold a record, the right one or another."""
    missing: int = 0
    differs: int = 0
    collides: int = 0
    """Records whose address another document's record claims too."""
    expired: int = 0
    refused: int = 0
    settled: int = 0
    """Expected when their document was read, and by now neither expected nor held: it has changed since."""
    lapsed: int = 0
    """Listed and expected by nobody, but expired: the store has still to drop them (R150)."""
    unsettled: int = 0
    """Another look could prove nothing, as the source's document kept changing or sync had not come so far (R148)."""
    inconclusive: int = 0
    """The store did not answer for them (R152, R153)."""
    extra: int | None = None
    """Listed addresses nobody expects; None where the target cannot list."""
    listed: int | None = None
    samples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, one: Mismatch) -> None:
        """Count what was found at an address, and keep it as a sample of its kind, up to the limit."""
        match one.kind:
            case "gone":
                return
            case "same":
                self.held += 1
                return
            case "settled" | "lapsed" | "expired" | "refused" as kind:
                setattr(self, kind, getattr(self, kind) + 1)
                return
            case "differs":
                self.held += 1
                self.differs += 1
            case "extra":
                self.extra = (self.extra or 0) + 1
            case "missing" | "collides" | "unsettled" | "inconclusive" as kind:
                setattr(self, kind, getattr(self, kind) + 1)
        kept = self.samples.setdefault(one.kind, [])
        if len(kept) < SAMPLES and one.address not in kept:
            kept.append(one.address)


class Log:
    """What one part of a pass has seen, in a file; nothing stays open, and little in memory."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Go on after so many bytes: what follows them is forgotten. Raises ValueError if they are not there."""
        self.path = path
        self._lock = threading.Lock()
        self._gathered: dict[tuple[int, int], bytearray] = {}
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise ValueError(f"a log of {found} bytes where {size} were written")
        if found:
            os.truncate(path, size)
        self._size = size

    def expect(self, entries: Iterable[Entry]) -> None:
        """Note what was seen at expected addresses; one may be expected twice."""
        self._append(_EXPECTED, entries)

    def list(self, addresses: Iterable[str]) -> None:
        """Note the addresses the target lists; once is as good as twice."""
        self._append(_LISTED, (Entry(address, Finding.SAME) for address in addresses))

    def flush(self, *, durable: bool = True) -> int:
        """All that was noted is in the file, even if the power fails; returns its size."""
        with self._lock:
            self._write(list(self._gathered), durable=durable)
            return self._size

    def _append(self, side: int, entries: Iterable[Entry]) -> None:
        with self._lock:
            for address, finding, position in entries:
                encoded = address_bytes(address)
                key = (side, zlib.crc32(encoded) % _BUCKETS)
                gathered = self._gathered.setdefault(key, bytearray())
                gathered += _HEAD.pack(finding, len(encoded), len(position)) + encoded + position
                if len(gathered) >= _GATHERED_BYTES:
                    self._write([key])

    def _write(self, keys: Sequence[tuple[int, int]], *, durable: bool = False) -> None:
        with self.path.open("ab") as file:
            for key in keys:
                content = self._gathered.pop(key)
                file.write(_FRAME.pack(*key, len(content)) + content)
                self._size += _FRAME.size + len(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())


def balance(
    logs: Sequence[Path],
    *,
    listed: bool,
    look: Look | None = None,
    found: Callable[[Mismatch], object] = lambda _: None,
) -> Balance:
    """Return the sums over the logs; `listed` says whether the target has listed its addresses at all.

    `look` has the last word on each address that seems wrong; `found` hears of those that stay so.
    """
    total = Balance(extra=0 if listed else None, listed=0 if listed else None)
    waiting: list[Mismatch] = []

    def settle() -> None:
        for one in look(waiting) if look is not None and waiting else waiting:
            total.note(one)
            if one.kind in WRONG:
                found(one)
        waiting.clear()

    frames = _frames(logs)
    for bucket in range(_BUCKETS):
        for one in _balance_bucket(logs, frames, bucket, total):
            if one.kind == "collides":  # Another look would say the same: it is the source's own documents.
                total.note(one)
                found(one)
                continue
            waiting.append(one)
            if len(waiting) >= _AT_ONCE:
                settle()
    settle()
    return total


def extras(logs: Sequence[Path]) -> Iterator[str]:
    """Yield every listed address that nobody expects."""
    frames = _frames(logs)
    for bucket in range(_BUCKETS):
        expected = {address for _, address, _ in _entries(logs, frames[_EXPECTED][bucket])}
        listed = {address for _, address, _ in _entries(logs, frames[_LISTED][bucket])}
        yield from map(address_text, listed - expected)


def _balance_bucket(logs: Sequence[Path], frames: _Frames, bucket: int, total: Balance) -> Iterator[Mismatch]:
    best: dict[bytes, int] = {}
    positions: dict[bytes, bytes] = {}
    for finding, address, position in _entries(logs, frames[_EXPECTED][bucket]):
        total.records += 1
        before = best.get(address)
        if before is not None:
            yield Mismatch("collides", address_text(address), position)
        if before is None or finding < before:
            best[address] = finding
            positions[address] = position
    for address, finding in best.items():
        match finding:
            case Finding.SAME:
                total.held += 1
            case Finding.EXPIRED:
                total.expired += 1
            case Finding.REFUSED:
                total.refused += 1
            case _:
                yield Mismatch(Finding(finding).name.lower(), address_text(address), positions[address])
    if total.listed is not None:
        listed = {address for _, address, _ in _entries(logs, frames[_LISTED][bucket])}
        total.listed += len(listed)
        for address in listed - best.keys():
            yield Mismatch("extra", address_text(address))


_Frames = tuple[list["array[int]"], list["array[int]"]]
"""By side and bucket: number of the log, offset and length of each frame, one after another."""


def _frames(logs: Sequence[Path]) -> _Frames:
    found: _Frames = ([array("Q") for _ in range(_BUCKETS)], [array("Q") for _ in range(_BUCKETS)])
    for number, path in enumerate(logs):
        if not path.exists():
            continue
        with path.open("rb") as file:
            while head := file.read(_FRAME.size):
                side, bucket, length = _FRAME.unpack(head)
                found[side][bucket].extend((number, file.tell(), length))
                file.seek(length, os.SEEK_CUR)
    return found


def _entries(logs: Sequence[Path], frames: array[int]) -> Iterator[tuple[int, bytes, bytes]]:
    # Each log is opened once, as its frames follow each other: there may be many of either.
    opened: BinaryIO | None = None
    current = -1
    try:
        for start in range(0, len(frames), 3):
            number, offset, length = frames[start : start + 3]
            if number != current:
                if opened is not None:
                    opened.close()
                opened, current = logs[number].open("rb"), number
            if opened is not None:
                opened.seek(offset)
                yield from _parsed(opened.read(length))
    finally:
        if opened is not None:
            opened.close()


def _parsed(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    at = 0
    while at < len(content):
        finding, address_length, position_length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        middle = at + address_length
        end = middle + position_length
        yield finding, content[at:middle], content[middle:end]
        at = end
