"""Samples of how records differ, by field path: bounded, without values unless asked for (R145, R154)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mappers.compare.differences import Difference, differences, source_type
from mappers.compare.record_tree import joined, kind_of, shown, tree
from mappers.contract import Record

_SAMPLES = 20
"""Kept of each kind."""
_EXAMINED = 1_000
"""Records looked into; where so many differ, the next will differ alike."""


@dataclass(frozen=True)
class FieldDifference:
    """One field of one record that is not what its document maps to."""

    address: str
    path: str
    """Names and places in arrays, joined by dots; "" for the record as a whole."""
    kind: str
    """missing, extra, type, value, order or precision."""
    source_type: str
    """The BSON type of the source's field at that path; "" where it has none of that name."""
    expected_type: str
    """What it maps to, by the store's own name of the type; "" for nothing."""
    found_type: str
    """What the target holds, likewise."""
    expected: str | None = None
    """The value it maps to, shortened; None unless values were asked for."""
    found: str | None = None
    """The value the target holds, likewise."""


@dataclass(frozen=True)
class Differing:
    """How records differ from what is expected, in samples."""

    examined: int = 0
    """The records that were looked into, at most 1,000 of those that differ."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """In them, the fields that differ in each way."""
    samples: Sequence[FieldDifference] = ()
    """At most 20 of each kind."""


class Differences:
    """Collects how records differ; safe to share between threads."""

    def __init__(self, *, show_values: bool = False) -> None:
        """Begin with none; `show_values` keeps values, which may be personal data."""
        self._show_values = show_values
        self._lock = threading.Lock()
        self._examined = 0
        self._kinds: Counter[str] = Counter()
        self._samples: list[FieldDifference] = []

    def note(self, expected: Record, found: Record, raw: bytes) -> None:
        """Look into two records that are known to differ; `raw` is the document of the one that is expected."""
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
            for one in seen:
                self._kinds[one.kind] += 1
                if self._kinds[one.kind] <= _SAMPLES:
                    self._samples.append(self._told(expected.address, one, raw))

    def taken(self) -> Differing:
        """Return what was found so far."""
        with self._lock:
            samples = sorted(self._samples, key=lambda one: (one.kind, one.address, one.path))
            return Differing(self._examined, dict(sorted(self._kinds.items())), samples)

    def _told(self, address: str, one: Difference, raw: bytes) -> FieldDifference:
        return FieldDifference(
            address,
            joined(one.path),
            one.kind,
            source_type(raw, one.path),
            kind_of(one.expected),
            kind_of(one.found),
            shown(one.expected) if self._show_values else None,
            shown(one.found) if self._show_values else None,
        )
