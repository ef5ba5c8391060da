"""Requests sent at the same time where each would otherwise wait for the answer to the last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_PATIENT = 8
"""So many answers in a row that were waited for are waited for all the time."""
_TURN = threading.Lock()
"""Held by the one request of this process that is under way while answers come at once."""
_TURN_S = 0.05
"""After this time the next request is sent without the lock: a slow request must not delay other tables."""


class ConcurrentRequests:
    """At most so many requests at once, whichever thread asks; the threads that send them begin when first needed.

    One after another at first: threads hide waiting, and where there is none they take half as much CPU again
    (docs/decisions.md). Once several answers in a row were waited for longer than their requests took to be made, so
    many are sent side by side.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """Take the limit, at least 1, and the clock by which answers are waited for, in seconds."""
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._waited = 0
        self._senders: ThreadPoolExecutor | None = None

    @property
    def waits(self) -> bool:
        """Whether answers are waited for, so that requests go side by side."""
        return self._waited >= _PATIENT

    def answers(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        """Return the answers in the order of the requests.

        If a request raises, raises the same error once no other request is under way. `ask` must not call this.
        """
        answers: list[Answer] = []
        for each in requests:
            if self.waits:
                break
            answers.append(ask(each))
        return answers + self._together(ask, requests[len(answers) :])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Give leave to send one request, and see how long its answer takes.

        While answers come at once no two requests of this process are under way, unless one takes long after all.
        """
        if self.waits:
            yield
            return
        acquired = _TURN.acquire(timeout=_TURN_S)
        began, worked = self._clock(), time.thread_time()
        try:
            yield
        finally:
            work_s = time.thread_time() - worked
            # Another thread that holds the interpreter looks like waiting too, but not each time.
            self._waited = self._waited + 1 if self._clock() - began > 2 * work_s else 0
            if acquired:
                _TURN.release()

    def _together(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        if len(requests) < 2:
            return [ask(each) for each in requests]
        with self._lock:
            if self._senders is None:
                self._senders = ThreadPoolExecutor(self._most, thread_name_prefix="request")
            futures = [self._senders.submit(ask, each) for each in requests]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        if waiting:
            for future in waiting:
                future.cancel()
            wait(waiting)
            for future in done:
                future.result()
        return [future.result() for future in futures]

    def close(self) -> None:
        """No thread of it runs any more; a later request begins new ones."""
        with self._lock:
            senders, self._senders = self._senders, None
        if senders is not None:
            senders.shutdown()
