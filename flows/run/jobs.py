"""The pieces of a run that may go elsewhere: plain values in, clients of their own inside."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from flows.connect.expires_from_index import resolve_expires
from flows.connect.gc_tuning import collect_seldom
from flows.connect.progress import SILENT, Observer, Progress, ProgressCounter, watched
from flows.connect.stores import open_route, open_state, with_fence
from flows.copying.partition import copy_partition
from flows.copying.reject_budget import BudgetTracker, budget_of
from flows.plan.model import Plan
from flows.reporting.model import Pace
from flows.run.rebalancing import may_split, splitting_source
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.contract.target import staging_of
from stores.errors import OfframpError, PermanentError
from stores.state.claims import Work
from stores.state.leases import Lease
from stores.throttling.rate_limiter import Paced, Waits, divide

_log = logging.getLogger(__name__)

R_co = TypeVar("R_co", covariant=True)


class Job(Protocol[R_co]):
    """A piece of a run: a frozen dataclass of plain values, so that it can go to another thread, process or machine."""

    kind: ClassVar[str]
    """copy, load or verify."""

    @property
    def route(self) -> str:
        """The name of the route it works on."""

    @property
    def lease(self) -> Lease:
        """The lease it writes under."""

    @property
    def claim(self) -> tuple[Work, int]:
        """What it claims, so that one worker at a time does it."""

    def run(self, plan: Plan, observer: Observer, stop: Stop) -> R_co:
        """Do the work with clients of its own and return what came of it."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran, in seconds since 1970."""

    began: float
    ended: float
    waits: Waits = Waits()  # noqa: RUF009 - frozen, so that it can be shared
    """How long it waited for the target."""
    source_waited_s: float = 0.0
    """How long it waited for leave to read."""
    progress: Progress = Progress()  # noqa: RUF009 - frozen, so that it can be shared
    """When how many documents were copied."""


def total_pace(spans: Sequence[Span]) -> Pace:
    """Return how long the jobs of a route waited, all together."""
    waits = sum((span.waits for span in sorted(spans, key=lambda span: span.ended)), Waits())
    return Pace(
        throttled=waits.throttled,
        waited_s=round(waits.waited_s, 1),
        source_waited_s=round(sum(span.source_waited_s for span in spans), 1),
        rate=round(waits.rate, 1) if waits.rate is not None else None,
    )


@contextmanager
def _timed(began: float) -> Iterator[None]:
    """Let an error that ends the body say when the job ran: the time belongs to its route as any other."""
    try:
        yield
    except OfframpError as error:
        error.ran = (began, time.time())
        raise


@dataclass(frozen=True, slots=True)
class CopyJob:
    """One partition to copy."""

    kind: ClassVar[str] = "copy"
    route: str
    number: int
    lease: Lease
    id_kind: str = ""
    """The kind of `_id` proven for plain keys."""
    expires: IndexExpires | None = None
    """What `expires: from_index` came to."""

    @property
    def claim(self) -> tuple[Work, int]:
        """Its partition."""
        return "copy", self.number

    def run(self, plan: Plan, observer: Observer = SILENT, stop: Stop = NEVER) -> Span:
        """The partition is copied from its last checkpoint on, with clients of its own; returns when that was."""
        route = resolve_expires(plan.routes[self.route], self.expires)
        began = time.time()
        divide(plan.run.processes)
        with (
            _timed(began),
            open_state(plan) as state,
            collect_seldom(),
            state.claims.claimed(self.lease, *self.claim) as lease,
        ):
            part = state.partitions.one(self.route, self.number)
            if part is None:
                raise PermanentError("E-STATE-GONE", f"route {self.route}: the state has lost its partitions")
            if part.done:
                return Span(began, began)
            budget = BudgetTracker(state, lease, budget_of(plan, route))
            budget.judge()
            seen = Tally()
            pulse = ProgressCounter()

            def copied(tally: Tally) -> None:
                seen.add(tally)
                pulse.add(tally.read)
                observer.advanced(self.route, "copy", tally.read)

            with open_route(plan, route, state, lease, self.id_kind) as opened:
                source, target = opened.source, opened.target
                with watched(observer, self.route, "copy", max(0, source.estimate() - part.tally.read)) as watching:
                    watching.complete = copy_partition(
                        splitting_source(source, state, lease) if may_split(plan, route) else source,
                        opened.projection,
                        target,
                        opened.journal,
                        part.partition,
                        after=part.position,
                        done=part.tally.read,
                        window=plan.run.window,
                        budget=budget,
                        stop=stop,
                        copied=copied,
                    )
        waits = target.pace.waits if isinstance(target, Paced) else Waits()
        source_waited_s = source.pace.waits.waited_s if isinstance(source, Paced) else 0.0
        span = Span(began, time.time(), waits, source_waited_s, pulse.progress())
        if waits.throttled or waits.waited_s or span.source_waited_s:
            _log.info(
                "%s partition %d: throttled %d times, waited %.1f s for the target and %.1f s for the source%s",
                *(self.route, self.number, waits.throttled, waits.waited_s, span.source_waited_s),
                f"; now {waits.rate:.0f} units a second" if waits.rate is not None else "",
            )
        _log.info(
            "%s partition %d: %d documents in %.1f s, %d rejected",
            *(self.route, self.number, seen.read, span.ended - span.began, seen.rejected),
        )
        return span


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One route whose records are all staged, to load."""

    kind: ClassVar[str] = "load"
    route: str
    lease: Lease

    @property
    def claim(self) -> tuple[Work, int]:
        """The load of the route."""
        return "load", 0

    def run(self, plan: Plan, observer: Observer = SILENT, stop: Stop = NEVER) -> Span:
        """The route's target has loaded what copying staged, by clients of its own; returns when that was."""
        route = plan.routes[self.route]
        began = time.time()
        with (
            _timed(began),
            open_state(plan) as state,
            state.claims.claimed(self.lease, *self.claim) as lease,
        ):
            records = sum(part.tally.records for part in state.partitions.of_route(self.route))
            with (
                closing(with_fence(route.target(), state, lease)) as target,
                watched(observer, self.route, "load", records),
            ):
                staging = staging_of(target)
                raise_if_stopped(stop, "stopped by a signal before its load; the same command resumes")
                if staging is not None:
                    staging.load(
                        records,
                        state.designs.load_state(self.route),
                        lambda memory: state.designs.save_load_state(lease, memory),
                        lambda documents: observer.advanced(self.route, "load", documents),
                        stop,
                    )
        return Span(began, time.time())
