"""How the source, the target and the state of a plan are opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from flows.copying.projection import Projection, route_projection
from flows.plan.model import Plan, Route
from mappers.census import Designer
from mappers.contract import Losses, Record
from stores.contract.source import Source
from stores.contract.target import Plannable, Target
from stores.mongodb.database import MongoDB
from stores.state.state import State

_Follower = TypeVar("_Follower")


def following(follower: _Follower, design: Mapping[str, Any] | None) -> _Follower:
    """Return the target or mapper, told to follow the design if there is one and it can."""
    if design is not None and isinstance(follower, Plannable | Designer):
        follower.follow(design)
    return follower


def projected(
    route: Route, target: Target[Record], design: Mapping[str, Any] | None, id_kind: str | None = None
) -> Projection:
    """Return how the route's documents become records of its target, by the design; `id_kind` as `route_projection`."""
    mapper = following(route.mapper(losses := Losses()), design)
    return route_projection(route, target.records, mapper, losses, id_kind)


@contextmanager
def opened_target(route: Route, state: State) -> Iterator[Target[Record]]:
    """Give the route's target, following its design, for the length of the body."""
    target = following(route.target(), state.designs.get(route.name))
    try:
        yield target
    finally:
        target.close()


def reading(state: State, route: Route, database: MongoDB) -> Source:
    """Return the route's documents, none of them as it was before the position from which changes follow (R102)."""
    source = route.source(database)
    sync_state = state.sync_positions.get(route.name)
    if sync_state is not None and route.keys.sync == "stream":
        source.advance(sync_state.position.time)
    return source


@contextmanager
def opened_state(plan: Plan) -> Iterator[State]:
    """Give the plan's state for the length of the body."""
    state = State(plan.state, plan.name, plan.run.lease_s)
    try:
        yield state
    finally:
        state.close()


@contextmanager
def opened_source(plan: Plan) -> Iterator[MongoDB]:
    """Give the plan's source for the length of the body."""
    database = MongoDB(plan.source)
    try:
        yield database
    finally:
        database.close()
