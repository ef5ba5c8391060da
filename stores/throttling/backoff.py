"""Retries of what failed: exponential waits with full jitter, up to a deadline (R47).

Every loop that makes a failed call again is in this module.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from stores.contract.stop import PROCESS_STOP, Stop
from stores.errors import OfframpError, TransientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock that deadlines are counted by, in seconds, and the stop that ends every wait."""

    clock: Callable[[], float] = time.monotonic
    stop: Stop = PROCESS_STOP


TIMING = Timing()
"""The clock of this machine, and the stop of this process."""


class Backoff:
    """The waits between the attempts at one piece of work."""

    def __init__(
        self,
        deadline_s: float,
        *,
        first_s: float = 0.05,
        most_s: float = 20.0,
        from_failure: bool = False,
        timing: Timing = TIMING,
    ) -> None:
        """Count the deadline from now.

        With `from_failure` it counts from the first failure, for work that itself takes long. The ceiling of the waits
        grows from `first_s` to `most_s`.
        """
        self._deadline_s = deadline_s
        self._first_s = first_s
        self._most_s = most_s
        self._from_failure = from_failure
        self._timing = timing
        self.reset()

    def reset(self) -> None:
        """Count the deadline and the waits anew from now, because there was progress."""
        self._give_up = None if self._from_failure else self._timing.clock() + self._deadline_s
        self._ceiling_s = self._first_s

    @property
    def left_s(self) -> float:
        """The seconds until the deadline; without end where it counts from a failure that did not happen yet."""
        return math.inf if self._give_up is None else max(0.0, self._give_up - self._timing.clock())

    def extend(self, seconds: float) -> None:
        """Move the deadline by time in which nothing was tried."""
        if self._give_up is not None:
            self._give_up += seconds

    def wait(self) -> bool:
        """Sleep a random part of the current ceiling and double it.

        Returns False at once when the deadline has passed or the work has been asked to end.
        """
        now = self._timing.clock()
        if self._give_up is None:
            self._give_up = now + self._deadline_s
        left_s = self._give_up - now
        if left_s <= 0 or self._timing.stop.is_set():
            return False
        self._timing.stop.wait(min(random.uniform(0, self._ceiling_s), left_s))
        self._ceiling_s = min(self._ceiling_s * 2, self._most_s)
        return True


Errors = tuple[type[Exception], ...]
_PASSING: Errors = (TransientError,)


def _as_it_is(error: Exception) -> Exception:
    return error


def _wait(backoff: Backoff, error: Exception, gave_up: Callable[[Exception], Exception]) -> None:
    """Wait for the next attempt.

    Raises the last error, or what `gave_up` makes of a driver's, if there is no next attempt.
    """
    if backoff.wait():
        return
    final = error if isinstance(error, OfframpError) else gave_up(error)
    if final is error:
        raise error
    raise final from error


def retry(
    call: Callable[[], T],
    backoff: Backoff,
    *,
    passing: Errors = _PASSING,
    gave_up: Callable[[Exception], Exception] = _as_it_is,
) -> T:
    """Return what the call returns; the call is made again after each passing error.

    Raises the last error, or what `gave_up` makes of it, at the deadline or when the work has been asked to end.
    """
    while True:
        try:
            return call()
        except passing as error:
            _wait(backoff, error, gave_up)


class Left(NamedTuple, Generic[T]):
    """What an attempt left undone, and why."""

    items: Sequence[T]
    error: Exception


def retry_rest(
    send: Callable[[Sequence[T]], Left[T] | None],
    items: Sequence[T],
    backoff: Backoff,
    *,
    gave_up: Callable[[Exception], Exception] = _as_it_is,
) -> None:
    """Hand the items to `send`, and again those that it leaves, until nothing is left.

    `send` returns what is left, or None for nothing; it raises TransientError where everything is left. The deadline
    counts anew whenever fewer are left. Raises as `retry` does.
    """
    while items:
        try:
            left = send(items)
        except TransientError as error:
            left = Left(items, error)
        if left is None or not left.items:
            return
        if len(left.items) < len(items):
            backoff.reset()
        items = left.items
        _wait(backoff, left.error, gave_up)


def retry_each(
    generate: Callable[[], Generator[T, None, None]],
    backoff: Backoff,
    *,
    resumes: bool = True,
    passing: Errors = _PASSING,
    gave_up: Callable[[Exception], Exception] = _as_it_is,
    anew: Callable[[], object] = lambda: None,
) -> Iterator[T]:
    """Yield what the generator yields; another generator is made after each passing error, and `anew` called first.

    With `resumes` the new generator goes on after what was yielded, so each item is progress and resets the deadline.
    Without it the new generator begins from the start, and no item is progress. Raises as `retry` does.
    """
    while True:
        try:
            with closing(generate()) as items:
                for item in items:
                    if resumes:
                        backoff.reset()
                    yield item
                    del item  # What was yielded may be large, and the next one is not there yet.
            return
        except passing as error:
            _wait(backoff, error, gave_up)
            anew()


def poll(look: Callable[[], T], backoff: Backoff) -> T:
    """Return the first true answer of `look`, or its last one at the deadline or when the work is asked to end."""
    while not (answer := look()) and backoff.wait():
        pass
    return answer
