"""The ledger of a pass: the addresses a route should hold against those its target lists, balanced on disk.

The ledger finds records that share an address and records that no document maps to, without every address in memory:
the logs are about as large as the addresses, and one of 256 buckets is in memory at a time. Each part of a pass has its
own log, which only grows: truncated to a size at which it was flushed, it is the log of that moment.
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
"""Mismatches rechecked at once."""
SAMPLES = 10
"""Addresses kept of each kind of mismatch, for reports."""
_FEW = 100
_SHARE = 0.01


def is_systemic(wrong: int, documents: int) -> bool:
    """Return whether more addresses are wrong than single accidents explain (R155)."""
    return wrong > _FEW and wrong > _SHARE * documents


class Finding(IntEnum):
    """The finding at an expected address; of several records at one address the least finding counts."""

    SAME = 0
    DIFFERS = 1
    MISSING = 2
    EXPIRED = 3
    REFUSED = 4
    """Absent, and its document is on record as refused by the target."""
    INCONCLUSIVE = 5
    """The store did not answer, which proves nothing (R152)."""


class Entry(NamedTuple):
    """The finding at the address of one record."""

    address: str
    finding: Finding
    position: bytes = b""
    """BSON ``{"_id": id}`` of its document, for records to recheck."""


class Mismatch(NamedTuple):
    """An address at which the target seems wrong, or could not be read."""

    kind: str
    """missing, differs, extra, collides or inconclusive; after a recheck also unsettled, or what is no mismatch: same,
    settled (neither expected nor held any more), gone (an extra record that was deleted), lapsed, expired, refused."""
    address: str
    position: bytes = b""


WRONG = ("missing", "differs", "extra", "collides", "unsettled", "inconclusive")
"""The kinds that no clean verdict has."""
RecheckCall = Callable[[Sequence[Mismatch]], Sequence[Mismatch]]
"""Rechecks mismatches; returns each as it is now, in the same order."""


@dataclass(slots=True)
class Balance:
    """The sums of a ledger.

    records = held + missing + collides + expired + refused + settled + unsettled + inconclusive.

    `lapsed` and `extra` count listed addresses.
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
    """Expected when their document was read, now neither expected nor held: the document changed meanwhile."""
    lapsed: int = 0
    """Listed and not expected, but expired: the store has yet to drop them (R150)."""
    unsettled: int = 0
    """A recheck proved nothing: the document kept changing, or sync had not come so far (R148)."""
    inconclusive: int = 0
    """The store did not answer for them (R152, R153)."""
    extra: int | None = None
    """Listed addresses that no document maps to; None where the target cannot list."""
    listed: int | None = None
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, mismatch: Mismatch) -> None:
        """Count the mismatch, and keep its address as a sample of its kind, up to the limit."""
        match mismatch.kind:
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
        kept = self.samples.setdefault(mismatch.kind, [])
        if len(kept) < SAMPLES and mismatch.address not in kept:
            kept.append(mismatch.address)


class AddressLog:
    """What one part of a pass has seen, in a file that is not kept open; little of it is in memory."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Continue after the first `size` bytes and forget the rest; raises ValueError if the file is shorter."""
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
        """Note the findings at expected addresses; an address may be expected twice."""
        self._append(_EXPECTED, entries)

    def list(self, addresses: Iterable[str]) -> None:
        """Note addresses that the target lists; noting one twice changes nothing."""
        self._append(_LISTED, (Entry(address, Finding.SAME) for address in addresses))

    def flush(self, *, durable: bool = True) -> int:
        """Everything noted is in the file, with `durable` also after a power failure; returns its size in bytes."""
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
    recheck: RecheckCall | None = None,
    on_wrong: Callable[[Mismatch], object] = lambda _: None,
) -> Balance:
    """Return the sums over the logs; `listed` says whether the target has listed its addresses.

    `recheck` decides each mismatch; `on_wrong` is called with those that remain.
    """
    total = Balance(extra=0 if listed else None, listed=0 if listed else None)
    waiting: list[Mismatch] = []

    def recheck_waiting() -> None:
        for mismatch in recheck(waiting) if recheck is not None and waiting else waiting:
            total.add(mismatch)
            if mismatch.kind in WRONG:
                on_wrong(mismatch)
        waiting.clear()

    frames = _frames(logs)
    for bucket in range(_BUCKETS):
        for mismatch in _balance_bucket(logs, frames, bucket, total):
            if mismatch.kind == "collides":  # A recheck would find the same: two documents of the source collide.
                total.add(mismatch)
                on_wrong(mismatch)
                continue
            waiting.append(mismatch)
            if len(waiting) >= _AT_ONCE:
                recheck_waiting()
    recheck_waiting()
    return total


def extras(logs: Sequence[Path]) -> Iterator[str]:
    """Yield every listed address that no document maps to."""
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
"""For each side and bucket a flat array: number of the log, offset and length of each frame."""


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
    # The frames are in the order of the logs, so each log is opened once.
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
