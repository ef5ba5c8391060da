"""The leases of a run's routes, acquired when it begins, renewed while it lasts and released at its end (R134)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from flows.plan.model import Plan, Route
from flows.quantities import counted, number
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import OfframpError, TransientError
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)

LEASE_HELD = "E-LEASE-HELD"
"""The code of the error that another run has the route."""
_ELSEWHERE = ("dask", "ray")
"""The runners whose workers may go on when the process of their run has ended."""


@contextmanager
def hold_leases(
    state: State,
    plan: Plan,
    routes: Sequence[Route],
    stop: Stop = NEVER,
    refused: dict[str, OfframpError] | None = None,
) -> Iterator[dict[str, Lease]]:
    """Hold the routes' leases, renewed three times in their term while the body runs, and release them at its end.

    Raises TransientError E-LEASE-HELD, which names every route that another run has, or with `refused` adds the error
    of each such route to it and leaves the route out. A lease that the body takes out of the mapping is left to it.
    Raises TransientError E-STOPPED once `stop` is set.
    """
    leases: dict[str, Lease] = {}
    held: dict[str, OfframpError] = {}
    ended = threading.Event()
    renewing = threading.Thread(
        target=_renew, args=(state, leases, ended, plan.run.lease_s / 3), name="leases", daemon=True
    )
    try:
        for route in routes:
            raise_if_stopped(stop, "stopped by a signal before anything was done; the same command resumes")
            try:
                leases[route.name] = acquire_lease(state, plan, route)
            except TransientError as error:
                if error.code != LEASE_HELD:
                    raise
                held[route.name] = error
        if refused is None and held:
            raise join_held(list(held.values()), len(routes))
        if refused is not None:
            refused.update(held)
        renewing.start()
        yield leases
    finally:
        ended.set()
        if renewing.is_alive():
            renewing.join()
        state.leases.release(*leases.values())


def acquire_lease(state: State, plan: Plan, route: Route) -> Lease:
    """Return this run's lease on the route; raises TransientError E-LEASE-HELD while another run has it."""
    return state.leases.acquire(route.name, outlived=plan.run.runner in _ELSEWHERE)


def join_held(errors: Sequence[OfframpError], routes: int) -> OfframpError:
    """Return one TransientError E-LEASE-HELD for these of so many routes."""
    if len(errors) == 1:
        return errors[0]
    text = f"other runs are working on {number(len(errors))} of {counted(routes, 'route')}, so nothing was done"
    return TransientError(LEASE_HELD, text, [error.message for error in errors])


def _renew(state: State, leases: Mapping[str, Lease], ended: threading.Event, every_s: float) -> None:
    """Renew the leases until `ended` is set. A lost one stops its route by its fence, so it is only logged here."""
    lost: set[str] = set()
    while not ended.wait(every_s):
        for lease in [lease for route, lease in list(leases.items()) if route not in lost]:
            try:
                state.leases.renew(lease)
            except TransientError as error:
                _log.warning("%s", error)
            except OfframpError as error:
                if lease.route in leases:  # Else it was given back just now.
                    _log.error("%s", error)
                    lost.add(lease.route)
