"""In which order partitions are copied, and how a route's copying was held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from flows.reporting.model import Pace
from flows.run.jobs import Span
from stores.throttling.rate_limiter import Waits, spread

T = TypeVar("T")


def spread_out(jobs: Sequence[T], workers: int) -> list[T]:
    """Return the jobs so that those at work at the same time are of distant ranges, and of different routes (R51)."""
    return spread(jobs, workers)


def held_back(spans: Sequence[Span]) -> Pace:
    """Return how a route's jobs were held back, all together."""
    waits = sum((span.waits for span in sorted(spans, key=lambda span: span.ended)), Waits())
    return Pace(
        throttled=waits.throttled,
        waited_s=round(waits.waited_s, 1),
        source_waited_s=round(sum(span.source_waited_s for span in spans), 1),
        rate=round(waits.rate, 1) if waits.rate is not None else None,
    )
