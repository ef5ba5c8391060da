"""The pieces of a run that may go elsewhere: plain values in, clients of their own inside."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flows.books import Level
from flows.comparing import Comparison, compare, count
from flows.copying import copy_partition
from flows.plan import Plan, Route
from flows.plugins import MapFunction
from flows.projecting import Projection
from mappers.census import Census
from mappers.contract import Designer, Document, Losses, Record
from stores.contract import Auditable, Partition, Plannable, Source, Tally, Target
from stores.errors import PermanentError, PlanError, TransientError
from stores.mongodb import MongoDB
from stores.state import Lease, State

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told how far a run has come; called from several threads."""

    def began(self, route: str, stage: str, documents: int) -> None:
        """A stage (copy or verify) of a route began; about so many documents are ahead."""

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """So many more documents are done."""

    def ended(self, route: str, stage: str) -> None:
        """The stage ended, for whatever reason."""


class Silent:
    """An observer that watches nothing."""

    def began(self, route: str, stage: str, documents: int) -> None:
        """Do nothing."""

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """Do nothing."""

    def ended(self, route: str, stage: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class CopyJob:
    """One partition to copy: plain values, so that it can go to another thread, process or machine."""

    route: str
    number: int
    lease: Lease


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """One route to verify."""

    route: str
    level: Level


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran, in seconds since 1970."""

    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification pass over one route saw."""

    comparison: Comparison | None
    counted: int | None
    seconds: float
    faults: Sequence[str] = ()
    """Why the target does not serve what it holds as the plan says."""


SILENT = Silent()
_SAMPLED_RANGES = 16


def copy_job(
    plan: Plan, job: CopyJob, *, observer: Observer = SILENT, stopping: Callable[[], bool] = lambda: False
) -> Span:
    """The partition is copied from its last checkpoint on, with clients of its own; returns when that was."""
    route = plan.routes[job.route]
    began = time.time()
    with opened_state(plan) as state, opened_source(plan) as database:
        part = next(part for part in state.partitions(job.route) if part.partition.number == job.number)
        if part.done:
            return Span(began, began)
        source = route.source(database)
        design = state.design(job.route)
        target = following(route.target(), design)
        seen = Tally()

        def copied(tally: Tally) -> None:
            seen.add(tally)
            observer.advanced(job.route, "copy", tally.read)

        observer.began(job.route, "copy", source.estimate())
        try:
            copy_partition(
                source,
                _projection(route, target.records, following(route.mapper(losses := Losses()), design), losses),
                target,
                state.journal(job.lease),
                part.partition,
                after=part.position,
                window=plan.run.window,
                stopping=stopping,
                copied=copied,
            )
        finally:
            target.close()
            observer.ended(job.route, "copy")
    span = Span(began, time.time())
    _log.info(
        "%s partition %d: %d documents in %.1f s, %d rejected",
        *(job.route, job.number, seen.read, span.ended - span.began, seen.rejected),
    )
    return span


def verify_job(
    plan: Plan, job: VerifyJob, *, observer: Observer = SILENT, stopping: Callable[[], bool] = lambda: False
) -> Verified:
    """Return what the target holds against what the source's documents map to now, with clients of its own."""
    route = plan.routes[job.route]
    began = time.monotonic()
    with (
        opened_state(plan) as state,
        opened_source(plan) as database,
        tempfile.TemporaryDirectory(prefix="offramp-verify-") as folder,
    ):
        source = route.source(database)
        design = state.design(job.route)
        target = following(route.target(), design)
        observer.began(job.route, "verify", source.estimate())
        try:
            if job.level == "counts":
                counted = count(target, Path(folder))
                return Verified(None, counted, time.monotonic() - began, _audited(target))
            comparison = compare(
                source,
                _projection(route, target.records, following(route.mapper(losses := Losses()), design), losses),
                target,
                Path(folder),
                refused={reject.id for reject in state.rejects(job.route) if reject.stage == "write"},
                window=plan.run.window,
                stopping=stopping,
                compared=lambda documents: observer.advanced(job.route, "verify", documents),
            )
            faults = _audited(target)
        finally:
            target.close()
            observer.ended(job.route, "verify")
    return Verified(comparison, None, time.monotonic() - began, faults)


def designed(
    route: Route, source: Source, target: Target[Record], *, stopping: Callable[[], bool] = lambda: False
) -> Mapping[str, Any] | None:
    """Return the design of the route's place, from a look at its documents where one is due; None for no design.

    Writes nothing. Raises PlanError where no design serves the documents.
    """
    if not isinstance(target, Plannable):
        return None
    mapper: object = route.mapper(Losses())
    wishes: Mapping[str, Any] = {}
    if isinstance(mapper, Designer) and (documents := mapper.survey(mapped=target.mapped)) is not None:
        census = _census(route, source, documents, stopping)
        try:
            wishes = mapper.design(census)
        except ValueError as error:
            raise PlanError("E-CENSUS", f"route {route.name}: {error}") from None
        _log.info("%s: census of %d documents", route.name, census.documents)
        for note in wishes.get("notes", ()):
            _log.info("%s: %s", route.name, note)
    return target.design(wishes)


_Follower = TypeVar("_Follower")


def following(follower: _Follower, design: Mapping[str, Any] | None) -> _Follower:
    """Return the target or mapper, told to follow the design if there is one and it can."""
    if design is not None and isinstance(follower, Plannable | Designer):
        follower.follow(design)
    return follower


def _census(route: Route, source: Source, documents: int, stopping: Callable[[], bool]) -> Census:
    """Return what the route's documents hold as their mapper gets them: of all of them, or of about so many."""
    census = Census()
    looked_at = 0

    def look(document: Document, /) -> tuple[Record, ...]:
        nonlocal looked_at
        looked_at += 1
        census.add(document)
        return ()

    projection = _projection(route, (), look, Losses())
    # A sample is the first documents of many ranges: those of one range alone may be the oldest of a collection.
    ranges = source.split(_SAMPLED_RANGES) if documents else [Partition(0)]
    share = -(-documents // len(ranges)) if documents else 0
    for part in ranges:
        left = share
        for batch in source.read(part):
            if stopping():
                raise TransientError("E-STOPPED", "stopped by a signal during the census; the same command resumes")
            for raw in batch.documents[:left] if share else batch.documents:
                projection(raw)
            left -= len(batch.documents)
            if share and left <= 0:
                break
    if looked_at != census.documents:  # A projection turns whatever fails within it into rejects.
        raise PermanentError("E-CENSUS", f"the census failed on {looked_at - census.documents} documents")
    return census


def _audited(target: Target[Record]) -> Sequence[str]:
    return target.audit() if isinstance(target, Auditable) else ()


def _projection(route: Route, record_types: tuple[type, ...], mapper: MapFunction, losses: Losses) -> Projection:
    fields = route.keys.fields
    return Projection(mapper, losses, record_types, keep=fields.keep, drop=fields.drop)


@contextmanager
def opened_state(plan: Plan) -> Iterator[State]:
    """Give the plan's state for the length of the body."""
    state = State(plan.state, plan.name, plan.run.lease_s)
    try:
        yield state
    finally:
        state.close()


@contextmanager
def opened_source(plan: Plan) -> Iterator[MongoDB]:
    """Give the plan's source for the length of the body."""
    database = MongoDB(plan.source)
    try:
        yield database
    finally:
        database.close()
