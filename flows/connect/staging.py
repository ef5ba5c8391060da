"""Routes whose records are staged and loaded at once: whether they may begin, and whether a load is still to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flows.plan.model import Route
from stores.contract.target import Staging, staging_of
from stores.errors import PlanError, TransientError
from stores.state.state import State


@contextmanager
def staged(route: Route) -> Iterator[Staging[Any] | None]:
    """Give where the route's records are staged for the length of the body, None if they are written."""
    target = route.target()
    try:
        yield staging_of(target)
    finally:
        target.close()


def taken(routes: Iterable[Route]) -> list[PlanError]:
    """Return a fault for each of these routes that would load into a place that stands already."""
    faults: list[PlanError] = []
    for route in routes:
        try:
            with staged(route) as staging:
                if staging is not None:
                    staging.vacant()
        except PlanError as error:
            faults.append(PlanError(error.code, f"route {route.name}: {error.message}"))
    return faults


def is_waiting(state: State, route: Route) -> bool:
    """Tell whether what was copied waits to be loaded, by the state alone."""
    with staged(route) as staging:
        return staging is not None and not staging.held(state.designs.load_state(route.name))


def refuse_unloaded(state: State, route: Route) -> None:
    """Raise TransientError if what was copied waits to be loaded: there is nothing to verify yet."""
    if is_waiting(state, route):
        raise TransientError("E-NOT-LOADED", "its records are staged but not loaded yet; run backfill, which goes on")
