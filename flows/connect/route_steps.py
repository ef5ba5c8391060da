"""A step of a run that each of its routes takes, such as its check: several at a time, as each waits for its stores."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from flows.plan.model import Route
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.errors import OfframpError, TransientError

ROUTES_AT_ONCE = 16
"""Routes that take a step at the same time. Each has a request or two under way, and connections of its own."""
_POLL_EVERY_S = 0.2
"""How often the stop is looked at while nothing ends."""

R = TypeVar("R")


class StepObserver(Protocol):
    """Receives how far the routes have come in a step."""

    def __call__(self, step: str, done: int, routes: int, at_work: Sequence[str], /) -> None:
        """So many of the routes have taken the step; `at_work` are those that take it now, the first to begin first."""


def take_step(
    step: str,
    routes: Sequence[Route],
    work: Callable[[Route], R],
    *,
    stop: Stop = NEVER,
    observer: StepObserver = lambda *_: None,
    abandons: bool = False,
    at_once: int = ROUTES_AT_ONCE,
) -> dict[str, R | OfframpError]:
    """Return what the work on each route returned, or the OfframpError that it raised, by route in their order.

    Once `stop` is set no route begins. Those under way are waited for, or left to themselves with `abandons`, which is
    for work that changes nothing. A route that has no result then has TransientError E-STOPPED. Any other exception is
    raised when no work is under way any more.
    """
    waiting = deque(routes)
    ended: SimpleQueue[tuple[str, R | BaseException]] = SimpleQueue()
    outcomes: dict[str, R | OfframpError] = {}
    under_way: dict[str, None] = {}
    fault: BaseException | None = None

    def run(route: Route) -> None:
        try:
            ended.put((route.name, work(route)))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            ended.put((route.name, error))

    try:
        while under_way or (waiting and fault is None and not stop.is_set()):
            if waiting and len(under_way) < at_once and fault is None and not stop.is_set():
                route = waiting.popleft()
                under_way[route.name] = None
                observer(step, len(outcomes), len(routes), list(under_way))
                # A daemon: the program ends without those that were abandoned.
                threading.Thread(
                    target=contextvars.copy_context().run, args=(run, route), name=f"{step} {route.name}", daemon=True
                ).start()
                continue
            if abandons and stop.is_set():
                break
            try:
                name, outcome = ended.get(timeout=_POLL_EVERY_S)
            except Empty:
                continue
            del under_way[name]
            if isinstance(outcome, BaseException) and not isinstance(outcome, OfframpError):
                fault = outcome
            else:
                outcomes[name] = outcome
                observer(step, len(outcomes), len(routes), list(under_way))
    finally:
        # An interrupt of this thread is no reason for the others to write under leases that are given back.
        while under_way and not abandons:
            del under_way[ended.get()[0]]
    if fault is not None:
        raise fault
    stopped = TransientError(STOPPED, f"stopped by a signal while {step}; the same command resumes")
    return {route.name: outcomes.get(route.name, stopped) for route in routes}
