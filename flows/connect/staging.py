"""Routes whose records are staged and loaded at once: whether they may begin, and whether a load is still to come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.plan.model import Route
from stores.contract.target import Staging, staging_of
from stores.errors import TransientError
from stores.state.state import State


@contextmanager
def open_staging(route: Route) -> Iterator[Staging[Any] | None]:
    """Give where the route's records are staged for the length of the body, None if they are written."""
    target = route.target()
    try:
        yield staging_of(target)
    finally:
        target.close()


def refuse_occupied(route: Route) -> None:
    """Raise PlanError if the route, which is to begin, would load into a place that exists already."""
    with open_staging(route) as staging:
        if staging is not None:
            staging.vacant()


def awaits_load(state: State, route: Route) -> bool:
    """Return whether what was copied is still to be loaded, by the state alone."""
    with open_staging(route) as staging:
        return staging is not None and not staging.held(state.designs.load_state(route.name))


def refuse_unloaded(state: State, route: Route) -> None:
    """Raise TransientError if what was copied waits to be loaded: there is nothing to verify yet."""
    if awaits_load(state, route):
        raise TransientError("E-NOT-LOADED", "its records are staged but not loaded yet; run backfill, which resumes")
