"""How the state, the source and the target of a plan are opened, and one route with all that work on it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from flows.connect.memory_return import return_large_buffers
from flows.copying.projection import Projection, route_projection
from flows.copying.reject_budget import keeps_documents
from flows.plan.model import Plan, Route
from mappers.census import Designer
from mappers.contract import Losses, Record
from stores.contract.source import Source
from stores.contract.target import Fenced, Plannable, Target
from stores.mongodb.database import MongoDB
from stores.sharing import Sharing
from stores.state.journal import StateJournal
from stores.state.leases import Lease
from stores.state.state import State

_Follower = TypeVar("_Follower")

_STATES: Sharing[State] = Sharing()
_SOURCES: Sharing[MongoDB] = Sharing()


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """One route with its stores open, for as long as the body of `open_route` lasts."""

    route: Route
    state: State
    lease: Lease
    database: MongoDB
    source: Source
    """The route's documents; for a route synced by a stream, none older than the position it syncs from (R102)."""
    target: Target[Record]
    """The route's target, following its design. Nothing has been written to it."""
    projection: Projection
    """How documents become records of the target."""
    journal: StateJournal
    """The route's checkpoints and rejects, written under the lease."""
    design: Mapping[str, Any] | None
    """The design on record, None where the route has none."""
    id_kind: str
    """The kind of `_id` proven for plain keys, "" where keys are typed."""


@contextmanager
def open_route(
    plan: Plan, route: Route, state: State, lease: Lease, id_kind: str, database: MongoDB | None = None
) -> Iterator[OpenRoute]:
    """Give the route with its stores open for the length of the body; nothing is read or written yet.

    `expires: from_index` is resolved in `route` (see `expires_from_index.resolve_expires`). Without a
    `database` it opens one. Closes what it opened, and leaves the state and a given database open.
    """
    return_large_buffers()
    with ExitStack() as closing:
        if database is None:
            database = closing.enter_context(open_source(plan))
        source = route.source(database)
        synced = state.sync_positions.get(route.name)
        if synced is not None and route.keys.sync == "stream":
            source.advance(synced.position.time)
        design = state.designs.get(route.name)
        target = with_fence(route.target(), state, lease)
        closing.callback(target.close)
        with_design(target, design)
        projection = build_projection(route, target, design, id_kind)
        journal = state.journal(lease, documents=keeps_documents(plan, route))
        yield OpenRoute(route, state, lease, database, source, target, projection, journal, design, id_kind)


def with_design(follower: _Follower, design: Mapping[str, Any] | None) -> _Follower:
    """Return the target or mapper, which from now on follows the design if it can."""
    if design is not None and isinstance(follower, Plannable | Designer):
        follower.follow(design)
    return follower


def build_projection(
    route: Route, target: Target[Record], design: Mapping[str, Any] | None, id_kind: str | None = None
) -> Projection:
    """Return how the route's documents become records of its target, by the design; `id_kind` as `route_projection`."""
    mapper = with_design(route.mapper(losses := Losses()), design)
    return route_projection(route, target.records, mapper, losses, id_kind)


def with_fence(target: Target[Record], state: State, lease: Lease) -> Target[Record]:
    """Return the target, which from now on changes nothing once the lease is over, if it can look at a fence."""
    if isinstance(target, Fenced):
        target.set_fence(state.leases.fence(lease))
    return target


@contextmanager
def open_target(route: Route, state: State, lease: Lease) -> Iterator[Target[Record]]:
    """Give the route's target, following its design, under the lease, for the length of the body."""
    target = with_design(with_fence(route.target(), state, lease), state.designs.get(route.name))
    try:
        yield target
    finally:
        target.close()


@contextmanager
def open_state(plan: Plan) -> Iterator[State]:
    """Give the plan's state, shared by all its users in this process, for the length of the body."""
    with open_state_at(plan.state, plan.name, plan.run.lease_s) as state:
        yield state


@contextmanager
def open_state_at(url: str, plan: str, lease_s: float) -> Iterator[State]:
    """Give the state at the URL of the plan of this name; see `open_state`."""
    key = (url, plan, lease_s)
    with _STATES.use(key, lambda: State(*key), State.is_usable) as state:
        yield state


@contextmanager
def open_source(plan: Plan) -> Iterator[MongoDB]:
    """Give the plan's source, shared by all its users in this process, for the length of the body."""
    with _SOURCES.use(plan.source, lambda: MongoDB(plan.source)) as database:
        yield database


def keep_open(seconds: float) -> None:
    """From now on this process keeps states and sources open so long after their last use."""
    _STATES.keep(seconds)
    _SOURCES.keep(seconds)
