"""A run that waits for another and is stopped meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.orchestration.waiting import wait_for_routes
from stores.contract.stop import PROCESS_STOP
from stores.errors import TransientError

HELD = TransientError("E-LEASE-HELD", "another run is working on it")


@pytest.fixture
def stopped() -> Iterator[None]:
    PROCESS_STOP.set()
    yield
    PROCESS_STOP.clear()


def refused() -> None:
    raise HELD


def test_a_run_that_is_stopped_while_it_waits_says_so(stopped: None) -> None:
    with pytest.raises(TransientError, match="E-STOPPED"):
        wait_for_routes(refused, 1)
