"""A run waits until a worker that it lost can write no more, and says so; a stop ends the wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from plans import Stores, write_plan

from flows.connect.lost_workers import await_lost_workers
from flows.connect.progress import Silent
from flows.connect.session import RouteSteps
from flows.plan.load import load
from flows.plan.model import Route
from stores.contract.stop import STOPPED
from stores.errors import TransientError
from stores.state.state import State


class Steps(Silent):
    """Notes the steps, and calls once one is shown."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.shown: list[tuple[str, list[str]]] = []
        self._then = then

    def stepped(self, step: str, _done: int, _routes: int, at_work: Sequence[str]) -> None:
        self.shown.append((step, [*at_work]))
        self._then()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[float], State]]:
    """Open the state with leases of so many seconds."""
    with ExitStack() as closing:

        def open_state(lease_s: float) -> State:
            state = State(f"sqlite:///{tmp_path / 'state.db'}", "shop", lease_s)
            closing.callback(state.close)
            return state

        yield open_state


@pytest.fixture
def routes(tmp_path: Path) -> Sequence[Route]:
    kinds = {name: {"use_case": "cache", "key": f"{name}:{{_id}}"} for name in ("orders", "sessions")}
    path = write_plan(tmp_path, Stores("mongodb://localhost", "redis://localhost", "", ""), "shop", kinds)
    return [*load(path).routes.values()]


def lose(state: State, route: str, losing: ExitStack) -> None:
    """Two workers have claimed the same partition of the route, and neither has ended."""
    lease = state.leases.acquire(route)
    for _ in range(2):
        losing.enter_context(state.claims.claimed(lease, "copy", 0))


def test_only_the_routes_of_lost_workers_wait_and_until_those_can_write_no_more(
    opened: Callable[[float], State], routes: Sequence[Route]
) -> None:
    state = opened(1.0)
    observer = Steps()
    steps = RouteSteps(state, {}, observer)
    assert await_lost_workers(steps, routes) == {}
    assert not observer.shown
    with ExitStack() as losing:
        lose(state, "orders", losing)
        assert await_lost_workers(steps, routes) == {}
        assert state.claims.left_s("orders") <= 0
    assert [at_work for _, at_work in observer.shown] == [["orders"], []]
    assert "lost worker" in observer.shown[0][0]


def test_a_stop_ends_the_wait_and_the_route_is_not_free_for_that(
    opened: Callable[[float], State], routes: Sequence[Route]
) -> None:
    state = opened(60)
    stop = threading.Event()
    steps = RouteSteps(state, {}, Steps(stop.set), stop)
    with ExitStack() as losing:
        lose(state, "orders", losing)
        waited = await_lost_workers(steps, routes)
        assert {name: error.code for name, error in waited.items()} == {"orders": STOPPED}
    with pytest.raises(TransientError):
        state.leases.acquire("orders")
