"""A clock of the tests' own: time passes only where somebody waits for it."""

from __future__ import annotations

import datetime as dt
import math
import threading

NOON = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC).timestamp()


class Clock:
    """Time that passes only where somebody waits for it, and a stop that is set once it is past a time."""

    def __init__(self, wall: float = NOON, stop_at: float = math.inf) -> None:
        self.now = 0.0
        self._stop_at = stop_at
        self._wall = wall
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        """Return the time of day, in seconds since 1970."""
        return self._wall + self.now

    def is_set(self) -> bool:
        return self.now > self._stop_at

    def wait(self, seconds: float, /) -> None:
        end = self.now + seconds
        with self._lock:  # Those who wait at the same time wait side by side.
            self.now = max(self.now, end)
