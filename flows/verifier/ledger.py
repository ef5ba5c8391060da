"""What a verification counts: the findings at addresses, the mismatches they come to, and the sums of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

AT_ONCE = 500
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
    expires_at_ms: int | None = None
    """When the record expires, for one that is not held."""


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
    """The sums of a verification, or of a part of it.

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
        self.sample(mismatch)

    def sample(self, mismatch: Mismatch) -> None:
        """Keep the address as a sample of its kind, up to the limit; count nothing."""
        kept = self.samples.setdefault(mismatch.kind, [])
        if len(kept) < SAMPLES and mismatch.address not in kept:
            kept.append(mismatch.address)

    def count(self, entry: Entry) -> Mismatch | None:
        """Count what needs no recheck; return the mismatch of an entry that does."""
        match entry.finding:
            case Finding.SAME:
                self.held += 1
            case Finding.EXPIRED:
                self.expired += 1
            case Finding.REFUSED:
                self.refused += 1
            case finding:
                return Mismatch(finding.name.lower(), entry.address, entry.position)
        return None

    def remove(self, kind: str, address: str, times: int = 1) -> None:
        """Count so many less of what was added as mismatches of this kind at the address; it is no sample any more."""
        if kind in ("same", "differs"):
            self.held -= times
        if kind != "same":
            setattr(self, kind, (getattr(self, kind) or 0) - times)
        kept = self.samples.get(kind, [])
        if address in kept:
            kept.remove(address)
            if not kept:
                del self.samples[kind]

    def merge(self, other: Balance) -> None:
        """Count what the other has counted too."""
        for name in (each.name for each in dataclasses.fields(Balance) if each.name not in ("extra", "samples")):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.extra is not None or other.extra is not None:
            self.extra = (self.extra or 0) + (other.extra or 0)
        for kind, addresses in other.samples.items():
            kept = self.samples.setdefault(kind, [])
            kept += [address for address in addresses if address not in kept][: SAMPLES - len(kept)]

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Balance:
        """Return the sums that `to_json` wrote."""
        return cls(**kept)


class Entries:
    """Keeps all entries, for a comparison of a few records."""

    wanted: None = None
    """No record is left out."""

    def __init__(self) -> None:
        """Begin with none."""
        self.seen: list[Entry] = []

    def expect(self, same: Sequence[str], others: Sequence[Entry], /) -> None:
        """Keep these too."""
        self.seen += [Entry(address, Finding.SAME) for address in same]
        self.seen += others


def balance(
    entries: Iterable[Entry],
    recheck: RecheckCall | None = None,
    on_wrong: Callable[[Mismatch], object] = lambda _: None,
) -> Balance:
    """Return the sums of a few entries, all in memory, where nothing is listed.

    `recheck` decides each mismatch; `on_wrong` is called with those that remain.
    """
    total = Balance()
    best: dict[str, Entry] = {}
    waiting: list[Mismatch] = []
    for entry in entries:
        total.records += 1
        before = best.get(entry.address)
        if before is not None:  # A recheck would find the same: two documents of the source collide.
            collision = Mismatch("collides", entry.address, entry.position)
            total.add(collision)
            on_wrong(collision)
        if before is None or entry.finding < before.finding:
            best[entry.address] = entry
    for entry in best.values():
        mismatch = total.count(entry)
        if mismatch is not None:
            waiting.append(mismatch)
    for first in range(0, len(waiting), AT_ONCE):
        some = waiting[first : first + AT_ONCE]
        for mismatch in recheck(some) if recheck is not None else some:
            total.add(mismatch)
            if mismatch.kind in WRONG:
                on_wrong(mismatch)
    return total
