"""A target's server at another address than when the route was begun: recognized, or another server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from flows.plan.model import Route
from stores.contract.target import Relocatable
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)


def find_moved(state: State, route: Route) -> Mapping[str, Any] | None:
    """Return the design of the route's place where nothing has changed but the address of its server.

    None where something else has changed, or nothing shows that the server is the same. Raises TransientError while it
    does not answer.
    """
    known, design = state.partitions.route(route.name), state.designs.get(route.name)
    if known is None or design is None:
        return None
    now = route.fingerprint(known.fingerprint)
    if now == known.fingerprint or {**now, "server": known.fingerprint.get("server")} != known.fingerprint:
        return None
    with closing(route.target()) as target:
        return target.recognize(design) if isinstance(target, Relocatable) else None


def record_move(state: State, lease: Lease, route: Route) -> None:
    """The address of today is on record where the server has moved; nothing changes otherwise.

    Raises LeaseLost if another run has taken the route over, TransientError as `find_moved`.
    """
    if (design := find_moved(state, route)) is None:
        return
    fingerprint = route.fingerprint()
    state.designs.save(lease, fingerprint, design)
    state.partitions.record_fingerprint(lease, fingerprint)
    _log.warning("%s: its target has another address and is the same server, so the run goes on", route.name)
