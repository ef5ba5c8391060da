"""What the sketches of a pass leave open: which addresses to look into, and what comes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.verifier.ledger import AT_ONCE, WRONG, Balance, Entry, Finding, Mismatch, RecheckCall
from flows.verifier.part_ledger import Shape
from flows.verifier.sketch import HASH_BYTES, Sketch, hasher
from stores.state.verification import MOST_FINDINGS, Suspect


@dataclass(frozen=True, slots=True)
class Suspects:
    """Addresses that are listed more or less often than they are expected and held, or expected twice."""

    hashes: frozenset[int] = frozenset()
    reread: bool = False
    """Whether only the source tells which documents expect them."""
    relist: bool = False
    """Whether the target may hold one that no document expects."""
    absent_unread: bool = False
    """Whether so many records are absent that documents which share one of them cannot be told."""

    def to_bytes(self) -> bytes:
        """Return the hashes, one after another."""
        return b"".join(value.to_bytes(HASH_BYTES, "little") for value in sorted(self.hashes))


def hashes_from(content: bytes) -> frozenset[int]:
    """Return the hashes that `Suspects.to_bytes` wrote."""
    places = range(0, len(content), HASH_BYTES)
    return frozenset(int.from_bytes(content[at : at + HASH_BYTES], "little") for at in places)


class TooManySuspectsError(Exception):
    """The sketches are too small for what they hold."""

    def __init__(self, hashes: int) -> None:
        """Take about how many hashes they hold."""
        super().__init__(hashes)
        self.hashes = hashes


def find_suspects(sketches: Mapping[str, Sketch], shape: Shape, *, listed: bool, distinct: bool) -> Suspects:
    """Return what to look into, by the sums of the sketches of all parts; raises TooManySuspectsError.

    `listed` says whether the target lists what it holds, `distinct` whether it lists no address twice.
    """
    if not listed:
        expected = _read(_sum(shape, sketches, {"expected": 1, "absent": 1}))
        shared = frozenset(value for value, times in expected.items() if times > 1)
        return Suspects(shared, reread=bool(shared))
    differing = _read(_sum(shape, sketches, {"listed": 1, "expected": -1}))
    # A server that listed one address twice would hide that two documents share it. It seldom does so twice.
    repeated = _read(_sum(shape, sketches, {"listed again": 1, "listed": -1})) if "listed again" in sketches else {}
    absent = _sum(shape, sketches, {"absent": 1}).decoded()
    if absent is None:
        hashes = frozenset({*differing, *repeated})
        return Suspects(hashes, reread=bool(hashes), relist=_more_listed(differing, repeated), absent_unread=True)
    if distinct:
        # Expected by one document and listed once: the record expired in between.
        differing = {value: times for value, times in differing.items() if times != 1 or absent.get(value) != 1}
    shared = frozenset(value for value, times in absent.items() if times > 1)
    hashes = frozenset({*differing, *repeated, *shared})
    plain = distinct and not shared and all(times == 1 and value not in absent for value, times in differing.items())
    return Suspects(hashes, reread=bool(hashes) and not plain, relist=_more_listed(differing, repeated))


def _more_listed(differing: Mapping[int, int], repeated: Mapping[int, int]) -> bool:
    return bool(repeated) or any(times > 0 for times in differing.values())


def _sum(shape: Shape, sketches: Mapping[str, Sketch], times: Mapping[str, int]) -> Sketch:
    total = Sketch(shape.key, shape.bits)
    for name, each in times.items():
        if name in sketches:
            total.add_sketch(sketches[name], each)
    return total


def _read(sketch: Sketch) -> Mapping[int, int]:
    found = sketch.decoded()
    if found is None:
        raise TooManySuspectsError(sketch.estimate())
    return found


@dataclass(slots=True)
class SharedAddress:
    """The records that documents expect at one address, by finding."""

    counts: Counter[Finding] = field(default_factory=Counter)
    position: bytes = b""
    """Of the document with the least finding."""
    other: bytes = b""
    """Of the last document beside the first."""

    def add(self, finding: Finding, position: bytes, records: int = 1, other: bytes | None = None) -> None:
        """So many more records are expected; `other` is the last of several documents."""
        if self.counts:
            self.other = position if other is None else other
        elif other is not None:
            self.other = other
        if not self.counts or finding < min(self.counts):
            self.position = position
        self.counts[finding] += records

    @property
    def records(self) -> int:
        """How many records are expected."""
        return self.counts.total()


class SuspectLedger:
    """Collects which documents expect a record at a suspect address; used by one thread at a time."""

    def __init__(self, shape: Shape, hashes: frozenset[int], known: Iterable[Suspect] = ()) -> None:
        """Go on from what is known of a part."""
        self._hash_of = hasher(shape.key)
        self._hashes = hashes
        self._shared = shared_addresses(known)
        self._changed: set[str] = set()

    @property
    def wanted(self) -> Callable[[str], bool] | None:
        """Return the condition for suspect addresses."""
        hash_of, hashes = self._hash_of, self._hashes
        return lambda address: hash_of(address) in hashes

    def expect(self, same: Sequence[str], others: Sequence[Entry], /) -> None:
        """Count suspect addresses that are expected and hold the right record, and the findings at others."""
        for address, finding, position, _ in (*(Entry(address, Finding.SAME) for address in same), *others):
            self._shared.setdefault(address, SharedAddress()).add(finding, position)
            self._changed.add(address)

    def take_suspects(self) -> Sequence[Suspect]:
        """Return what has changed since the last call."""
        changed, self._changed = self._changed, set()
        return [self._suspect(address, self._shared[address]) for address in sorted(changed)]

    def _suspect(self, address: str, shared: SharedAddress) -> Suspect:
        value = self._hash_of(address).to_bytes(HASH_BYTES, "little")
        counts = {finding.name: records for finding, records in shared.counts.items()}
        return Suspect(value, address, counts, shared.position, shared.other)


def shared_addresses(suspects: Iterable[Suspect]) -> dict[str, SharedAddress]:
    """Return what documents of all parts expect, by address; the suspects are in the order of the parts."""
    found: dict[str, SharedAddress] = {}
    for suspect in suspects:
        shared = found.setdefault(suspect.address, SharedAddress())
        several = sum(suspect.counts.values()) > 1
        for number, (name, records) in enumerate(sorted(suspect.counts.items(), key=lambda each: Finding[each[0]])):
            last = suspect.other if several else None
            shared.add(Finding[name], suspect.position if not number else b"", records, last)
    return found


def resolve(
    total: Balance, shared: Mapping[str, SharedAddress], found: Sequence[Mismatch], recheck: RecheckCall
) -> list[Mismatch]:
    """Return the mismatches that remain of those found; the sums are those of a pass that knew every address.

    Of several records at one address the least finding counts, and the others collide.
    """
    collided = {address: each for address, each in shared.items() if each.records > 1} | _missing_twice(found, shared)
    seen: dict[str, list[Mismatch]] = {}
    kept: dict[tuple[str, str], Mismatch] = {}
    for mismatch in found:
        if mismatch.address in collided and mismatch.kind != "extra":
            seen.setdefault(mismatch.address, []).append(mismatch)
        elif (mismatch.kind, mismatch.address) not in kept:
            kept[mismatch.kind, mismatch.address] = mismatch
        elif mismatch.kind == "extra":  # Two shares have listed it.
            total.remove("extra", "")
    waiting: list[Mismatch] = []
    for address, each in collided.items():
        _uncount(total, address, each, seen.get(address, ()), full=len(found) >= MOST_FINDINGS)
        collision = Mismatch("collides", address, each.other)
        total.add(collision)
        total.collides += each.records - 2
        kept["collides", address] = collision
        best = total.count(Entry(address, min(each.counts), each.position))
        if best is not None:
            waiting.append(best)
    for first in range(0, len(waiting), AT_ONCE):
        for outcome in recheck(waiting[first : first + AT_ONCE]):
            total.add(outcome)
            if outcome.kind in WRONG:
                kept[outcome.kind, outcome.address] = outcome
    # The samples of a kind may have been those of shared addresses, which are of that kind no more.
    for mismatch in kept.values():
        total.sample(mismatch)
    return [*kept.values()]


def _missing_twice(found: Sequence[Mismatch], known: Mapping[str, SharedAddress]) -> dict[str, SharedAddress]:
    """Return the addresses of several missing records that are not known to be shared: too many are absent."""
    missing: dict[str, SharedAddress] = {}
    for mismatch in found:
        if mismatch.kind == "missing" and mismatch.address not in known:
            missing.setdefault(mismatch.address, SharedAddress()).add(Finding.MISSING, mismatch.position)
    return {address: each for address, each in missing.items() if each.records > 1}


def _uncount(total: Balance, address: str, shared: SharedAddress, seen: Sequence[Mismatch], *, full: bool) -> None:
    """Nothing is counted any more of the records at the address."""
    left = shared.records
    for mismatch in seen[:left]:
        total.remove(mismatch.kind, address)
    left -= len(seen[:left])
    for finding in (Finding.SAME, Finding.EXPIRED, Finding.REFUSED):
        records = min(left, shared.counts[finding])
        total.remove(finding.name.lower(), address, records)
        left -= records
    unsure = [finding for finding in shared.counts if finding in _UNSURE]
    # The others are not on record for their number, or their second look found them right.
    total.remove(min(unsure).name.lower() if full and unsure else "same", address, left)


_UNSURE = (Finding.DIFFERS, Finding.MISSING, Finding.INCONCLUSIVE)
