"""The clock that leases and positions are judged by."""

from __future__ import annotations

import time

import pytest

from stores.boot_clock import boot_s


def test_it_goes_on_and_is_never_behind_the_clock_that_a_sleep_may_stop() -> None:
    monotonic_s, first_s = time.monotonic(), boot_s()
    assert monotonic_s - 1 <= first_s <= boot_s()


def test_it_runs_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine can be put to sleep here: of its clocks one goes on in sleep, and the other stands still."""
    slept_s, real = 3_600.0, time.clock_gettime

    def woken(clock: int) -> float:
        return real(clock) + (slept_s if clock == time.CLOCK_BOOTTIME else 0.0)

    awake_s = boot_s()
    monkeypatch.setattr(time, "clock_gettime", woken)
    assert boot_s() >= awake_s + slept_s
