"""A clock that nobody sets."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It runs while the machine sleeps; macOS, which lacks it, has a monotonic clock that does not stop either."""


def boot_s() -> float:
    """Return seconds since some moment before; they go on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)
