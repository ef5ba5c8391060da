"""The addresses a route should hold and the addresses its target lists, balanced on disk, a bucket at a time.

Only so can records that share an address, and records nobody expects, be found without holding every address in
memory: the whole ledger is about as large as the addresses, a bucket is a 256th of it.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

_BUCKETS = 256
_GATHERED_BYTES = 1 << 14
_HEAD = struct.Struct("<BI")  # finding, length of the address
SAMPLES = 10
"""Addresses kept of each kind of mismatch, to be named in reports."""


class Finding(IntEnum):
    """What was seen at an expected address."""

    SAME = 0
    DIFFERS = 1
    MISSING = 2
    EXPIRED = 3
    REFUSED = 4
    """Absent, and its document is on record as one the target refused."""


@dataclass(slots=True)
class Balance:
    """The closed ledger: records = held + missing + collides + expired (+ refused)."""

    records: int = 0
    held: int = 0
    """Expected addresses that hold a record, the right one or another."""
    missing: int = 0
    differs: int = 0
    collides: int = 0
    """Records whose address another document's record claims too."""
    expired: int = 0
    refused: int = 0
    extra: int | None = None
    """Listed addresses nobody expects; None where the target cannot list."""
    listed: int | None = None
    samples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, address: str) -> None:
        """Keep the address as a sample of its kind, up to the limit."""
        kept = self.samples.setdefault(kind, [])
        if len(kept) < SAMPLES:
            kept.append(address)


class Ledger:
    """Collects findings and listed addresses in files of a folder of its own; `balance` closes it.

    No file stays open: a bucket is gathered in memory and appended to its file when it is large enough.
    """

    def __init__(self, folder: Path) -> None:
        """Begin in an empty folder."""
        self._folder = folder
        self._lock = threading.Lock()
        self._gathered: dict[tuple[str, int], bytearray] = {}

    def expect(self, findings: Iterable[tuple[str, Finding]]) -> None:
        """Note what was found at each expected address; an address may be expected twice."""
        self._append("expected", findings)

    def list(self, addresses: Iterable[str]) -> None:
        """Note the addresses the target lists; once is as good as twice."""
        self._append("listed", ((address, Finding.SAME) for address in addresses))

    def balance(self, *, listed: bool) -> Balance:
        """Return the sums; `listed` says whether the target listed its addresses at all."""
        balance = Balance(extra=0 if listed else None, listed=0 if listed else None)
        for bucket in range(_BUCKETS):
            self._balance_bucket(bucket, balance)
        return balance

    def extras(self) -> Iterator[str]:
        """Yield every listed address that nobody expects."""
        for bucket in range(_BUCKETS):
            expected = {address for _, address in self._entries("expected", bucket)}
            listed = {address for _, address in self._entries("listed", bucket)}
            yield from map(_text, listed - expected)

    def _balance_bucket(self, bucket: int, balance: Balance) -> None:
        expected: dict[bytes, list[int]] = {}
        for finding, address in self._entries("expected", bucket):
            expected.setdefault(address, []).append(finding)
        for address, findings in expected.items():
            balance.records += len(findings)
            if len(findings) > 1:
                balance.collides += len(findings) - 1
                balance.note("collides", _text(address))
            # Of several records at one address the best finding stands for what is there.
            match min(findings):
                case Finding.SAME:
                    balance.held += 1
                case Finding.DIFFERS:
                    balance.held += 1
                    balance.differs += 1
                    balance.note("differs", _text(address))
                case Finding.MISSING:
                    balance.missing += 1
                    balance.note("missing", _text(address))
                case Finding.EXPIRED:
                    balance.expired += 1
                case _:
                    balance.refused += 1
        if balance.listed is not None and balance.extra is not None:
            listed = {address for _, address in self._entries("listed", bucket)}
            balance.listed += len(listed)
            for address in listed - expected.keys():
                balance.extra += 1
                balance.note("extra", _text(address))

    def _append(self, side: str, findings: Iterable[tuple[str, Finding]]) -> None:
        with self._lock:
            for address, finding in findings:
                encoded = _bytes(address)
                bucket = zlib.crc32(encoded) % _BUCKETS
                gathered = self._gathered.setdefault((side, bucket), bytearray())
                gathered += _HEAD.pack(finding, len(encoded)) + encoded
                if len(gathered) >= _GATHERED_BYTES:
                    with self._path(side, bucket).open("ab") as file:
                        file.write(gathered)
                    gathered.clear()

    def _entries(self, side: str, bucket: int) -> Iterator[tuple[int, bytes]]:
        path = self._path(side, bucket)
        content = (path.read_bytes() if path.exists() else b"") + self._gathered.get((side, bucket), b"")
        at = 0
        while at < len(content):
            finding, length = _HEAD.unpack_from(content, at)
            at += _HEAD.size
            yield finding, content[at : at + length]
            at += length

    def _path(self, side: str, bucket: int) -> Path:
        return self._folder / f"{side}-{bucket:03d}"


def _bytes(address: str) -> bytes:
    # A store's own keys may be any bytes (surrogateescape); whatever else a target lists must not stop the pass.
    try:
        return address.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return address.encode("utf-8", "surrogatepass")


def _text(address: bytes) -> str:
    return address.decode("utf-8", "surrogateescape")
