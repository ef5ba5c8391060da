"""A stop: set once, from wherever it comes, and no wait outlasts it."""

from __future__ import annotations

import threading

import pytest

from stores.contract.stop import NEVER, PolledStop, raise_if_stopped
from stores.errors import TransientError

LONG_S = 1_000.0


def test_a_polled_stop_asks_seldom_and_stays_set() -> None:
    answers = iter([False, True])
    asked: list[bool] = []

    def ask() -> bool:
        asked.append(next(answers))
        return asked[-1]

    seldom = PolledStop(ask, NEVER, every_s=LONG_S)
    assert [seldom.is_set(), seldom.is_set(), asked] == [False, False, [False]]
    always = PolledStop(ask, NEVER, every_s=0)
    assert [always.is_set(), always.is_set(), asked] == [True, True, [False, True]]


def test_what_it_stands_for_ends_a_wait() -> None:
    PolledStop(lambda: True, NEVER).wait(LONG_S)
    process = threading.Event()
    stop = PolledStop(lambda: False, process, every_s=LONG_S)
    waiting = threading.Thread(target=stop.wait, args=(LONG_S,), daemon=True)
    waiting.start()
    process.set()
    waiting.join(20)
    assert not waiting.is_alive()
    assert stop.is_set()


def test_only_a_stop_that_is_set_raises() -> None:
    raise_if_stopped(NEVER, "not raised")
    with pytest.raises(TransientError, match="by a signal") as raised:
        raise_if_stopped(PolledStop(lambda: True), "stopped by a signal")
    assert raised.value.code == "E-STOPPED"
