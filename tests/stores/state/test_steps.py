"""The steps that runs take with routes: shown while the run that took them has the route, and to nobody's harm."""

from __future__ import annotations

from stores.state.state import State


def test_a_route_has_the_step_that_was_begun_last_by_the_run_that_has_it(state: State) -> None:
    orders, users = state.leases.acquire("orders"), state.leases.acquire("users")
    state.steps.record({"orders": "checking", "users": "checking", "elsewhere": "checking"}, [orders, users])
    state.steps.record({"orders": "preparing"}, [orders, users])
    steps = {route: state.steps.of_route(route) for route in ("orders", "users", "elsewhere")}
    assert steps == {"orders": "preparing", "users": "checking", "elsewhere": ""}


def test_a_step_is_over_with_its_run(state: State) -> None:
    first = state.leases.acquire("orders")
    state.steps.record({"orders": "preparing"}, [first])
    state.leases.release(first)
    assert state.steps.of_route("orders") == ""
    state.leases.acquire("orders")
    assert state.steps.of_route("orders") == ""


def test_a_run_that_was_overtaken_has_no_step(state: State) -> None:
    first = state.leases.acquire("orders")
    state.leases.release(first)
    second = state.leases.acquire("orders")
    state.steps.record({"orders": "checking"}, [second])
    state.steps.record({"orders": "preparing"}, [first])
    assert state.steps.of_route("orders") == ""
