"""Whether a place that exists fits what documents make of it: what `check` finds where a backfill would stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.connect.design import design_place, survey_size
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.quantities import counted
from mappers.contract import Record
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.contract.target import Plannable, Target
from stores.errors import OfframpError, PlanError
from stores.mongodb.database import MongoDB

_LOOKED_AT = 1_000
"""Documents of a route: a backfill may look at all of them."""
_ROUTES_AT_ONCE = 2
"""A census of a thousand documents may take megabytes."""


def find_misfits(
    plan: Plan,
    routes: Sequence[Route],
    designs: Mapping[str, Mapping[str, Any]],
    *,
    stop: Stop = NEVER,
    observer: StepObserver = lambda *_: None,
) -> Mapping[str, PlanError | str]:
    """Return by route why its place, which exists, does not fit: a fault, or a note where a sample alone says so.

    `designs` are those on record. Raises TransientError E-STOPPED once `stop` is set.
    """
    with open_source(plan) as database:
        found = take_step(
            *(
                "comparing places that exist",
                routes,
                lambda route: _misfit(route, database, designs.get(route.name), stop),
            ),
            stop=stop,
            observer=observer,
            abandons=True,
            at_once=_ROUTES_AT_ONCE,
        )
    misfits: dict[str, PlanError | str] = {}
    for name, outcome in found.items():
        if isinstance(outcome, OfframpError) and not isinstance(outcome, PlanError):
            if outcome.code == STOPPED:
                raise outcome
            misfits[name] = f"whether its place fits the documents was not found out ({outcome.code})"
        elif outcome is not None:
            misfits[name] = outcome
    return misfits


def _misfit(route: Route, database: MongoDB, design: Mapping[str, Any] | None, stop: Stop) -> PlanError | str | None:
    target = route.target()
    try:
        if design is not None:
            return _fault(target, design)
        documents = survey_size(route, target)
        if documents is None:
            return None
        source = route.source(database)
        looked_at = min(documents or _LOOKED_AT, _LOOKED_AT)
        fault: PlanError | None
        try:
            design = design_place(route, source, target, stop=stop, documents=looked_at)
            fault = None if design is None else _fault(target, design)
        except PlanError as error:
            fault = error
        if fault is None or source.estimate() <= looked_at:
            return fault
        return f"by {counted(looked_at, 'document')} looked at, {fault.message}"
    finally:
        target.close()


def _fault(target: Target[Record], design: Mapping[str, Any]) -> PlanError | None:
    """Return how the place differs from this design, None if it does not."""
    if not isinstance(target, Plannable):
        return None
    target.follow(design)
    try:
        target.check()
    except PlanError as error:
        return error
    return None
