"""Calls of a target beside the work of its caller, in other threads only where there is something to wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from stores.contract.target import Prompt

P = ParamSpec("P")
T = TypeVar("T")


class Overlapped:
    """At most so many calls of one target at once; those of a prompt one are done before `submit` returns."""

    def __init__(self, target: object, window: int, name: str) -> None:
        """Take the target and the limit; threads begin when first needed, and bear the name."""
        self._target = target if isinstance(target, Prompt) else None
        self._threads = ThreadPoolExecutor(window, thread_name_prefix=name)

    def submit(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Return what will hold the call's result, or the error it raised."""
        if self._target is None or not self._target.prompt:
            return self._threads.submit(call, *arguments, **named)
        done: Future[T] = Future()
        try:
            done.set_result(call(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as a thread's would be
            done.set_exception(error)
        return done

    def close(self) -> None:
        """No call is under way any more; those that had not begun never will be."""
        self._threads.shutdown(wait=True, cancel_futures=True)
