"""The stop: what work that goes on or waits for long is given, so that it can be ended early, at a checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from stores.errors import TransientError

STOPPED: Final = "E-STOPPED"
"""The code of the error by which work ends that was stopped; nothing has failed."""


class Stop(Protocol):
    """Whether the work at hand is to end early; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Return whether the work is to end at its next checkpoint; once True it stays so."""

    def wait(self, timeout: float, /) -> object:
        """Return after so many seconds, or as soon as the work is to end."""


class _Never:
    """A stop that is never set."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float, /) -> object:
        time.sleep(timeout)
        return False


NEVER: Stop = _Never()
PROCESS_STOP = threading.Event()
"""The stop of this process, set by a signal or by its parent: nothing is tried again and every wait is over (R139)."""


class PolledStop:
    """A stop for work whose end is decided elsewhere, such as in the state, or by the clock."""

    def __init__(self, asked: Callable[[], bool], stop: Stop = PROCESS_STOP, *, every_s: float = 1.0) -> None:
        """Be set once `stop` is, or once `asked`, which is called at most every so many seconds, has returned True."""
        self._asked = asked
        self._stop = stop
        self._every_s = every_s
        self._asked_at = float("-inf")
        self._set = False

    def is_set(self) -> bool:
        """Return whether the work is to end; raises what `asked` raises."""
        if not self._set and time.monotonic() - self._asked_at >= self._every_s:
            self._asked_at = time.monotonic()
            self._set = self._asked()
        return self._set or self._stop.is_set()

    def wait(self, timeout: float, /) -> object:
        """Return after so many seconds, or at most `every_s` seconds after the work is to end."""
        until = time.monotonic() + timeout
        while (left_s := until - time.monotonic()) > 0 and not self.is_set():
            self._stop.wait(min(left_s, max(self._every_s, 0.01)))
        return self.is_set()


def raise_if_stopped(stop: Stop, message: str) -> None:
    """Raise TransientError E-STOPPED with this message if the work is to end."""
    if stop.is_set():
        raise TransientError(STOPPED, message)
