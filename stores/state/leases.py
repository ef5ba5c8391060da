"""One run's right to write a route."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """One run's right to write a route until it expires; `fence` grows with every take-over (R134)."""

    plan: str
    route: str
    owner: str
    fence: int
