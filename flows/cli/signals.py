"""Ctrl-C and SIGTERM: the first stops the work at its next checkpoint, a second ends the program at once.

A thread of its own obeys them, so that they are obeyed also while the main thread waits in a call that no signal ends:
for a name to be resolved, or for the state's lock. What has not stopped after some seconds is not waited for. The
program then ends as if it had been killed, which loses nothing: what is in flight is done again by the next run.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from flows.terminal import echo, end_drawing, flush

if TYPE_CHECKING:
    from stores.contract.stop import Stop

STOP_WITHIN_S = 4.0
"""How long the work has to reach a checkpoint after the first signal."""
FLOW_STOP_WITHIN_S = 6.0
"""The same for a flow of Prefect, whose workers are asked by the state, and whose server is told how it ended."""
_REPORT_WITHIN_S = 0.5
"""How long it has to print its report after that, at least."""
_SAY_WITHIN_S = 0.5
"""How long a line may take: a terminal that was halted takes none."""
_BEFORE_END_WITHIN_S = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM)

_signalled: list[int] = []


def signal_code() -> int:
    """Return the exit code of the signal that stopped the work, 0 where none did."""
    return 128 + _signalled[0] if _signalled else 0


def leave(code: int) -> NoReturn:
    """End with this code, or with that of the signal that stopped the work."""
    sys.exit(signal_code() or code)


def end_if_signalled() -> None:
    """End the program, where a signal stopped the work and all is printed; else return.

    Python would wait for the threads of drivers, for seconds, and for nothing that is still wanted.
    """
    if _signalled:
        flush()
        os._exit(signal_code())


@contextmanager
def interruptible(within_s: float = STOP_WITHIN_S, before_end: Callable[[], object] = lambda: None) -> Iterator[Stop]:
    """Give a stop that the first Ctrl-C or SIGTERM sets; a second signal ends the program at once.

    A signal stays in force after the body: what is left to do has `within_s` seconds from the signal on. A program
    that is ended before it has stopped calls `before_end`, which is not waited for longer than a second.
    """
    from stores.contract.stop import PROCESS_STOP  # With the stores' contracts, which `--help` does not need.

    received, written = socket.socketpair()
    written.setblocking(False)
    threading.Thread(
        target=_obey,
        args=(received, PROCESS_STOP, within_s, before_end, _what_resumes()),
        name="signals",
        daemon=True,
    ).start()
    wakeup = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _noted) for number in _ENDING}
    try:
        yield PROCESS_STOP
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        written.close()


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the thread that reads the signals' numbers obeys them."""


def _what_resumes() -> str:
    """Return which command goes on where this one stops: the same one, which begins anew where it says so."""
    context = click.get_current_context(silent=True)
    begins_anew = context is not None and context.params.get("restart")
    return "the same command without --restart resumes" if begins_anew else "the same command resumes"


def _obey(
    received: socket.socket, stop: threading.Event, within_s: float, before_end: Callable[[], object], resumes: str
) -> None:
    """Obey the signals whose numbers come through the socket, which is closed when the body has ended."""
    with received:
        if (number := _next(received, None)) is None:
            return
        _signalled.append(number)
        stop.set()
        _say(f"stopping at the next checkpoint; {resumes} (a second signal ends at once)")
        until = time.monotonic() + within_s
        try:
            again = _next(received, within_s)
        except TimeoutError:
            _end(f"ended, as not everything had stopped within {within_s:g} s; {resumes}", before_end)
        if again is not None:
            _end(f"ended at once; what was in flight is done again: {resumes}", before_end)
    # The body has ended, and a report may be printed.
    time.sleep(max(until - time.monotonic(), _REPORT_WITHIN_S))
    _end(f"ended before its report was printed; {resumes}")


def _next(received: socket.socket, timeout_s: float | None) -> int | None:
    """Return the number of the next signal that ends the program, None once there are no more.

    Raises TimeoutError if none comes in so many seconds.
    """
    received.settimeout(timeout_s)
    while number := received.recv(1):
        if number[0] in _ENDING:
            return number[0]
    return None


def _end(text: str, before_end: Callable[[], object] = lambda: None) -> NoReturn:
    _wait_for(before_end, _BEFORE_END_WITHIN_S)
    _wait_for(end_drawing, _SAY_WITHIN_S)
    _say(f"offramp: {text}")
    os._exit(signal_code())


def _say(text: str) -> None:
    """Print the text to standard error if it can be printed at once."""
    _wait_for(lambda: echo(text, err=True), _SAY_WITHIN_S)


def _wait_for(call: Callable[[], object], seconds: float) -> None:
    """Make the call, which is not waited for longer than so many seconds."""
    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    calling.join(seconds)
