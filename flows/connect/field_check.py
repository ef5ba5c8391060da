"""A look at documents for the fields that a plan names: what `check` says of those that none of them has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flows.connect.design import read_documents
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.plan.unknown_fields import find_unknown_fields
from mappers.contract import Document, MappingError
from mappers.documents.decoding import decode
from stores.contract.source import Source
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.errors import OfframpError

_LOOKED_AT = 1_000
"""Documents, of many ranges of a collection: a field that most documents lack may still be among them."""
_LOOKED_AT_BYTES = 4 << 20
"""What is looked at of a route at the most, as all of it is in memory."""
_ROUTES_AT_ONCE = 2


def unknown_field_notes(
    plan: Plan, routes: Sequence[Route], *, stop: Stop = NEVER, observer: StepObserver = lambda *_: None
) -> Mapping[str, Sequence[str]]:
    """Return by route what its documents say of the fields it names; where they cannot be read, that they were not.

    Raises TransientError E-STOPPED once `stop` is set.
    """
    with open_source(plan) as database:
        found = take_step(
            "looking for the fields that the plan names",
            routes,
            lambda route: find_unknown_fields(route, [*_sampled(route.source(database), stop)]),
            stop=stop,
            observer=observer,
            abandons=True,
            at_once=_ROUTES_AT_ONCE,
        )
    notes: dict[str, Sequence[str]] = {}
    for name, outcome in found.items():
        if isinstance(outcome, OfframpError):
            if outcome.code == STOPPED:
                raise outcome
            notes[name] = [f"the fields that the route names were not looked for ({outcome.code})"]
        else:
            notes[name] = outcome
    return notes


def _sampled(source: Source, stop: Stop) -> Iterator[Document]:
    documents = size_bytes = 0
    for raw in read_documents(source, _LOOKED_AT, stop):
        documents += 1
        size_bytes += len(raw)
        if documents > _LOOKED_AT or size_bytes > _LOOKED_AT_BYTES:
            return
        try:
            yield decode(raw)
        except MappingError:
            continue  # It will be a reject.
