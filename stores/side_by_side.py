"""Requests that are on their way at the same time, so that one does not wait for another's answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class SideBySide:
    """At most so many requests at once, whichever thread asks; the threads that send them begin when first needed."""

    def __init__(self, most: int) -> None:
        """Take the limit, at least 1."""
        self._most = most
        self._lock = threading.Lock()
        self._senders: ThreadPoolExecutor | None = None

    def answers(self, ask: Callable[[Request], Answer], requests: Sequence[Request]) -> list[Answer]:
        """Return the answers in the order of the requests.

        Raises what one of them raised, once none is on its way any more. `ask` must not come back here.
        """
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
