"""How every command that works on routes begins: they are checked, leased, and refused if their plan has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from flows.connect.expires_from_index import resolve_expires
from flows.connect.lease_renewal import hold_leases
from flows.connect.preflight import RouteCheck, check, refuse_changes
from flows.connect.stores import OpenRoute, open_route, open_source, open_state
from flows.plan.model import Plan, Route
from stores.mongodb.database import MongoDB
from stores.state.leases import Lease
from stores.state.state import State


@dataclass(frozen=True, slots=True)
class Session:
    """Routes of a plan that one command alone works on, from `open_session` to the end of its body."""

    plan: Plan
    routes: Sequence[Route]
    """The chosen routes, with the rule of the TTL index in the place of `expires: from_index`."""
    checked: Mapping[str, RouteCheck]
    """What was found of each route before anything was written, by route."""
    state: State
    leases: Mapping[str, Lease]
    """The lease on each route, by route."""

    def open(self, route: Route, database: MongoDB | None = None) -> AbstractContextManager[OpenRoute]:
        """Open a checked route of the session; see `open_route`."""
        id_kind = self.checked[route.name].id_kind
        return open_route(self.plan, route, self.state, self.leases[route.name], id_kind, database)


@contextmanager
def open_session(
    plan: Plan, routes: Sequence[Route], checked: Mapping[str, RouteCheck] | None = None, *, restart: bool = False
) -> Iterator[Session]:
    """Give the routes, which no other run works on while the body lasts; no target is written.

    Checks the routes unless `checked` is given; a route that is not among `checked` is leased and nothing more.
    Raises PlanError for a route that cannot be served or, unless `restart`, was begun under another plan (R137);
    TransientError if another run is at work on a route.
    """
    if checked is None:
        checked = {found.route: found for found in check(plan, routes)}
    routes = [
        resolve_expires(route, checked[route.name].expires) if route.name in checked else route for route in routes
    ]
    # The source is open for as long as the routes are, so that each of their jobs finds it open.
    with open_source(plan), open_state(plan) as state, hold_leases(state, plan, routes) as leases:
        if not restart:
            refuse_changes(state, [route for route in routes if route.name in checked], checked)
        yield Session(plan, routes, checked, state, leases)
