"""Waiting for a MongoDB's answer, which ends soon where a connection has gone silent, and at a stop.

Nothing tells a connection whose other end is gone from a server that is slow: either says nothing. So a question that
has had no answer for a part of the retry deadline is given up once, and asked again on another connection, where it may
take as long as it needs. A server that is silent as a whole is found by the driver's heartbeats, which end every wait.

A driver's wait cannot be ended from outside. Each question is asked in a thread of its own, which is left to itself
when its answer is not waited for any more; the driver ends it in time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from pymongo.errors import NetworkTimeout

from stores.contract.stop import STOPPED, Stop
from stores.errors import TransientError

PATIENT_S: Final = 600.0
"""How long an answer may take that was given up once already."""
_LEAST_S, _MOST_S = 5.0, 60.0
_PART = 2
"""A first wait is this part of the retry deadline."""
_POLL_S = 0.2
_STOP_GRACE_S = 1.0
"""How long an answer is waited for once the work is to end: most come sooner, and leave a checkpoint."""
_CLOSE_S = 1.0

T = TypeVar("T")


class _Answer(Generic[T]):
    """An answer that another thread gives."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self.given = threading.Event()
        self.value: T
        self.error: BaseException | None = None

    def give(self) -> None:
        try:
            self.value = self._question()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self.error = error


class _Threads:
    """Threads that ask, kept for the next question; a thread without an answer keeps nothing from ending."""

    def __init__(self) -> None:
        self._idle: deque[SimpleQueue[_Answer[Any]]] = deque()

    def begin(self, answer: _Answer[Any]) -> None:
        """Another thread asks now."""
        try:
            queue = self._idle.pop()
        except IndexError:
            queue = SimpleQueue()
            threading.Thread(target=self._work, args=(queue,), name="asking the source", daemon=True).start()
        queue.put(answer)

    def _work(self, queue: SimpleQueue[_Answer[Any]]) -> None:
        while True:
            answer = queue.get()
            answer.give()
            self._idle.append(queue)
            answer.given.set()
            del answer  # It holds a batch, perhaps the last one for long.


_THREADS = _Threads()


class Waiting:
    """How long answers are waited for, by what has been seen of the server."""

    def __init__(self, retry_deadline_s: float, stop: Stop) -> None:
        """Wait for half of the deadline at first, within bounds."""
        self._first_s = min(_MOST_S, max(_LEAST_S, retry_deadline_s / _PART))
        self._stop = stop
        self._given_up = threading.local()
        """Whether the thread's last question was given up, so that it asks the same now."""
        self._slow = False
        """Whether an answer came that took longer than a first wait."""

    def ask(self, question: Callable[[], T], watch: Callable[[float], None] = lambda _: None) -> T:
        """Return the answer; raises what the question raises.

        Raises NetworkTimeout for a connection that seems to be gone, and TransientError E-STOPPED soon after the stop.
        `watch` is called now and then with the seconds waited so far, and may raise.
        """
        answer = _Answer(question)
        again = getattr(self._given_up, "yes", False)
        limit_s = PATIENT_S if again or self._slow else self._first_s
        began = time.monotonic()
        stopped_at: float | None = None
        _THREADS.begin(answer)
        while not answer.given.wait(_POLL_S):
            now = time.monotonic()
            if self._stop.is_set():
                stopped_at = stopped_at or now
                if now - stopped_at > _STOP_GRACE_S:
                    raise TransientError(
                        STOPPED, "stopped by a signal while the source said nothing; the same command resumes"
                    )
            elif now - began > limit_s:
                self._given_up.yes = True
                raise NetworkTimeout(f"no answer for {limit_s:g} s")
            watch(now - began)
        self._given_up.yes = False
        if answer.error is not None:
            raise answer.error
        if time.monotonic() - began > self._first_s:
            self._slow = True
        return answer.value


def let_go(close: Callable[[], object]) -> None:
    """Close what a server holds too, without waiting long for a server that says nothing."""
    answer = _Answer(close)
    _THREADS.begin(answer)
    answer.given.wait(_CLOSE_S)
