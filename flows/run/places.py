"""Where a run's routes go: the server of each target and the place of each route, as a report names them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from flows.connect.session import Session
from flows.plan.model import Route, server_of
from flows.reporting.model import ServerSeen
from stores.contract.target import Describable
from stores.errors import OfframpError

_log = logging.getLogger(__name__)


def place_of(route: Route) -> str:
    """Return where the route's records are in its target, "" for a target that does not say; no server is asked."""
    target = route.target()
    try:
        return target.describe_place() if isinstance(target, Describable) else ""
    finally:
        target.close()


def servers_of(session: Session, failed: Mapping[str, object], *, ask: bool = True) -> Sequence[ServerSeen]:
    """Return the server of each target that the session's routes go to, in the order of the routes.

    With `ask` a target says its version, except one of which every route has failed: a server that is away is not
    waited for.
    """
    first: dict[str, Route] = {}
    for route in session.routes:
        if route.target_name not in first or first[route.target_name].name in failed:
            first[route.target_name] = route
    return [
        ServerSeen(
            name, server_of(route.connection), _version(session, route) if ask and route.name not in failed else ""
        )
        for name, route in first.items()
    ]


def _version(session: Session, route: Route) -> str:
    try:
        with session.open_target(route) as target:
            return target.describe_server() if isinstance(target, Describable) else ""
    except OfframpError as error:
        _log.warning("%s: the version of its server is unknown: %s", route.name, error)
        return ""
