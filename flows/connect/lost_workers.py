"""Workers that a run lost, which may only be cut off: it waits until they can change a target no more."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from flows.connect.session import RouteSteps
from flows.plan.model import Route
from stores.contract.stop import raise_if_stopped
from stores.errors import OfframpError

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_STEP = "waiting until a lost worker, which may only be cut off, can write no more"


def await_lost_workers(steps: RouteSteps, routes: Sequence[Route]) -> Mapping[str, OfframpError]:
    """No worker whose job was given to another changes the target of one of these routes any more.

    That is so when the term of the lease that it may know is over. Returns the errors, by route: of the state, and
    TransientError E-STOPPED once the run is to stop. A route that is not waited for to the end is not free for the
    next run before that time either.
    """
    claims, stop = steps.state.claims, steps.stop
    left = {route.name: claims.left_s(route.name) for route in routes}
    busy = [route for route in routes if left[route.name] > 0]
    if not busy:
        return {}
    for route in busy:
        # A flow shows no steps.
        _log.warning("%s: waiting up to %d s until a lost worker can write no more", route.name, left[route.name])

    def wait(route: Route) -> None:
        while (left_s := claims.left_s(route.name)) > 0:
            raise_if_stopped(stop, "stopped by a signal while a lost worker may still write; the same command resumes")
            stop.wait(min(left_s, _LOOK_EVERY_S))

    waited = steps.take(_STEP, busy, wait)
    return {name: outcome for name, outcome in waited.items() if outcome is not None}
