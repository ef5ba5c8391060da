"""What `offramp check` finds of a plan: its routes and stores, its state and the folder of its reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.connect import preflight
from flows.connect.expires_from_index import resolve_expires
from flows.connect.field_check import unknown_field_notes
from flows.connect.preflight import CHECKING, RouteCheck, RouteFaults, join_errors
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.replication.forecast import sync_notes
from flows.reporting.files import refuse_unwritable, unwritable
from flows.reporting.private_files import would_be_private
from stores.contract.stop import Stop
from stores.errors import OfframpError, PlanError
from stores.mongodb.configuration import transport_notes
from stores.state import database
from stores.state.state import State


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """What was looked at, what a person should know of it, and what is wrong."""

    plan: str
    routes: Sequence[RouteCheck]
    source: str
    """The source's product, version, hosts and database; "" where it could not be asked."""
    state: str
    """The state's place, and what is in it."""
    report: str
    """The folder of the reports."""
    notes: Sequence[str]
    """What a person should know of the plan as a whole; notes of a route are in `routes`."""
    error: OfframpError | None
    """The faults of all of it as one error, which decides the exit code; notes do not."""


def check_plan(plan: Plan, routes: Sequence[Route], folder: Path, stop: Stop, observer: StepObserver) -> PlanCheck:
    """Return what was found; a store that is away keeps nothing else from being looked at. Changes nothing.

    `folder` is where the reports go. Raises TransientError E-STOPPED once `stop` is set.
    """
    source, source_error = _ask_source(plan, routes, stop)
    outcomes = preflight.check_each(
        plan, routes, stop=stop, observer=observer, source_error=source_error, describe=True
    )
    wrong = [outcome for outcome in outcomes.values() if isinstance(outcome, RouteFaults)]
    checks = [_found(outcomes[route.name], route) for route in routes]
    if source_error is None:
        documents = {checked.route: checked.documents for checked in checks}
        told = sync_notes(plan, routes, documents, stop=stop, observer=observer)
        fields = unknown_field_notes(plan, routes, stop=stop, observer=observer)
        checks = [
            replace(checked, notes=[*checked.notes, *told[checked.route], *fields[checked.route]]) for checked in checks
        ]
        checks = [_with_emptiness(checked, route) for checked, route in zip(checks, routes, strict=True)]
    state, faults, state_notes = _examine_state(plan, routes, {checked.route: checked for checked in checks})
    checks = [replace(each, notes=[*each.notes, *state_notes.get(each.route, ())]) for each in checks]
    report, report_faults = _examine_folder(folder)
    if faults or report_faults:
        wrong.append(RouteFaults([*faults, *report_faults]))
    notes = list(transport_notes(plan.source.uri))
    return PlanCheck(plan.name, checks, source, state, report, notes, join_errors(wrong) if wrong else None)


def _ask_source(plan: Plan, routes: Sequence[Route], stop: Stop) -> tuple[str, OfframpError | None]:
    """Return what the source says of itself, or why it cannot be asked; with E-STOPPED once `stop` is set."""

    def ask(_: Route) -> str:
        with open_source(plan) as database:
            version = database.facts([]).version
            return f"MongoDB {version} at {database.hosts()}, database {plan.source.database}"

    # Asked for one route, as it is the same for all; a step can be left to itself while the source says nothing.
    (answer,) = take_step(CHECKING, routes[:1], ask, stop=stop, abandons=True).values()
    return ("", answer) if isinstance(answer, OfframpError) else (answer, None)


def _found(outcome: RouteCheck | RouteFaults, route: Route) -> RouteCheck:
    """Return what was found of a route, its faults or not."""
    found = outcome.found if isinstance(outcome, RouteFaults) else outcome
    return found or RouteCheck(route.name, route.collection, route.target_name, route.mapper_name, 0, [])


def _with_emptiness(checked: RouteCheck, route: Route) -> RouteCheck:
    if checked.documents or route.where:
        return checked
    return replace(checked, notes=[*checked.notes, f"{route.collection} seems to hold no documents, or is a view"])


def _examine_state(
    plan: Plan, routes: Sequence[Route], checks: Mapping[str, RouteCheck]
) -> tuple[str, list[PlanError], Mapping[str, Sequence[str]]]:
    """Return what the state is, its faults, and by route what it knows of earlier runs; makes and changes nothing."""
    place = plan.state.partition(":///")[2]
    try:
        if not database.exists(plan.state):
            return f"{place}: not there yet; a run makes it", [], {}
        state = State(plan.state, plan.name, plan.run.lease_s, read_only=True)
    except PlanError as error:
        return f"{place}: cannot be used", [error], {}
    try:
        resolved = [resolve_expires(route, checks[route.name].expires) for route in routes]
        faults = [fault for route in resolved for fault in preflight.find_changes(state, route, checks[route.name])]
        notes = {route.name: list(_known(state, route)) for route in routes}
    except OfframpError as error:
        return f"{place}: cannot be read", [PlanError(error.code, error.message)], {}
    finally:
        state.close()
    begun = sum(1 for route in routes if notes[route.name])
    return f"{place}: knows {begun} of {len(routes)} routes", faults, notes


def _known(state: State, route: Route) -> Iterator[str]:
    holder = state.leases.holder(route.name)
    if holder:
        yield f"a run is at work on it now ({holder}); another has to wait until it ends"
    copied = preflight.is_copied(state, route)
    if copied is not None:
        yield "was copied by an earlier run" if copied else "was begun by an earlier run, which backfill resumes"


def _examine_folder(folder: Path) -> tuple[str, list[PlanError]]:
    """Return what the folder of the reports is, and its faults; makes nothing."""
    try:
        if folder.exists():
            refuse_unwritable(folder)
            return f"{folder}: can be written to", []
        would_be_private(folder)
    except PlanError as error:
        return f"{folder}: cannot be written to", [error]
    except OSError as error:
        return f"{folder}: cannot be written to", [unwritable(folder, error)]
    return f"{folder}: not there yet; a run makes it", []
