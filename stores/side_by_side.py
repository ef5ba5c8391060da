"""Requests that are on their way at the same time, where one would wait for another's answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
_PATIENT = 8
"""So many answers in a row that were waited for are waited for all the time."""


class SideBySide:
    """At most so many requests at once, whichever thread asks; the threads that send them begin when first needed.

    One after another at first: threads hide waiting, and where there is none they take a third more CPU and longer
    (docs/decisions.md). Once each request of a series waited longer for its answer than it took to be made, so many
    are sent side by side.
    """

    def __init__(self, most: int) -> None:
        """Take the limit, at least 1."""
        self._most = most
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._waits = False
        self._senders: ThreadPoolExecutor | None = None

    @property
    def waits(self) -> bool:
        """Whether answers are waited for, so that requests go side by side."""
        return self._waits

    def answers(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        """Return the answers in the order of the requests.

        Raises what one of them raised, once none is on its way any more. `ask` must not come back here.
        """
        if len(requests) < 2:
            return [ask(each) for each in requests]
        answers: list[Answer] = []

        if not self._waits:
            with self._alone:
                answers = self._one_by_one(ask, requests)
        return answers + self._together(ask, requests[len(answers) :])

    def _one_by_one(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        """Return the first answers: all of them, unless those of some requests were long in coming."""
        answers: list[Answer] = []
        patient = 0
        for each in requests:
            began, worked = time.perf_counter(), time.thread_time()
            answers.append(ask(each))
            work_s = time.thread_time() - worked
            # Other threads that hold the interpreter look like waiting too, but not each time.
            patient = patient + 1 if time.perf_counter() - began > 2 * work_s else 0
            if patient == _PATIENT:
                self._waits = True
                break
        return answers

    def _together(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
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
