"""The checks of a plan's routes before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from flows.connect.expires_from_index import describe_rule, read_ttl_rule
from flows.connect.key_proof import KeyProof, prove_keys
from flows.connect.plain_ids import prove_id_kind, refuse_other_id_kind
from flows.connect.plan_changes import changed_keys
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.contract.target import Inspectable, Place
from stores.errors import OfframpError, PlanError, TransientError
from stores.mongodb.database import MongoDB
from stores.state.state import State

CHECKING = "checking"
"""The step, as a person is shown it."""


@dataclass(frozen=True, slots=True)
class RouteCheck:
    """What `check` found of a route that can be served."""

    route: str
    collection: str
    target: str
    mapper: str
    documents: int
    """The source's estimate."""
    notes: Sequence[str]
    id_kind: str = ""
    """The one kind of `_id` there is, where `id_encoding: plain` asked for the proof."""
    expires: IndexExpires | None = None
    """What the TTL indexes say, where `expires: from_index` asked."""
    place: Place | None = None
    """What the target says of the route's place, where it was asked and can."""
    looked_at: int = 0
    """The documents that were read to judge the plan."""


@dataclass(frozen=True, slots=True)
class RouteFaults:
    """Why a route cannot be served."""

    faults: Sequence[PlanError]
    """What is wrong with the plan or with what it points at."""
    failures: Sequence[OfframpError] = ()
    """The errors of stores that did not answer."""
    found: RouteCheck | None = None
    """What was found of the route all the same."""

    def error(self) -> OfframpError:
        """Return one error for all of them."""
        return join_errors([self])


def check(
    plan: Plan, routes: Sequence[Route], *, stop: Stop = NEVER, observer: StepObserver = lambda *_: None
) -> list[RouteCheck]:
    """Return what was found of each route; raises PlanError with every fault. Writes nothing.

    Raises TransientError if a store does not answer, or once `stop` is set.
    """
    outcomes = check_each(plan, routes, stop=stop, observer=observer).values()
    if wrong := [outcome for outcome in outcomes if isinstance(outcome, RouteFaults)]:
        raise join_errors(wrong)
    return [outcome for outcome in outcomes if isinstance(outcome, RouteCheck)]


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
        name: RouteFaults((), [outcome]) if isinstance(outcome, OfframpError) else outcome
        for name, outcome in outcomes.items()
    }


class _Checking:
    """The checks of routes, several at a time; a store that is away keeps none waiting that asks it later."""

    def __init__(self, database: MongoDB | None, source_error: OfframpError | None, describe: bool) -> None:
        self._database = database
        self._describe = describe
        self._away: dict[str, OfframpError] = {} if source_error is None else {"": source_error}
        """The errors of targets, by name, and of the source, "", that do not answer."""

    def check(self, route: Route) -> RouteCheck | RouteFaults:
        """Return what was found of the route, or what is wrong with it."""
        faults: list[PlanError] = []
        failures: dict[str, OfframpError] = {}
        notes: list[str] = []
        proofs: list[KeyProof] = []
        kinds: list[str] = []
        rules: list[IndexExpires | None] = []
        places: list[Place] = []
        estimates: list[int] = []
        target, database = route.target(), self._database
        source = route.source(database) if database is not None else None

        def ask(store: str, question: Callable[[], object]) -> None:
            """Note the errors of a question to a store; after an error of a store that is away it is not asked."""
            known = self._away.get(store)
            if known is not None:
                failures.setdefault(str(known), known)
                return
            with _noted(route, faults, failures):
                try:
                    question()
                except OfframpError as error:
                    if isinstance(error, TransientError) or error.code in _AWAY_FOR_ALL:
                        self._away[store] = error
                    raise

        if source is not None:
            ask("", lambda: notes.extend(source.check()))
        ask(route.target_name, lambda: notes.extend(target.check()))
        if self._describe and isinstance(target, Inspectable):
            ask(route.target_name, lambda: places.append(target.inspect_place()))
        if database is not None and source is not None:
            ask("", lambda: proofs.append(prove_keys(route, source)))
            if proofs and proofs[0].fault is not None:
                faults.append(PlanError(proofs[0].fault.code, f"route {route.name}: {proofs[0].fault.message}"))
            ask("", lambda: kinds.append(prove_id_kind(route, database)))
            ask("", lambda: rules.append(read_ttl_rule(route, database)))
            if self._describe or not (faults or failures):
                ask("", lambda: estimates.append(source.estimate()))
        else:
            ask("", lambda: None)
        target.close()
        rule = rules[0] if rules else None
        found = RouteCheck(
            route=route.name,
            collection=route.collection,
            target=route.target_name,
            mapper=route.mapper_name,
            documents=estimates[0] if estimates else 0,
            notes=[*notes, *(proof.note for proof in proofs if proof.note), *describe_rule(rule)],
            id_kind=kinds[0] if kinds else "",
            expires=rule,
            place=places[0] if places else None,
            looked_at=proofs[0].documents if proofs else 0,
        )
        return RouteFaults(faults, list(failures.values()), found) if faults or failures else found


_AWAY_FOR_ALL = frozenset(("E-SRC-TLS", "E-SRC-SERVER", "E-SRC-SRV"))
"""Lasting errors of a server, not of what a route wants from it."""


@contextmanager
def _noted(route: Route, faults: list[PlanError], failures: dict[str, OfframpError]) -> Iterator[None]:
    """What the body raises is added to the faults of the plan, or to the stores that do not answer."""
    try:
        yield
    except PlanError as error:
        faults.append(PlanError(error.code, f"route {route.name}: {error.message}"))
    except OfframpError as error:
        failures.setdefault(str(error), error)


def join_errors(routes: Sequence[RouteFaults]) -> OfframpError:
    """Return one error for what is wrong with these routes: a PlanError with all of it if there is any fault.

    An error of a store that several routes share is in it once.
    """
    failures = {str(error): error for route in routes for error in route.failures}
    if faults := [fault for route in routes for fault in route.faults]:
        return join_faults([*faults, *(PlanError(error.code, error.message) for error in failures.values())])
    return next(iter(failures.values()))


def join_faults(faults: Sequence[PlanError]) -> PlanError:
    """Return one PlanError that lists all of these."""
    if len(faults) == 1:
        return faults[0]
    return PlanError("E-PLAN", f"{len(faults)} faults; nothing has been written", [*map(str, faults)])


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
    return all(part.done for part in state.partitions.of_route(route.name))


def find_changes(state: State, route: Route, found: RouteCheck) -> list[PlanError]:
    """Return a fault if the route was begun under a plan that makes other records or puts them elsewhere (R137).

    Another is that its ids are of another kind than those copied.
    """
    known = state.partitions.route(route.name)
    if known is None:
        return []
    faults: list[PlanError] = []
    if changes := "; ".join(changed_keys(known.fingerprint, route.fingerprint(known.fingerprint))):
        faults.append(
            PlanError(
                "E-CONFIG-CHANGED",
                f"route {route.name}: the plan has changed since its run began: {changes}. What was written under"
                " the old plan would stay beside the new: undo the change, or start over with backfill --restart",
            )
        )
    try:
        refuse_other_id_kind(route, found.id_kind, total_tally(state, route).id_types)
    except PlanError as error:
        faults.append(error)
    return faults
