"""Waiting until a flow's run may begin, and stopping it at a checkpoint when a signal ends it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from flows.connect.lease_renewal import LEASE_HELD
from stores.contract.stop import PROCESS_STOP, Stop, raise_if_stopped
from stores.errors import TransientError

_log = logging.getLogger(__name__)

T = TypeVar("T")


def wait_for_routes(run: Callable[[], T], wait_minutes: float, *, poll_every_s: float = 5.0) -> T:
    """Return what the run returns; the run is tried again while another run is at work on its routes.

    Raises TransientError E-LEASE-HELD if another run still is after so many minutes, E-STOPPED if this run is to stop.
    """
    waits = False
    give_up = time.monotonic() + 60 * wait_minutes
    while True:
        try:
            return run()
        except TransientError as error:
            left_s = give_up - time.monotonic()
            if error.code != LEASE_HELD or left_s <= 0:
                raise
            raise_if_stopped(PROCESS_STOP, "stopped by a signal while it waited for another run; nothing was done")
            if not waits:
                _log.warning("waiting up to %.0f s: %s", left_s, error.lines[0])
            waits = True
            PROCESS_STOP.wait(min(poll_every_s, left_s))


@contextmanager
def stop_at_checkpoint() -> Iterator[Stop]:
    """Yield a stop that the first SIGTERM or Ctrl-C sets, by which the run ends at its next checkpoint.

    Prefect's handler raises an exception wherever the program happens to be: it would cut a batch short, which must
    then be done again, and end the flow run without its report. A second signal calls the handler that was there
    before, at once. Outside the main thread no handler is replaced.
    """
    if threading.current_thread() is not threading.main_thread():
        yield PROCESS_STOP
        return
    signalled: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if signalled and callable(handler):
            handler(number, frame)
        signalled.append(number)
        PROCESS_STOP.set()

    for number in before:
        signal.signal(number, note)
    try:
        yield PROCESS_STOP
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
