"""What `offramp check` finds of a plan: its routes and stores, its state and the folder of its reports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace

from flows.connect import preflight
from flows.connect.expires_from_index import resolve_expires
from flows.connect.field_check import MappingNeeds, check_documents
from flows.connect.place_fit import find_misfits
from flows.connect.preflight import RouteCheck, RouteFaults, join_errors
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.sample_mapping import SampleMapping
from flows.connect.stores import open_source
from flows.plan.cluster_address import address_notes
from flows.plan.model import Plan, Route
from flows.quantities import counted, number
from flows.replication.forecast import sync_notes
from flows.reporting.files import Folder, refuse_unwritable, unwritable
from flows.reporting.private_files import would_be_private
from mappers.contract import option_declarations
from mappers.expiry import FROM_INDEX
from stores.contract.stop import Stop
from stores.errors import OfframpError, PlanError, TransientError
from stores.mongodb.configuration import transport_notes
from stores.s3_folder import S3Folder
from stores.state.backend import Backend
from stores.state.database import backend
from stores.state.state import State
from stores.state.upgrade import NotReadyError

_ASKING_SOURCE = "asking the source"
_PATIENCE_S = 5.0
"""How long `check` waits for a target: a wrong host name should not take the whole retry deadline."""


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


@dataclass(frozen=True, slots=True)
class _StateCheck:
    """What a look at the state came to."""

    summary: str
    wrong: Sequence[RouteFaults] = ()
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What it knows of earlier runs, by route."""
    designs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The designs of places that are on record, by route."""
    transport_notes: Sequence[str] = ()
    """What a person should know of the way to it."""


def check_plan(plan: Plan, routes: Sequence[Route], folder: Folder, stop: Stop, observer: StepObserver) -> PlanCheck:
    """Return what was found; a store that is away keeps nothing else from being looked at. Changes nothing.

    `folder` is where the reports go. Raises TransientError E-STOPPED once `stop` is set.
    """
    observer(_ASKING_SOURCE, 0, len(routes), "")
    source, source_error = _ask_source(plan, routes, stop)
    with open_source(plan) if source_error is None else nullcontext() as opened:  # So that each look finds it open.
        checked = _look(plan, routes, folder, stop, observer, source, source_error)
        return replace(checked, notes=[*(opened.differences() if opened is not None else ()), *checked.notes])


def _impatient(route: Route) -> Route:
    """Return the route with a target that is not waited for as a run waits: a person looks at what is there now."""
    deadline_s = getattr(route.connection, "retry_deadline_s", None)
    if deadline_s is None:  # The connection of a target of one's own, without such a key.
        return route
    return replace(route, connection=replace(route.connection, retry_deadline_s=min(_PATIENCE_S, deadline_s)))


def _look(
    plan: Plan,
    routes: Sequence[Route],
    folder: Folder,
    stop: Stop,
    observer: StepObserver,
    source: str,
    source_error: OfframpError | None,
) -> PlanCheck:
    """Return what was found once the source was asked; see `check_plan`."""
    routes = [_impatient(route) for route in routes]
    outcomes = preflight.check_each(
        plan, routes, stop=stop, observer=observer, source_error=source_error, describe=True
    )
    wrong = [outcome for outcome in outcomes.values() if isinstance(outcome, RouteFaults)]
    faulty = {each.route for each in wrong if each.faults}  # What is wrong may decide how documents are mapped.
    found = {route.name: _found(outcomes[route.name], route) for route in routes}
    state = _examine_state(plan, routes, found)
    report, report_faults = _examine_folder(folder)
    readable = [route for route in routes if found[route.name].documents is not None]
    by_route: list[Mapping[str, Sequence[str]]] = []
    if source_error is None:
        documents = {name: checked.expected for name, checked in found.items()}
        existing = [route for route in readable if _exists(found[route.name])]
        misfits = find_misfits(plan, existing, state.designs, stop=stop, observer=observer)
        wrong += [RouteFaults(name, [misfit]) for name, misfit in misfits.items() if isinstance(misfit, PlanError)]
        synced = sync_notes(plan, readable, documents, stop=stop, observer=observer)
        needs = _mapping_needs([route for route in readable if route.name not in faulty], found, state.designs)
        looks = check_documents(plan, readable, needs, stop=stop, observer=observer)
        wrong += [RouteFaults(name, faults) for name, look in looks.items() if (faults := _hopeless(look.mapped))]
        found = {
            name: replace(checked, mapped=looks[name].mapped) if name in looks else checked
            for name, checked in found.items()
        }
        by_route += [
            synced,
            {name: [*look.notes, *_rejects_note(look.mapped)] for name, look in looks.items()},
            {route.name: _emptiness(route, documents[route.name]) for route in readable},
            {name: [misfit] for name, misfit in misfits.items() if isinstance(misfit, str)},
        ]
    by_route.append(state.notes)
    wrong += [*state.wrong, *([RouteFaults("", report_faults)] if report_faults else ())]
    return PlanCheck(
        plan=plan.name,
        routes=[_with_notes(checked, (notes.get(name, ()) for notes in by_route)) for name, checked in found.items()],
        source=source,
        state=state.summary,
        report=report,
        notes=[*transport_notes(plan.source.uri), *state.transport_notes, *address_notes(plan.run.address, os.environ)],
        error=join_errors(wrong) if wrong else None,
    )


def _ask_source(plan: Plan, routes: Sequence[Route], stop: Stop) -> tuple[str, OfframpError | None]:
    """Return what the source says of itself, or why it cannot be asked; with E-STOPPED once `stop` is set."""

    def ask(_: Route) -> str:
        with open_source(plan) as source:
            version = source.facts([], at_once=True).version
            flavour = source.flavour(at_once=True)
            product = f"MongoDB {version}" if flavour.product == "mongodb" else flavour.describe()
            return f"{product} at {source.hosts()}, database {plan.source.database}"

    # Asked for one route, as it is the same for all; a step can be left to itself while the source says nothing.
    (answer,) = take_step(preflight.CHECKING, routes[:1], ask, stop=stop, abandons=True).values()
    return ("", answer) if isinstance(answer, OfframpError) else (answer, None)


def _found(outcome: RouteCheck | RouteFaults, route: Route) -> RouteCheck:
    """Return what was found of a route, its faults or not."""
    found = outcome.found if isinstance(outcome, RouteFaults) else outcome
    return found or RouteCheck(route.name, route.collection, route.target_name, route.mapper_name, None, [])


def _exists(checked: RouteCheck) -> bool:
    return checked.place is not None and checked.place.exists is True


def _with_notes(checked: RouteCheck, notes: Iterable[Sequence[str]]) -> RouteCheck:
    return replace(checked, notes=[*checked.notes, *(note for each in notes for note in each)])


def _mapping_needs(
    routes: Sequence[Route],
    found: Mapping[str, RouteCheck],
    designs: Mapping[str, Mapping[str, object]],
) -> Mapping[str, MappingNeeds]:
    """Return what is needed to map documents of the routes; one whose TTL index is unknown is left out."""
    needs: dict[str, MappingNeeds] = {}
    for route in routes:
        resolved = resolve_expires(route, found[route.name].expires)
        if option_declarations(resolved.options).expires != FROM_INDEX:
            needs[route.name] = MappingNeeds(resolved, found[route.name].id_kind, designs.get(route.name))
    return needs


def _rejects_note(mapped: SampleMapping | None) -> Sequence[str]:
    """Return a note of the documents that cannot be copied, where some can."""
    return [mapped.describe()] if mapped is not None and mapped.rejected and not mapped.is_hopeless else []


def _hopeless(mapped: SampleMapping | None) -> Sequence[PlanError]:
    """Return a fault where no document that was looked at can be copied."""
    return [PlanError("E-REJECTS-ALL", mapped.describe())] if mapped is not None and mapped.is_hopeless else []


def _emptiness(route: Route, documents: int) -> Sequence[str]:
    empty = not documents and not route.where
    return [f"{route.collection} seems to hold no documents, or is a view"] if empty else []


def _examine_state(plan: Plan, routes: Sequence[Route], checks: Mapping[str, RouteCheck]) -> _StateCheck:
    """Return what the state is, its faults, and what it knows of earlier runs; makes and changes nothing."""
    try:
        database = backend(plan.state)
    except PlanError as error:
        return _StateCheck("the state: cannot be used", [RouteFaults("", [error])])
    found = _look_into_state(plan, routes, checks, database)
    return replace(found, transport_notes=list(database.transport_notes()))


def _look_into_state(
    plan: Plan, routes: Sequence[Route], checks: Mapping[str, RouteCheck], database: Backend
) -> _StateCheck:
    """Return what the state on this database is, but for the way to it."""
    place = database.place
    try:
        with closing(database):
            if not database.exists():
                return _StateCheck(f"{place}: not there yet; {database.what_a_run_makes()}")
        state = State(plan.state, plan.name, plan.run.lease_s, read_only=True)
    except NotReadyError as error:
        return _StateCheck(f"{place}: {error.message}")
    except PlanError as error:
        return _StateCheck(f"{place}: cannot be used", [RouteFaults("", [error])])
    except TransientError as error:
        return _StateCheck(f"{place}: cannot be used now", [RouteFaults("", [], [error])])
    try:
        resolved = [resolve_expires(route, checks[route.name].expires) for route in routes]
        changes = {route.name: preflight.find_changes(state, route, checks[route.name]).faults for route in resolved}
        notes = {route.name: list(_known(state, route)) for route in routes}
        designs = {route.name: design for route in routes if (design := state.designs.get(route.name)) is not None}
    except OfframpError as error:
        fault = PlanError(error.code, error.message)
        return _StateCheck(f"{place}: cannot be read", [RouteFaults("", [fault])])
    finally:
        state.close()
    begun = sum(1 for route in routes if notes[route.name])
    wrong = [RouteFaults(name, faults) for name, faults in changes.items() if faults]
    return _StateCheck(
        f"{place}: has earlier runs of {number(begun)} of {counted(len(routes), 'route')}", wrong, notes, designs
    )


def _known(state: State, route: Route) -> Iterator[str]:
    holder = state.leases.holder(route.name)
    if holder:
        yield f"a run is at work on it now ({holder}); another has to wait until it ends"
    copied = preflight.is_copied(state, route)
    if copied is not None:
        yield "was copied by an earlier run" if copied else "was begun by an earlier run, which backfill resumes"


def _examine_folder(folder: Folder) -> tuple[str, list[PlanError]]:
    """Return what the folder of the reports is, and its faults; makes nothing."""
    try:
        if isinstance(folder, S3Folder) or folder.exists():
            refuse_unwritable(folder)
            return f"{folder}: can be written to", []
        would_be_private(folder)
    except PlanError as error:
        return f"{folder}: cannot be written to", [error]
    except OSError as error:
        return f"{folder}: cannot be written to", [unwritable(folder, error)]
    return f"{folder}: not there yet; a run makes it", []
