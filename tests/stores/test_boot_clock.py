"""The clock that leases and positions are judged by."""

from __future__ import annotations

import time

from stores.boot_clock import boot_s


def test_it_goes_on_and_is_never_behind_the_clock_that_a_sleep_may_stop() -> None:
    monotonic_s, first_s = time.monotonic(), boot_s()
    assert monotonic_s - 1 <= first_s <= boot_s()
