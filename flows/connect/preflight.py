"""What is known of a plan's routes before anything is written, and what refuses to go on with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flows.connect.plain_ids import kind_of_ids, refuse_other_kinds
from flows.connect.stores import open_source
from flows.connect.ttl_rule import index_rule, told
from flows.plan.model import Plan, Route
from mappers.contract import Record
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.target import Target, Tunable
from stores.errors import OfframpError, PermanentError, PlanError
from stores.state.partitions import RouteState
from stores.state.state import State


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` has to say of a route that can be served."""

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


def check(plan: Plan, routes: Sequence[Route]) -> list[Checked]:
    """Return what a person should know of each route; raises PlanError with every fault found. Writes nothing.

    Raises TransientError if a store does not answer.
    """
    found: list[Checked] = []
    faults: list[PlanError] = []
    failures: dict[str, OfframpError] = {}
    with open_source(plan) as database:
        for route in routes:
            source, target = route.source(database), route.target()
            notes: list[str] = []
            estimate, kind = 0, ""
            expires: IndexExpires | None = None
            for look in (source.check, target.check):
                with _noted(route, faults, failures):
                    notes.extend(look())
            with _noted(route, faults, failures):
                kind = kind_of_ids(route, database)
            with _noted(route, faults, failures):
                expires = index_rule(route, database)
                notes.extend(told(expires))
            target.close()
            if not faults and not failures:
                estimate = source.estimate()
            found.append(
                Checked(
                    *(route.name, route.collection, route.target_name, route.mapper_name, estimate, notes, kind),
                    expires,
                )
            )
    if faults:
        raise joined([*faults, *(PlanError(error.code, error.message) for error in failures.values())])
    if failures:
        raise next(iter(failures.values()))
    return found


@contextmanager
def _noted(route: Route, faults: list[PlanError], failures: dict[str, OfframpError]) -> Iterator[None]:
    """What the body raises is added to the faults of the plan, or to the stores that do not answer."""
    try:
        yield
    except PlanError as error:
        faults.append(PlanError(error.code, f"route {route.name}: {error.message}"))
    except OfframpError as error:
        failures.setdefault(str(error), error)


def joined(faults: Sequence[PlanError]) -> PlanError:
    """Return one error that tells all of them."""
    if len(faults) == 1:
        return faults[0]
    return PlanError("E-PLAN", "\n  ".join([f"{len(faults)} faults; nothing has been written", *map(str, faults)]))


def total(state: State, route: Route) -> Tally:
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


def refuse_changes(state: State, routes: Iterable[Route], found: Mapping[str, Checked]) -> None:
    """Raise PlanError if a route was begun under a plan that makes other records or puts them elsewhere (R137)."""
    faults: list[PlanError] = []
    for route in routes:
        known = state.partitions.route(route.name)
        if known is None:
            continue
        now = route.fingerprint()
        changed = [name for name in sorted({*known.fingerprint, *now}) if known.fingerprint.get(name) != now.get(name)]
        if changed:
            told = "; ".join(f"{name} was {known.fingerprint.get(name)!r}, is {now.get(name)!r}" for name in changed)
            faults.append(
                PlanError(
                    "E-CONFIG-CHANGED",
                    f"route {route.name}: the plan has changed since its run began: {told}. What was written under the"
                    " old plan would stay beside the new: undo the change, or begin anew with backfill --restart",
                )
            )
        try:
            refuse_other_kinds(route, found[route.name].id_kind, total(state, route).id_types)
        except PlanError as error:
            faults.append(error)
    if faults:
        raise joined(faults)


def refuse_other_identity(known: RouteState, *, source: str, target: str | None = None) -> None:
    """Raise PermanentError if what was copied from, or to, is no longer there but another of its name (R137)."""
    pairs = [("collection", known.source_identity, source)]
    if target is not None:
        pairs.append(("target", known.target_identity, target))
    for what, before, now in pairs:
        if before != now:
            raise PermanentError(
                "E-MADE-ANEW",
                f"the {what} was dropped and made anew since the run began, so its checkpoints say nothing about it;"
                " begin anew with backfill --restart",
            )


def confirm(target: Target[Record], known: RouteState) -> None:
    """Return if the target is ready and the one that was copied to; raises PermanentError for another (R137)."""
    try:
        refuse_other_identity(known, source=known.source_identity, target=target.prepare())
    finally:
        if isinstance(target, Tunable):
            target.restore()
