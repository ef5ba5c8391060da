"""The design of the place that a route is copied to: decided once from the route's documents, and kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flows.connect.stores import build_projection
from flows.copying.projection import route_projection
from flows.plan.model import Route
from mappers.census import Census, Designer
from mappers.contract import Document, Losses, Record
from mappers.documents.depth import MOST_LEVELS, deepest
from stores.contract.journal import Reject
from stores.contract.source import Batch, Partition, Source
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.contract.target import Measurable, Plannable, Target
from stores.errors import PermanentError, PlanError

_log = logging.getLogger(__name__)

_SAMPLED_RANGES = 16
_MEASURED = 1_000
_MEASURED_BYTES = 4 * 2**20
"""What is measured at the most, as all of it is written once more."""


def design_place(
    route: Route, source: Source, target: Target[Record], *, stop: Stop = NEVER, documents: int | None = None
) -> Mapping[str, Any] | None:
    """Return the design of the route's place, None for a target without designs; samples documents if the mapper asks.

    It looks at about so many `documents`, at as many as the mapper asks for by default. Writes nothing. Raises
    PlanError where no design serves the documents.
    """
    if not isinstance(target, Plannable):
        return None
    wishes: Mapping[str, Any] = {}
    if (survey := _survey(route, target)) is not None:
        mapper, asked = survey
        wanted = asked if documents is None else documents
        census = _take_census(route, read_documents(source, wanted, stop), mapper)
        wishes = _design(mapper, census)
        _log.info("%s: census of %d documents", route.name, census.documents)
        for note in wishes.get("notes", ()):
            _log.info("%s: %s", route.name, note)
        for note in wishes.get("cut", ()):
            _log.warning("%s: %s", route.name, note)
    return target.design(wishes)


def design_mapping(route: Route, documents: Iterable[bytes], target: Target[Record]) -> Mapping[str, Any] | None:
    """Return the design that the mapper makes of these documents, None where it makes none. Asks no store.

    Raises PlanError where no design serves the documents.
    """
    if (survey := _survey(route, target)) is None:
        return None
    mapper, _ = survey
    return _design(mapper, _take_census(route, documents, mapper))


def _design(mapper: Designer, census: Census) -> Mapping[str, Any]:
    try:
        return mapper.design(census)
    except ValueError as error:
        raise PlanError("E-CENSUS", str(error)) from None


def survey_size(route: Route, target: Target[Record]) -> int | None:
    """Return how many documents the design of the route's place looks at, 0 for all, None where it looks at none."""
    survey = _survey(route, target)
    return None if survey is None else survey[1]


def _survey(route: Route, target: Target[Record]) -> tuple[Designer, int] | None:
    """Return the mapper that designs the route's place, and how many documents it asks for; None where none does."""
    mapper: object = route.mapper(Losses())
    if not isinstance(target, Plannable) or not isinstance(mapper, Designer):
        return None
    asked = mapper.survey(mapped=target.mapped)
    return None if asked is None else (mapper, asked)


def _take_census(route: Route, documents: Iterable[bytes], mapper: Designer) -> Census:
    """Return what these documents of the route hold, as their mapper gets them."""
    census = Census(mapper.kind)
    counted = 0

    def count(document: Document, /) -> tuple[Record, ...]:
        nonlocal counted
        seen = mapper.seen(document)  # What it refuses will be a reject, and no field of the index.
        counted += 1
        try:
            census.add(seen)
        except RecursionError:
            if deepest(seen)[0] > MOST_LEVELS:
                counted -= 1  # A reject likewise (E-MAP-DEPTH).
            raise
        return ()

    projection = route_projection(route, (), count, Losses())
    for raw in documents:
        outcome = projection.map(raw)
        if counted != census.documents:  # A projection turns whatever fails within it into rejects.
            cause = f"document {outcome.id}: {outcome.reason}" if isinstance(outcome, Reject) else "a document"
            raise PermanentError(
                "E-CENSUS",
                f"the census failed on {cause}; exclude it with where:, or set census: none, and report it with the"
                " document's structure",
            )
    return census


def measure_room(
    route: Route,
    source: Source,
    target: Target[Record],
    design: Mapping[str, Any] | None,
    beside: Mapping[str, int],
    *,
    stop: Stop = NEVER,
) -> Mapping[str, int]:
    """Return the place that the route's records fill, with the bytes they take of it; empty where there is no limit.

    Raises PlanError if the place has no room for them beside what other routes of the run put there.
    """
    if not isinstance(target, Measurable) or not target.limited():
        return {}
    sampled: list[bytes] = []
    size_bytes = 0
    for raw in read_documents(source, _MEASURED, stop):
        sampled.append(raw)
        size_bytes += len(raw)
        if len(sampled) >= _MEASURED or size_bytes > _MEASURED_BYTES:
            break
    documents = source.estimate()
    if route.where or not documents:
        documents = sum(source.count_by_type().values())  # What is left out by a filter takes no room.
    records = build_projection(route, target, design).batch(Batch(sampled, b"")).records
    place, wanted = target.measure(records, max(1.0, documents / len(sampled)) if sampled else 0, beside)
    _log.info("%s: about %.1f MB of %s for %d documents", route.name, wanted / 1e6, place, documents)
    return {place: wanted}


def read_documents(source: Source, documents: int, stop: Stop) -> Iterator[bytes]:
    """Yield about so many documents, or all of them for 0."""
    # A sample is the first documents of many ranges: a single range may hold the oldest of a collection.
    ranges = source.split(_SAMPLED_RANGES) if 0 < documents < source.estimate() else [Partition(0)]
    share = -(-documents // len(ranges)) if documents else 0
    for part in ranges:
        left = share
        for batch in source.read(part):
            raise_if_stopped(stop, "stopped by a signal during the census; the same command resumes")
            yield from batch.documents[:left] if share else batch.documents
            left -= len(batch.documents)
            if share and left <= 0:
                break
