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


def find_moved(state: State, route: Route, fingerprint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the design of the route's place where nothing has changed but the address of its server.

    `fingerprint` is the one on record. None where something else has changed, or nothing shows that the server is the
    same. Raises TransientError while it does not answer.
    """
    if {**route.fingerprint(fingerprint), "server": fingerprint.get("server")} != fingerprint:
        return None
    if (design := state.designs.get(route.name)) is None:
        return None
    with closing(route.target()) as target:
        return target.recognize(design) if isinstance(target, Relocatable) else None


def record_move(state: State, lease: Lease, route: Route, design: Mapping[str, Any]) -> None:
    """The address of today is on record, with what `find_moved` returned.

    Raises LeaseLost if another run has taken the route over.
    """
    fingerprint = route.fingerprint()
    state.designs.save(lease, fingerprint, design)
    state.partitions.record_fingerprint(lease, fingerprint)
    _log.warning("%s: its target has another address and is the same server, so the run goes on", route.name)
