"""Waiting for a condition, with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Answer = TypeVar("_Answer")


def until(
    condition: Callable[[], _Answer], what: str, *logs: Path, limit_s: float = 60, every_s: float = 0.02
) -> _Answer:
    """Return the first truth the condition gives; fail, saying what was awaited and how the logs end, at the limit.

    A condition that costs something, such as the question to a server, is asked for less often by `every_s`.
    """
    give_up = time.monotonic() + limit_s
    pause = threading.Event()
    while not (answer := condition()):
        assert time.monotonic() < give_up, "\n".join([f"no {what} within {limit_s} s", *map(ending, logs)])
        pause.wait(every_s)
    return answer


def ending(log: Path) -> str:
    """Return the last lines of a log under its name."""
    return f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
