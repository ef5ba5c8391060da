"""How every command that works on routes begins: they are leased, checked, and refused if their plan has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from flows.connect.expires_from_index import resolve_expires
from flows.connect.lease_renewal import acquire_lease, hold_leases
from flows.connect.moved_server import record_move
from flows.connect.preflight import RouteCheck, RouteFaults, check_each, find_changes, join_errors
from flows.connect.progress import SILENT, RunObserver
from flows.connect.route_steps import take_step
from flows.connect.stores import OpenRoute, open_route, open_source, open_state, open_target
from flows.plan.model import Plan, Route
from mappers.contract import Record
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Target
from stores.errors import OfframpError, PlanError
from stores.mongodb.database import MongoDB
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)

_RECORD_EVERY_S = 1.0

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Session:
    """Routes of a plan that one command alone works on, from `open_session` to the end of its body."""

    plan: Plan
    routes: Sequence[Route]
    """The chosen routes, with the rule of the TTL index in the place of `expires: from_index`."""
    checked: dict[str, RouteCheck]
    """What was found of each route before anything was written, by route."""
    state: State
    leases: dict[str, Lease]
    """The lease on each route that can be served, by route."""
    steps: RouteSteps
    """Steps that each route takes side by side with others."""
    refused: Mapping[str, OfframpError] = field(default_factory=dict)
    """Why routes cannot be served, by route, in a session that goes on without them."""

    def open(self, route: Route, database: MongoDB | None = None) -> AbstractContextManager[OpenRoute]:
        """Open a checked route of the session; see `open_route`."""
        id_kind = self.checked[route.name].id_kind
        return open_route(self.plan, route, self.state, self.leases[route.name], id_kind, database)

    def open_target(self, route: Route) -> AbstractContextManager[Target[Record]]:
        """Open the target of a route of the session, under its lease; see `stores.open_target`."""
        return open_target(route, self.state, self.leases[route.name])

    def take_in(self, route: Route) -> Route:
        """Return a route of the session that could not be served, leased and checked now, with its rule resolved.

        Raises the error that keeps it from being served still; then the session has no lease on it.
        """
        self.leases[route.name] = acquire_lease(self.state, self.plan, route)
        try:
            found = check_each(self.plan, [route], stop=self.steps.stop)[route.name]
            if isinstance(found, RouteFaults):
                raise found.error()
            route = resolve_expires(route, found.expires)
            if faults := _find_faults(self.state, self.leases[route.name], route, found):
                raise RouteFaults(route.name, faults).error()
        except OfframpError:
            self.give_back(route.name)
            raise
        self.checked[route.name] = found
        return route

    def give_back(self, route: str) -> None:
        """Another run may work on the route from now on, and this one may not."""
        self.state.leases.release(self.leases.pop(route))


@dataclass(slots=True)
class RouteSteps:
    """Steps that each route of a session takes, shown to an observer and on record for `status`."""

    state: State
    leases: Mapping[str, Lease]
    observer: RunObserver = SILENT
    stop: Stop = NEVER
    _begun: dict[str, str] = field(default_factory=dict)
    """Steps that are not on record yet, by route."""
    _recorded_at: float = float("-inf")

    def take(
        self, step: str, routes: Sequence[Route], work: Callable[[Route], R], *, abandons: bool = False
    ) -> dict[str, R | OfframpError]:
        """Return what the work on each route came to; see `take_step`."""
        return take_step(step, routes, work, stop=self.stop, observer=self.show, abandons=abandons)

    def show(self, step: str, done: int, routes: int, at_work: Sequence[str]) -> None:
        """The observer is shown the step, which is also on record about a second later."""
        self.observer.stepped(step, done, routes, at_work)
        self._begun.update(dict.fromkeys(at_work, step))
        if self._begun and time.monotonic() - self._recorded_at >= _RECORD_EVERY_S:
            self._recorded_at = time.monotonic()
            try:
                self.state.steps.record(self._begun, self.leases.values())
            except OfframpError as error:
                _log.warning("the step of a route is not on record: %s", error)
            self._begun.clear()


@contextmanager
def open_session(
    plan: Plan,
    routes: Sequence[Route],
    *,
    restart: bool = False,
    each_alone: bool = False,
    observer: RunObserver = SILENT,
    stop: Stop = NEVER,
) -> Iterator[Session]:
    """Give the routes, which no other run works on while the body lasts; no target is written.

    A route cannot be served if another run is at work on it (TransientError E-LEASE-HELD), if its check finds a fault,
    or if it was begun under another plan, unless `restart` (R137). With `each_alone` the session goes on without it,
    and without any lease on it; else its error is raised: PlanError with all faults, or TransientError. Raises
    TransientError E-STOPPED once the work is to end.
    """
    held: dict[str, OfframpError] | None = {} if each_alone else None
    # The source is open for as long as the routes are, so that each of their jobs finds it open.
    with open_source(plan), open_state(plan) as state, hold_leases(state, plan, routes, stop, held) as leases:
        steps = RouteSteps(state, leases, observer, stop)
        leased = [route for route in routes if route.name in leases]
        outcomes = check_each(plan, leased, stop=stop, observer=steps.show)
        checked = {name: found for name, found in outcomes.items() if isinstance(found, RouteCheck)}
        routes = [
            resolve_expires(route, checked[route.name].expires) if route.name in checked else route for route in routes
        ]
        wrong = {name: found for name, found in outcomes.items() if isinstance(found, RouteFaults)}
        if not wrong or each_alone:
            for route in routes if not restart else ():
                if (found := checked.get(route.name)) is not None and (
                    faults := _find_faults(state, leases[route.name], route, found)
                ):
                    wrong[route.name] = RouteFaults(route.name, faults)
        if wrong and not each_alone:
            raise join_errors(list(wrong.values()))
        refused = (held or {}) | {name: faults.error() for name, faults in wrong.items()}
        session = Session(plan, routes, checked, state, leases, steps, refused)
        for name in wrong:
            session.give_back(name)
        yield session


def _find_faults(state: State, lease: Lease, route: Route, found: RouteCheck) -> Sequence[PlanError]:
    """Return why a checked route cannot go on; where it can, a server that has moved is on record where it is now."""
    changes = find_changes(state, route, found)
    if not changes.faults and changes.moved is not None:
        record_move(state, lease, route, changes.moved)
    return changes.faults
