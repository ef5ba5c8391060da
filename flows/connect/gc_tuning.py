"""Python's cyclic garbage collector, which runs seldom while documents pass.

Each document is decoded, mapped and let go, and none of it is a cycle; by default the collector walks the objects that
are alive after every 700 new ones, which took a third of the time of copying (docs/decisions.md).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = (100_000, 50, 100)

_lock = threading.Lock()
_usual: list[tuple[int, int, int]] = []
"""The thresholds from before, once for each body that runs."""


@contextmanager
def collect_seldom() -> Iterator[None]:
    """Let the collector run seldom until the body, and every other body of this kind, has ended; then as before."""
    with _lock:
        if not _usual:  # What was imported is never garbage. What came after may be: an earlier body's clients.
            gc.freeze()
        _usual.append(_usual[0] if _usual else gc.get_threshold())
        gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        with _lock:
            before = _usual.pop()
            if not _usual:
                gc.set_threshold(*before)
                gc.unfreeze()
