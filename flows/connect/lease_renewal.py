"""The leases of a run's routes, acquired when it begins, renewed while it lasts and released at its end (R134)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from flows.plan.model import Plan, Route
from stores.errors import OfframpError, TransientError
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)

_ELSEWHERE = ("dask", "ray")
"""The runners whose workers may go on when the process of their run has ended."""


@contextmanager
def hold_leases(state: State, plan: Plan, routes: Sequence[Route]) -> Iterator[Mapping[str, Lease]]:
    """Hold the routes' leases, renewed three times in their term while the body runs, and release them at its end."""
    leases: dict[str, Lease] = {}
    stop = threading.Event()
    renewing = threading.Thread(
        target=_renew, args=(state, leases, stop, plan.run.lease_s / 3), name="leases", daemon=True
    )
    try:
        for route in routes:
            leases[route.name] = state.leases.acquire(route.name, outlived=plan.run.runner in _ELSEWHERE)
        renewing.start()
        yield leases
    finally:
        stop.set()
        if renewing.is_alive():
            renewing.join()
        for lease in leases.values():
            state.leases.release(lease)


def _renew(state: State, leases: Mapping[str, Lease], stop: threading.Event, every_s: float) -> None:
    """Renew the leases until `stop` is set. A lost one stops its route by its fence, so it is only logged here."""
    lost: set[str] = set()
    while not stop.wait(every_s):
        for lease in [lease for route, lease in leases.items() if route not in lost]:
            try:
                state.leases.renew(lease)
            except TransientError as error:
                _log.warning("%s", error)
            except OfframpError as error:
                _log.error("%s", error)
                lost.add(lease.route)
