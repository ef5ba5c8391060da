"""A look at documents of each route: which fields of the plan none of them has, and which cannot be copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.connect.design import read_documents
from flows.connect.route_steps import StepObserver, take_step
from flows.connect.sample_mapping import SampleMapping, map_sample
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


@dataclass(frozen=True, slots=True)
class DocumentsCheck:
    """What a look at a route's documents came to."""

    notes: Sequence[str] = ()
    """What a person should know, but for documents that cannot be mapped."""
    mapped: SampleMapping | None = None
    """What became of the documents; None where they were not mapped."""


@dataclass(frozen=True, slots=True)
class MappingNeeds:
    """What the mapping of a route's documents needs beside its plan."""

    route: Route
    """The route with `expires: from_index` resolved."""
    id_kind: str
    """The kind of `_id` proven for plain keys, "" where keys are typed or no kind was proven."""
    design: Mapping[str, Any] | None
    """The design on record, None where the route has none."""


def check_documents(
    plan: Plan,
    routes: Sequence[Route],
    needs: Mapping[str, MappingNeeds],
    *,
    stop: Stop = NEVER,
    observer: StepObserver = lambda *_: None,
) -> Mapping[str, DocumentsCheck]:
    """Return by route what its documents say; where they cannot be read, a note that they were not.

    Documents of routes that `needs` does not have are not mapped. Raises TransientError E-STOPPED once `stop` is set.
    """
    with open_source(plan) as database:
        found = take_step(
            "looking for the fields that the plan names",
            routes,
            lambda route: _check(route, [*_sampled(route.source(database), stop)], needs.get(route.name)),
            stop=stop,
            observer=observer,
            abandons=True,
            at_once=_ROUTES_AT_ONCE,
        )
    checks: dict[str, DocumentsCheck] = {}
    for name, outcome in found.items():
        if isinstance(outcome, OfframpError):
            if outcome.code == STOPPED:
                raise outcome
            note = f"the fields that the route names were not looked for, and no document was mapped ({outcome.code})"
            checks[name] = DocumentsCheck([note])
        else:
            checks[name] = outcome
    return checks


def _check(route: Route, documents: Sequence[bytes], needs: MappingNeeds | None) -> DocumentsCheck:
    notes = find_unknown_fields(route, [*_decoded(documents)])
    if needs is None:
        return DocumentsCheck(notes)
    try:
        return DocumentsCheck(notes, map_sample(needs.route, documents, needs.design, needs.id_kind))
    except OfframpError as error:
        return DocumentsCheck([*notes, f"whether its documents can be copied was not found out ({error.code})"])


def _sampled(source: Source, stop: Stop) -> Iterator[bytes]:
    size_bytes = 0
    for documents, raw in enumerate(read_documents(source, _LOOKED_AT, stop), 1):
        size_bytes += len(raw)
        if documents > _LOOKED_AT or size_bytes > _LOOKED_AT_BYTES:
            return
        yield raw


def _decoded(documents: Sequence[bytes]) -> Iterator[Document]:
    for raw in documents:
        try:
            yield decode(raw)
        except MappingError:
            continue  # It will be a reject.
