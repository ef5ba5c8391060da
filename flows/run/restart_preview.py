"""What `backfill --restart` would delete of each route, found out without writing to a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flows.connect.design import design_place
from flows.connect.preflight import RouteFaults, join_errors
from flows.connect.progress import SILENT, RunObserver
from flows.connect.remaking import find_obsolete_places
from flows.connect.session import Session, open_session
from flows.connect.staging import refuse_occupied
from flows.connect.stores import build_projection, open_source, with_design
from flows.plan.model import Plan, Route
from flows.replication.sweep import count_unmapped
from flows.reporting.model import Swept
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Inspectable, Listable
from stores.errors import OfframpError, PlanError
from stores.mongodb.database import MongoDB


@dataclass(frozen=True, slots=True)
class Preview:
    """What a restart would do to what is in a route's target."""

    route: str
    swept: Swept | None = None
    """What it would delete and leave; None where it would not look, or could not be found out."""
    is_first: bool = False
    """Whether no run of this plan wrote to the route's target, so that nothing is deleted."""
    remakes: bool = False
    """Whether the place is empty, was made by this plan with another key, and would be removed and made anew."""
    unlisted: bool = False
    """Whether the target cannot list what it holds, so that whatever is gone stays in it."""
    failure: str = ""
    """Why it could not be found out, "" if it was."""

    def as_json(self) -> dict[str, Any]:
        """Return the preview as `offramp backfill --restart --dry-run --json` prints it."""
        return asdict(self)


def preview_restart(
    plan: Plan, routes: Sequence[Route], *, stop: Stop = NEVER, observer: RunObserver = SILENT
) -> list[Preview]:
    """Return what a restart would delete of each route, in their order; no target is written, nor what is on record.

    Each source is read whole and each target listed. Raises what the restart would: PlanError if a route cannot be
    served, TransientError if another run is at work on one of them. A store that fails later is the `failure` of its
    route.
    """
    remade = find_obsolete_places(plan, routes)
    others = [route for route in routes if route.name not in remade]
    previews = {name: Preview(name, remakes=True) for name in remade}
    if others:
        with (
            open_session(plan, others, restart=True, observer=observer, stop=stop) as session,
            open_source(plan) as database,
        ):
            found = session.steps.take(
                "looking for what would be deleted",
                session.routes,
                lambda route: _preview(session, route, database, stop),
            )
        if wrong := [RouteFaults(name, [each]) for name, each in found.items() if isinstance(each, PlanError)]:
            raise join_errors(wrong)
        for name, outcome in found.items():
            if isinstance(outcome, OfframpError):
                previews[name] = Preview(name, failure=str(outcome))
            else:
                previews[name] = outcome
    return [previews[route.name] for route in routes]


def _preview(session: Session, route: Route, database: MongoDB, stop: Stop) -> Preview:
    state = session.state
    refuse_occupied(route)
    if state.partitions.route(route.name) is None and not state.sync_positions.sweep_due(route.name):
        return Preview(route.name, is_first=True)
    source, target = route.source(database), route.target()
    try:
        # As a restart does: the place is designed from the documents that there are now.
        design = design_place(route, source, target, stop=stop)
        with_design(target, design)
        if not isinstance(target, Listable):
            return Preview(route.name, unlisted=True)
        if isinstance(target, Inspectable) and target.inspect_place().exists is False:
            return Preview(route.name, Swept())
        projection = build_projection(route, target, design, session.checked[route.name].id_kind)
        return Preview(route.name, count_unmapped(source, projection, target, stop=stop))
    finally:
        target.close()
