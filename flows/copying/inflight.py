"""Several calls of a target at once, in threads only where a call has to wait for an answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from stores.contract.target import Prompt

P = ParamSpec("P")
T = TypeVar("T")


class OverlappedCalls:
    """At most `window` calls of one target at once; a prompt target is called within `submit`, without a thread."""

    def __init__(self, target: object, window: int, name: str) -> None:
        """Take the target and the limit; threads, named `name`, begin when they are first needed."""
        self._target = target if isinstance(target, Prompt) else None
        self._threads = ThreadPoolExecutor(window, thread_name_prefix=name)

    def submit(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Return the future of the call: its result, or the error it raised."""
        if self._target is None or not self._target.prompt:
            return self._threads.submit(call, *arguments, **named)
        done: Future[T] = Future()
        try:
            done.set_result(call(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as a thread's would be
            done.set_exception(error)
        return done

    def close(self) -> None:
        """Wait for the calls under way; calls that have not begun are cancelled."""
        self._threads.shutdown(wait=True, cancel_futures=True)
