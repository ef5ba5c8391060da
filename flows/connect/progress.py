"""How far a job has come, and how fast it went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Observer(Protocol):
    """Receives how far a run has come, from several threads."""

    def began(self, route: str, stage: str, documents: int) -> None:
        """A stage (copy, load or verify) of a route began; about so many documents are ahead."""

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """So many more documents are done."""

    def ended(self, route: str, stage: str, complete: bool) -> None:
        """The stage, or a part of it, ended: done to its end, or for another reason."""


class RunObserver(Observer, Protocol):
    """Receives how far a whole run has come: also what is done before and after routes are copied or compared."""

    def stepped(self, step: str, done: int, routes: int, at_work: Sequence[str]) -> None:
        """So many of the routes have taken the step; `at_work` are those that take it now, the first to begin first."""

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        """So many jobs of a stage of the route are to come, with about so many documents, beside those planned."""

    def said(self, text: str) -> None:
        """A person who waits should know this now; it is in the report too."""


class Silent:
    """An observer that watches nothing."""

    def stepped(self, step: str, done: int, routes: int, at_work: Sequence[str]) -> None:
        """Do nothing."""

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        """Do nothing."""

    def said(self, text: str) -> None:
        """Do nothing."""

    def began(self, route: str, stage: str, documents: int) -> None:
        """Do nothing."""

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """Do nothing."""

    def ended(self, route: str, stage: str, complete: bool) -> None:
        """Do nothing."""


SILENT = Silent()


@dataclass(slots=True)
class Watched:
    """A stage, or a part of it, while it is watched."""

    complete: bool = True
    """Whether it is done to its end if nothing is raised."""


@contextmanager
def watched(observer: Observer, route: str, stage: str, documents: int) -> Iterator[Watched]:
    """Let the observer know that the stage begins before the body, and that it has ended after it, however it ended."""
    watching = Watched()
    observer.began(route, stage, documents)
    try:
        yield watching
    except BaseException:
        watching.complete = False
        raise
    finally:
        observer.ended(route, stage, watching.complete)


_FIRST_WIDTH_S = 0.25
_MOST = 120
"""Points kept; beyond them two become one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Documents in stretches of time of one width, by the number of the stretch since 1970."""

    width_s: float = _FIRST_WIDTH_S
    counts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Throughput:
    """The documents of one stage of a route, in stretches of equal length from its beginning."""

    stage: str
    """copy or verify."""
    began: float
    """Seconds since 1970."""
    width_s: float
    """How long each stretch is."""
    documents: Sequence[int]
    """Documents done in each stretch, one after another."""


class ProgressCounter:
    """Counts documents as they are done; one thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Begin at nothing."""
        self._clock = clock
        self._width_s = _FIRST_WIDTH_S
        self._counts: Counter[int] = Counter()

    def add(self, documents: int) -> None:
        """So many more are done now."""
        self._counts[int(self._clock() // self._width_s)] += documents
        while len(self._counts) > _MOST:
            self._width_s *= 2
            self._counts = _halved(self._counts)

    def progress(self) -> Progress:
        """Return what was counted so far."""
        return Progress(self._width_s, dict(self._counts))


def sum_progress(stage: str, parts: Sequence[Progress]) -> Throughput | None:
    """Return the parts as one series of at most 120 points; None where nothing was done.

    Every width is the first width doubled a number of times, and stretches begin at its multiples, so nothing is cut.
    """
    counts: Counter[int] = Counter()
    width_s = max((part.width_s for part in parts), default=_FIRST_WIDTH_S)
    for part in parts:
        part_counts, part_width_s = Counter(part.counts), part.width_s
        while part_width_s < width_s:
            part_counts, part_width_s = _halved(part_counts), part_width_s * 2
        counts += part_counts
    if not counts:
        return None
    while max(counts) - min(counts) >= _MOST:
        counts, width_s = _halved(counts), width_s * 2
    first, last = min(counts), max(counts)
    return Throughput(stage, first * width_s, width_s, [counts[number] for number in range(first, last + 1)])


def _halved(counts: Mapping[int, int]) -> Counter[int]:
    half: Counter[int] = Counter()
    for number, documents in counts.items():
        half[number // 2] += documents
    return half
