"""The checks of a plan's routes before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from flows.connect.expires_from_index import describe_rule, read_ttl_rule
from flows.connect.key_proof import KeyProof, prove_keys
from flows.connect.moved_server import find_moved
from flows.connect.plain_ids import prove_id_kind, refuse_other_id_kind
from flows.connect.plan_changes import changed_keys
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.sample_mapping import SampleMapping
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.quantities import named, number
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.contract.target import Inspectable, Place
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.mongodb.database import MongoDB
from stores.state.state import State

CHECKING = "checking"
"""The step, as a person is shown it."""


@dataclass(frozen=True, slots=True)
class RouteCheck:
    """What was found of a route."""

    route: str
    collection: str
    target: str
    mapper: str
    documents: int | None
    """The source's estimate; None where the source was not asked, or did not answer."""
    notes: Sequence[str]
    id_kind: str = ""
    """The one kind of `_id` there is, where `id_encoding: plain` asked for the proof."""
    expires: IndexExpires | None = None
    """What the TTL indexes say, where `expires: from_index` asked."""
    place: Place | None = None
    """What the target says of the route's place, where it was asked and can."""
    looked_at: int = 0
    """The documents that were read to judge the plan."""
    mapped: SampleMapping | None = None
    """What became of documents that were mapped as a copy maps them; None where none were."""

    @property
    def expected(self) -> int:
        """The source's estimate, 0 where there is none."""
        return self.documents or 0


@dataclass(frozen=True, slots=True)
class RouteFaults:
    """Why a route cannot be served."""

    route: str
    """The route's name; "" where the faults are of no route, such as those of the state."""
    faults: Sequence[PlanError]
    """What is wrong with the plan or with what it points at."""
    failures: Sequence[OfframpError] = ()
    """The errors of stores that did not answer."""
    found: RouteCheck | None = None
    """What was found of the route all the same."""

    def error(self) -> OfframpError:
        """Return one error for all of them."""
        return join_errors([self])


def check_each(
    plan: Plan,
    routes: Sequence[Route],
    *,
    stop: Stop = NEVER,
    observer: StepObserver = lambda *_: None,
    source_error: OfframpError | None = None,
    describe: bool = False,
) -> Mapping[str, RouteCheck | RouteFaults]:
    """Return what was found of each route by itself, or what is wrong with it. Writes nothing.

    With a `source_error`, that of a source known to be away, the source is not asked. With `describe` targets that can
    also say what is at their places. Raises TransientError E-STOPPED once `stop` is set; requests under way are then
    left to themselves.
    """
    with ExitStack() as closing:
        database = None if source_error is not None else closing.enter_context(open_source(plan))
        checking = _Checking(database, source_error, describe)
        outcomes = take_step(*(CHECKING, routes, checking.check), stop=stop, observer=observer, abandons=True)
    raise_if_stopped(stop, f"stopped by a signal while {CHECKING}; nothing was written")
    return {
        name: RouteFaults(name, (), [outcome]) if isinstance(outcome, OfframpError) else outcome
        for name, outcome in outcomes.items()
    }


class _Checking:
    """The checks of routes, several at a time; a store that is away keeps none waiting that asks it later."""

    def __init__(self, database: MongoDB | None, source_error: OfframpError | None, describe: bool) -> None:
        self._database = database
        self._describe = describe
        self._away: dict[str, OfframpError] = {} if source_error is None else {_SOURCE: source_error}
        """The errors of targets, by name, and of the source that do not answer."""

    def check(self, route: Route) -> RouteCheck | RouteFaults:
        """Return what was found of the route, or what is wrong with it."""
        asking = _Asking(self._away)
        target, database = route.target(), self._database
        source = route.source(database) if database is not None else None
        proof: KeyProof | None = None
        kind: str | None = None
        rule: IndexExpires | None = None
        documents: int | None = None
        notes = [] if source is None else [*(asking.ask(_SOURCE, source.check) or ())]
        notes += asking.ask(route.target_name, target.check) or ()
        place = None
        if self._describe and isinstance(target, Inspectable):
            place = asking.ask(route.target_name, target.inspect_place)
        target.close()
        if database is not None and source is not None:
            proof = asking.ask(_SOURCE, lambda: prove_keys(route, source))
            if proof is not None and proof.fault is not None:
                asking.faults.append(proof.fault)
            kind = asking.ask(_SOURCE, lambda: prove_id_kind(route, database))
            rule = asking.ask(_SOURCE, lambda: read_ttl_rule(route, database))
            if self._describe or not (asking.faults or asking.failures):
                documents = asking.ask(_SOURCE, source.estimate)
        else:
            asking.failures.append(self._away[_SOURCE])
        found = RouteCheck(
            route=route.name,
            collection=route.collection,
            target=route.target_name,
            mapper=route.mapper_name,
            documents=documents,
            notes=[*notes, *([proof.note] if proof is not None and proof.note else ()), *describe_rule(rule)],
            id_kind=kind or "",
            expires=rule,
            place=place,
            looked_at=0 if proof is None else proof.documents,
        )
        if asking.faults or asking.failures:
            return RouteFaults(route.name, asking.faults, asking.failures, found)
        return found


_SOURCE = ""
"""The source among the names of targets."""
_AWAY_FOR_ALL = frozenset(("E-SRC-TLS", "E-SRC-SERVER", "E-SRC-SRV"))
"""Lasting errors of a server, not of what a route wants from it."""

T = TypeVar("T")


class _Asking:
    """Questions to the stores of a route; their errors are kept, not raised."""

    def __init__(self, away: dict[str, OfframpError]) -> None:
        self._away = away
        self.faults: list[PlanError] = []
        self.failures: list[OfframpError] = []

    def ask(self, store: str, question: Callable[[], T]) -> T | None:
        """Return the answer, None for an error; a store that is away is not asked again."""
        try:
            if store in self._away:
                raise self._away[store]
            return question()
        except PlanError as error:
            self.faults.append(error)
        except OfframpError as error:
            self.failures.append(error)
            if isinstance(error, TransientError) or error.code in _AWAY_FOR_ALL:
                self._away[store] = error
        return None


def join_errors(wrong: Sequence[RouteFaults]) -> OfframpError:
    """Return one error for what is wrong with these routes: a PlanError with all of it if there is any fault.

    Each fault is in it once, with the routes that have it, and the error of a store that several routes share once.
    """
    routes: dict[tuple[str, str], list[str]] = {}
    for each in wrong:
        for fault in each.faults:
            names = routes.setdefault((fault.code, fault.message), [])
            if each.route and each.route not in names:
                names.append(each.route)
    faults = [PlanError(code, f"{_routes(names)}{message}") for (code, message), names in routes.items()]
    failures = list({str(error): error for each in wrong for error in each.failures}.values())
    if faults:
        return join_faults([*faults, *(PlanError(error.code, error.message) for error in failures)])
    if len(failures) == 1:
        return failures[0]
    lasting = any(isinstance(error, PermanentError) for error in failures)
    return (PermanentError if lasting else TransientError)(
        "E-STORES", f"{number(len(failures))} stores cannot be used; nothing has been written", [*map(str, failures)]
    )


def _routes(names: list[str]) -> str:
    """Return the routes as a fault begins with them."""
    return f"route{'s' if len(names) > 1 else ''} {named(names)}: " if names else ""


def join_faults(faults: Sequence[PlanError]) -> PlanError:
    """Return one PlanError that lists all of these."""
    if len(faults) == 1:
        return faults[0]
    return PlanError("E-PLAN", f"{number(len(faults))} faults; nothing has been written", [*map(str, faults)])


def total_tally(state: State, route: Route) -> Tally:
    """Return what became of the route's documents so far."""
    total = Tally()
    for part in state.partitions.of_route(route.name):
        total.add(part.tally)
    return total


def is_copied(state: State, route: Route) -> bool | None:
    """Return whether every partition of the route was copied to its end; None for a route that was never begun."""
    if state.partitions.route(route.name) is None:
        return None
    return not state.partitions.unfinished(route.name)


@dataclass(frozen=True, slots=True)
class RouteChanges:
    """What has changed in a route since it was begun."""

    faults: Sequence[PlanError] = ()
    """Why it cannot go on."""
    moved: Mapping[str, Any] | None = None
    """The design of its place, to be recorded, where its target's server has another address and is the same."""


def find_changes(state: State, route: Route, found: RouteCheck) -> RouteChanges:
    """Return a fault if the route was begun under a plan that makes other records or puts them elsewhere (R137).

    Another is that its ids are of another kind than those copied. A server that is recognized at another address is
    none; see `moved_server`.
    """
    known = state.partitions.route(route.name)
    if known is None:
        return RouteChanges()
    faults: list[PlanError] = []
    moved: Mapping[str, Any] | None = None
    changes = "; ".join(changed_keys(known.fingerprint, route.fingerprint(known.fingerprint)))
    if changes and (moved := find_moved(state, route, known.fingerprint)) is None:
        faults.append(
            PlanError(
                "E-CONFIG-CHANGED",
                f"the plan has changed since its run began: {changes}. What was written under the old plan would stay"
                " beside the new: undo the change, or start over with backfill --restart",
            )
        )
    try:
        refuse_other_id_kind(route, found.id_kind, total_tally(state, route).id_types)
    except PlanError as error:
        faults.append(error)
    return RouteChanges(faults, moved)
