"""Waiting for a condition, with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], object], what: str, limit_s: float = 60) -> None:
    """Return once the condition holds; fail, saying what was awaited, when the limit passes."""
    give_up = time.monotonic() + limit_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < give_up, f"no {what} within {limit_s} s"
        pause.wait(0.02)
