"""Empty places that earlier runs made with other keys than the plan has now, removed so that they are made anew."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence

from flows.connect.lease_renewal import hold_leases
from flows.connect.stores import open_state, with_fence
from flows.plan.model import Plan, Route
from stores.contract.target import Remakable
from stores.errors import OfframpError

_log = logging.getLogger(__name__)


def remove_obsolete_places(plan: Plan, routes: Sequence[Route]) -> None:
    """No route has an empty place with other keys than the plan's that a run of this plan made.

    A place that holds anything, or that somebody else made, stays. Raises the errors of removing a place,
    and TransientError if another run is at work on one of the routes.
    """
    for route, target in _with_obsolete_places(plan, routes):
        _log.info("%s: its empty place has another key than the plan and is made anew", route.name)
        target.remove()


def find_obsolete_places(plan: Plan, routes: Sequence[Route]) -> Collection[str]:
    """Return the names of the routes whose places `remove_obsolete_places` would remove; writes to no target."""
    return [route.name for route, _ in _with_obsolete_places(plan, routes)]


def _with_obsolete_places(plan: Plan, routes: Sequence[Route]) -> Iterator[tuple[Route, Remakable]]:
    """Yield each route with an obsolete place and its open target, under the route's lease."""
    remakable = [route for route in routes if issubclass(_class_of(route), Remakable)]
    if not remakable:
        return
    with open_state(plan) as state, hold_leases(state, plan, remakable) as leases:
        for route in remakable:
            target = with_fence(route.target(), state, leases[route.name])
            try:
                identity = _obsolete(target)
                if identity is not None and state.made_places.has(identity) and isinstance(target, Remakable):
                    yield route, target
            finally:
                target.close()


def _class_of(route: Route) -> type:
    made: object = route.target_type
    return made if isinstance(made, type) else object


def _obsolete(target: object) -> str | None:
    try:
        return target.obsolete() if isinstance(target, Remakable) else None
    except OfframpError:  # The checks that follow ask the same and tell it with all other faults.
        return None
