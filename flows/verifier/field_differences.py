"""Samples of how records differ, by field path: bounded in number, without values by default (R145, R154)."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.compare.differences import Difference, differences, source_type
from mappers.compare.record_tree import joined, kind_of, shown, tree
from mappers.contract import Record

_SAMPLES = 20
"""Samples kept of each kind of difference."""
_EXAMINED = 1_000
"""Records examined; where so many differ, further ones differ alike."""


@dataclass(frozen=True)
class FieldDifference:
    """One field of a record that differs from what its document maps to."""

    address: str
    path: str
    """Names and places in arrays, joined by dots; "" for the record as a whole."""
    kind: str
    """missing, extra, type, value, order or precision."""
    source_type: str
    """The BSON type of the source's field at that path; "" where it has none of that name."""
    expected_type: str
    """The type it maps to, by the store's own name; "" for nothing."""
    found_type: str
    """The type that the target holds, likewise."""
    expected: str | None = None
    """The value it maps to, shortened; None without `show_values`."""
    found: str | None = None
    """The value the target holds, likewise."""


@dataclass(frozen=True)
class DifferenceSamples:
    """How records differ, in samples."""

    examined: int = 0
    """Records examined, at most 1,000 of those that differ in each part of a pass."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Fields of these records that differ, by the kind of difference."""
    samples: Sequence[FieldDifference] = ()
    """At most 20 of each kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the samples as JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> DifferenceSamples:
        """Return the samples that `to_json` wrote."""
        return cls(kept["examined"], kept["kinds"], [FieldDifference(**sample) for sample in kept["samples"]])


def merge_samples(parts: Sequence[DifferenceSamples], without: Container[str] = ()) -> DifferenceSamples:
    """Return the samples of several parts of a pass as those of all of it, `without` those at these addresses."""
    kinds: Counter[str] = Counter()
    kept: dict[str, list[FieldDifference]] = {}
    for part in parts:
        kinds.update(part.kinds)
        for sample in part.samples:
            if sample.address in without:
                kinds[sample.kind] -= 1
            elif len(of_kind := kept.setdefault(sample.kind, [])) < _SAMPLES:
                of_kind.append(sample)
    left_out = {sample.address for part in parts for sample in part.samples if sample.address in without}
    samples = sorted(
        (sample for of_kind in kept.values() for sample in of_kind),
        key=lambda sample: (sample.kind, sample.address, sample.path),
    )
    examined = sum(part.examined for part in parts) - len(left_out)
    return DifferenceSamples(examined, dict(sorted((+kinds).items())), samples)


class Differences:
    """Collects how records differ; safe to share between threads."""

    def __init__(self, *, show_values: bool = False, begun: DifferenceSamples | None = None) -> None:
        """Go on from what was collected before; `show_values` keeps values, which may be personal data."""
        begun = begun or DifferenceSamples()
        self._show_values = show_values
        self._lock = threading.Lock()
        self._examined = begun.examined
        self._kinds: Counter[str] = Counter(begun.kinds)
        self._samples: list[FieldDifference] = [*begun.samples]

    def add(self, expected: Record, found: Record, raw: bytes) -> None:
        """Examine two records that differ; `raw` is the document that maps to `expected`."""
        with self._lock:
            if self._examined >= _EXAMINED:
                return
            self._examined += 1
        try:
            seen = [*differences(tree(expected), tree(found))]
        except (ValueError, TypeError, RecursionError):  # What a target holds may be anything.
            seen = []
        # Contents that differ only in how they are written have no field to name.
        seen = seen or [Difference((), "value", None, None)]
        with self._lock:
            for difference in seen:
                self._kinds[difference.kind] += 1
                if self._kinds[difference.kind] <= _SAMPLES:
                    self._samples.append(self._sample(expected.address, difference, raw))

    def samples(self) -> DifferenceSamples:
        """Return the samples so far."""
        with self._lock:
            samples = sorted(self._samples, key=lambda sample: (sample.kind, sample.address, sample.path))
            return DifferenceSamples(self._examined, dict(sorted(self._kinds.items())), samples)

    def _sample(self, address: str, difference: Difference, raw: bytes) -> FieldDifference:
        return FieldDifference(
            address,
            joined(difference.path),
            difference.kind,
            source_type(raw, difference.path),
            kind_of(difference.expected),
            kind_of(difference.found),
            shown(difference.expected) if self._show_values else None,
            shown(difference.found) if self._show_values else None,
        )
