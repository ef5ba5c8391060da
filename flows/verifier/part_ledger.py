"""What one part of a pass has seen: sums, findings and sketches, of a size that does not grow with the collection."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.verifier.ledger import AT_ONCE, WRONG, Balance, Entry, Finding, Mismatch, RecheckCall
from flows.verifier.sketch import FEWEST_BITS, MOST_BITS, Sketch, bits_for, capacity, hasher
from stores.state.verification import MOST_FINDINGS

_FIRST_BITS = 13
"""A pass begins with tables of 2^13 cells at most, which stay in a processor's cache and hold 17,000 differences."""
_SPARE = 1.2
"""How many more hashes a sketch is made for than there seem to be."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a pass sketches addresses."""

    key: bytes
    """Known to the workers of the pass alone."""
    bits: int
    slices: int = 1
    """In how many passes over source and target, each for the addresses of a share of all hashes."""
    slice: int = 0

    @classmethod
    def first(cls, documents: int, *, listed: bool) -> Shape:
        """Return the shape for about so many documents; where nothing is listed, every one of them is a difference."""
        if listed:
            return cls(os.urandom(16), min(_FIRST_BITS, bits_for(2 * _SPARE * documents)))
        return cls._for(_SPARE * documents)

    def larger(self, hashes: int) -> Shape:
        """Return the shape for about so many hashes, which were too many for this one; larger in any case."""
        found = self._for(_SPARE * hashes * self.slices)
        if (found.slices, found.bits) > (self.slices, self.bits):
            return found
        if self.bits < MOST_BITS:
            return replace(found, bits=self.bits + 1, slices=self.slices)
        return replace(found, bits=self.bits, slices=self.slices + 1)

    def has(self, value: int) -> bool:
        """Return whether a hash is of the slice."""
        return (value >> 96) % self.slices == self.slice

    def to_json(self) -> dict[str, Any]:
        """Return the shape as JSON data."""
        return {"key": self.key.hex(), "bits": self.bits, "slices": self.slices, "slice": self.slice}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Shape:
        """Return the shape that `to_json` wrote."""
        return cls(bytes.fromhex(kept["key"]), kept["bits"], kept["slices"], kept["slice"])

    @classmethod
    def _for(cls, hashes: float) -> Shape:
        slices = max(1, math.ceil(hashes / capacity(MOST_BITS)))
        return cls(os.urandom(16), max(FEWEST_BITS, bits_for(hashes / slices)), slices)


class PartLedger:
    """Collects what the worker of one part sees; used by one thread at a time."""

    def __init__(
        self,
        shape: Shape,
        recheck: RecheckCall | None = None,
        *,
        began_ms: float = math.inf,
        sums: Balance | None = None,
        vectors: Mapping[str, bytes] | None = None,
    ) -> None:
        """Go on from sums and vectors of the part. `began_ms` is when listing began, in milliseconds since 1970.

        `recheck` decides each mismatch.
        """
        self.sums = sums or Balance()
        self.shape = shape
        self._recheck = recheck
        self._began_ms = began_ms
        self._sketches = {name: Sketch.from_bytes(shape.key, cells) for name, cells in (vectors or {}).items()}
        self._waiting: list[tuple[Mismatch, Entry | None]] = []
        self._found: list[Mismatch] = []
        self._hash_of = hasher(shape.key)

    @property
    def wanted(self) -> Callable[[str], bool] | None:
        """Return the condition for addresses of the slice; None where it has all."""
        if self.shape.slices == 1:
            return None
        hash_of, has = self._hash_of, self.shape.has
        return lambda address: has(hash_of(address))

    def expect(self, same: Sequence[str], others: Sequence[Entry], /) -> None:
        """Count expected addresses that hold the right record, and the findings at others, all of the slice."""
        self.sums.records += len(same) + len(others)
        self.sums.held += len(same)
        self._sketch("expected").add(same)
        for entry in others:
            mismatch = self.sums.count(entry)
            if mismatch is None:
                self._note_absent(entry, entry.finding is Finding.EXPIRED)
            else:
                self._wait(mismatch, entry)

    def list(self, addresses: Iterable[str]) -> None:
        """Note addresses that the target lists, those of the slice."""
        self._sketch("listed").add(self._of_slice(addresses))

    def list_again(self, addresses: Iterable[str]) -> None:
        """Note addresses that the target lists when it lists a second time."""
        self._sketch("listed again").add(self._of_slice(addresses))

    def forget_listed(self, *, again: bool = False) -> None:
        """Nothing was listed yet, or nothing the second time."""
        self._sketches.pop("listed again" if again else "listed", None)

    def suspect(self, mismatch: Mismatch) -> None:
        """Look a second time at an address at which the target seems wrong."""
        self._wait(mismatch, None)

    def settle(self) -> None:
        """Every mismatch so far has had its second look."""
        waiting, self._waiting = self._waiting, []
        seeming = [mismatch for mismatch, _ in waiting]
        outcomes = self._recheck(seeming) if self._recheck is not None and waiting else seeming
        for outcome, (_, entry) in zip(outcomes, waiting, strict=True):
            self.sums.add(outcome)
            if outcome.kind in WRONG and len(self._found) < MOST_FINDINGS:
                self._found.append(outcome)
            if entry is None:
                continue
            if entry.finding is not Finding.MISSING or outcome.kind in ("same", "differs", "inconclusive"):
                # Held at one of two looks, or it may be: so it was listed, or it may be.
                self._sketch("expected").add([entry.address])
            else:
                self._note_absent(entry, outcome.kind == "expired")

    def take_found(self) -> Sequence[Mismatch]:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return found

    @property
    def sketches(self) -> Mapping[str, Sketch]:
        """What was sketched, by name."""
        return self._sketches

    def _wait(self, mismatch: Mismatch, entry: Entry | None) -> None:
        self._waiting.append((mismatch, entry))
        if len(self._waiting) >= AT_ONCE:
            self.settle()

    def _note_absent(self, entry: Entry, expired: bool) -> None:
        # A record that has expired since the listing began was listed, unless it never arrived.
        late = expired and entry.expires_at_ms is not None and entry.expires_at_ms > self._began_ms
        self._sketch("expected" if late else "absent").add([entry.address])

    def _of_slice(self, addresses: Iterable[str]) -> Iterable[str]:
        wanted = self.wanted
        return addresses if wanted is None else filter(wanted, addresses)

    def _sketch(self, name: str) -> Sketch:
        if name not in self._sketches:
            self._sketches[name] = Sketch(self.shape.key, self.shape.bits)
        return self._sketches[name]
