"""A backfill: routes are checked, leased, prepared, copied, loaded and swept, then verified and reported."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from flows.connect.design import design_place, measure_room
from flows.connect.identities import prepare_again, refuse_other_source
from flows.connect.lost_workers import await_lost_workers
from flows.connect.preflight import RouteFaults, is_copied, join_errors, total_tally
from flows.connect.recopy import recopy_late_writes
from flows.connect.remaking import remove_obsolete_places
from flows.connect.route_steps import take_step
from flows.connect.session import Session, open_session
from flows.connect.staging import awaits_load, open_staging, refuse_occupied
from flows.connect.stores import OpenRoute, open_source, with_design
from flows.plan.model import Route
from flows.quantities import counted
from flows.replication.positions import FirstPosition
from flows.replication.sweep import sweep
from flows.reporting.evidence import Failures, add_errors
from flows.reporting.model import Report, Swept
from flows.run.conclude import conclude
from flows.run.division import partitions_to_copy
from flows.run.history import RunRecord
from flows.run.jobs import CopyJob, LoadJob, Span, total_pace
from flows.run.rebalancing import may_split
from flows.run.verify import verify_copied
from flows.run.workers import Run
from flows.verifier.job import Level, VerifyOptions
from stores.contract.stop import Stop, raise_if_stopped
from stores.contract.target import Measurable, Remakable, Tunable, staging_of
from stores.errors import LeaseLost, OfframpError, PlanError
from stores.mongodb.database import MongoDB
from stores.throttling.rate_limiter import spread

_log = logging.getLogger(__name__)


def backfill(run: Run, level: Level | VerifyOptions, *, restart: bool = False) -> Report:
    """Every route of the run is copied, from its last checkpoint on, and verified to this level; returns the report.

    With `restart` each begins anew. Raises PlanError before anything is written if a route cannot be served,
    TransientError if another run is at work on one of them. A store that fails later is a route's failure in the
    report.
    """
    started = dt.datetime.now(dt.UTC)
    options = VerifyOptions.of(level)
    if restart:
        remove_obsolete_places(run.plan, run.routes)
    with open_session(run.plan, run.routes, restart=restart, observer=run.observer, stop=run.stop) as session:
        state = session.state
        begin_anew = [route for route in session.routes if restart or state.partitions.route(route.name) is None]
        found = session.steps.take("looking for places that exist", begin_anew, refuse_occupied, abandons=True)
        if wrong := [RouteFaults(name, [each]) for name, each in found.items() if isinstance(each, PlanError)]:
            raise join_errors(wrong)
        for error in found.values():
            if isinstance(error, OfframpError):
                raise error
        record = RunRecord.begin(session, "backfill", run.stop)
        for route in session.routes:
            raise_if_stopped(run.stop, "stopped by a signal before a route was begun; the same command resumes")
            if restart:
                state.partitions.forget(session.leases[route.name])
            state.rejects.lift_halt(session.leases[route.name])
        work = _Backfill(run, session, defaultdict(list))
        try:
            work.design()
            work.begin()
            spans = work.copy()
            work.await_lost_workers()
            work.load(spans)
            work.await_lost_workers()
            work.sweep()
            work.recopy_late_writes()
            work.record_seconds(spans)
        finally:
            work.restore()
        record.add_copied(spans)
        verification = verify_copied(run, session, options, work.failures)
        paces = {name: total_pace(ran) for name, ran in spans.items()}
        return conclude(
            *(run, session, record, started, verification, work.failures, paces),
            swept=work.swept,
            warnings=work.warnings,
            publishing=True,
        )


@dataclass(frozen=True)
class _Backfill:
    """The steps of a backfill. A route that has failed in one of them is left out of those that follow."""

    run: Run
    session: Session
    failures: Failures
    swept: dict[str, Swept] = field(default_factory=dict)
    """What was deleted as nothing maps to it any more, by route."""
    warnings: dict[str, Sequence[str]] = field(default_factory=dict)
    """What the run left behind in stores that would not remove it, by route."""

    def design(self) -> None:
        """Each route that begins has its place designed and the design on record.

        Raises PlanError with the faults of every route that cannot be served. No target is written.
        """
        state = self.session.state
        # A run that never began may have left the design of another plan.
        wanted = [
            route
            for route in self.session.routes
            if state.partitions.route(route.name) is None and state.designs.get(route.name, route.fingerprint()) is None
        ]
        with open_source(self.run.plan) as database:
            found = self.session.steps.take(
                "looking at documents", wanted, lambda route: self._design_route(route, database)
            )
        if wrong := [RouteFaults(name, [each]) for name, each in found.items() if isinstance(each, PlanError)]:
            raise join_errors(wrong)
        for name, error in found.items():
            if isinstance(error, OfframpError):
                self.failures[name].append(error)

    def _design_route(self, route: Route, database: MongoDB) -> None:
        target = route.target()
        try:
            design = design_place(route, route.source(database), target, stop=self.run.stop)
            if design is not None:
                with_design(target, design).check()
            self.session.state.designs.save(self.session.leases[route.name], route.fingerprint(), design)
        finally:
            target.close()

    def begin(self) -> None:
        """Each route has its target prepared and its partitions on record."""
        rooms = _Rooms(self.run.stop)
        first = FirstPosition(self.session.state)
        wanted = [route for route in self.session.routes if route.name not in self.failures]
        with open_source(self.run.plan) as database:
            begun = self.session.steps.take(
                "preparing", wanted, lambda route: self._begin_route(route, database, rooms, first)
            )
        add_errors(self.failures, begun)

    def _begin_route(self, route: Route, database: MongoDB, rooms: _Rooms, first: FirstPosition) -> None:
        known = self.session.state.partitions.route(route.name)
        with self.session.open(route, database) as opened:
            source, target = opened.source, opened.target
            if known is not None:
                refuse_other_source(known, source.identity())
                prepare_again(target, known)
                return
            identity = target.prepare()
            if isinstance(target, Remakable) and target.made:
                opened.state.made_places.add(opened.lease, identity)
            try:
                rooms.measure(opened)
            finally:
                if isinstance(target, Measurable) and (left := target.leftovers()):
                    self.warnings[route.name] = left
            if (staging := staging_of(target)) is not None:
                staging.clear()
            first.take(route, opened.lease, opened.database)
            partitions = source.split(route.keys.partitions or partitions_to_copy(source.estimate(), self.run.plan.run))
            opened.state.partitions.begin(opened.lease, route.fingerprint(), source.identity(), identity, partitions)
        _log.info("%s: %s", route.name, counted(len(partitions), "partition"))

    def copy(self) -> dict[str, list[Span]]:
        """Each route is copied to its end, or has failed, or was stopped; returns when its jobs ran, by route."""
        leases, checked = self.session.leases, self.session.checked
        jobs = [
            CopyJob(
                *(route.name, part.partition.number, leases[route.name]),
                *(checked[route.name].id_kind, checked[route.name].expires),
            )
            for route in self.session.routes
            for part in self.session.state.partitions.of_route(route.name)
            if not part.done and route.name not in self.failures
        ]
        per_route = Counter(job.route for job in jobs)
        for route in self.session.routes:
            if per_route[route.name]:
                ahead = checked[route.name].expected - total_tally(self.session.state, route).read
                self.run.observer.planned(route.name, "copy", per_route[route.name], max(0, ahead))
        # Those at work at the same time are of distant ranges, and of different routes (R51).
        jobs = spread(jobs, self.run.plan.run.workers)
        spans: dict[str, list[Span]] = {}
        new = _NewPartitions(self.run, self.session, jobs)
        for job, outcome in self.run.workers.run(jobs, new.find):
            if isinstance(outcome, OfframpError):
                self.failures[job.route].append(outcome)
            else:
                spans.setdefault(job.route, []).append(outcome)
        return spans

    def await_lost_workers(self) -> None:
        """No worker that the run lost changes a target any more: what follows counts on what is there."""
        routes = [route for route in self.session.routes if route.name not in self.failures]
        add_errors(self.failures, await_lost_workers(self.session.steps, routes))

    def load(self, spans: dict[str, list[Span]]) -> None:
        """Each route whose records are all staged has them loaded; when that was is added to `spans`."""
        jobs = []
        for route in self.session.routes if not self.run.stop.is_set() else ():
            with open_staging(route) as staging:
                if staging is not None and route.name not in self.failures and is_copied(self.session.state, route):
                    jobs.append(LoadJob(route.name, self.session.leases[route.name]))
        for job, outcome in self.run.workers.run(jobs):
            if isinstance(outcome, OfframpError):
                self.failures[job.route].append(outcome)
            elif job.route in spans:  # Else an earlier run has loaded it.
                spans[job.route].append(outcome)

    def sweep(self) -> None:
        """No route that was begun anew has anything left of its earlier runs."""
        state = self.session.state
        for route in self.session.routes:
            if self.run.stop.is_set():
                return
            due = state.sync_positions.sweep_due(route.name) and is_copied(state, route)
            if due and route.name not in self.failures:
                try:
                    sweep(self.session, route, self.run.stop, partial(self.swept.__setitem__, route.name))
                except OfframpError as error:
                    self.failures[route.name].append(error)

    def recopy_late_writes(self) -> None:
        """No copied route has records on record that a run wrote whose lease was over."""
        state = self.session.state
        for route in self.session.routes:
            if self.run.stop.is_set():
                return
            late = state.late_writes.of_route(route.name) and is_copied(state, route) and not awaits_load(state, route)
            if late and route.name not in self.failures:
                try:
                    with self.session.open(route) as opened:
                        recopy_late_writes(opened)
                except OfframpError as error:
                    self.failures[route.name].append(error)

    def seconds(self, spans: Mapping[str, Sequence[Span]]) -> dict[str, float]:
        """Return how long each route was copied and loaded, from its first job to its last, stopped ones included."""
        ran = {name: [(span.began, span.ended) for span in jobs] for name, jobs in spans.items()}
        for name, errors in self.failures.items():
            ran.setdefault(name, []).extend(error.ran for error in errors if error.ran is not None)
        return {
            name: max(ended for _, ended in times) - min(began for began, _ in times)
            for name, times in ran.items()
            if times
        }

    def record_seconds(self, spans: Mapping[str, Sequence[Span]]) -> None:
        """How long each route was copied is on record; a route whose lease was lost has failed, and no other."""
        for name, seconds in self.seconds(spans).items():
            try:
                self.session.state.partitions.record_outcome(self.session.leases[name], seconds, None)
            except LeaseLost as error:
                self.failures[name].append(error)

    def restore(self) -> None:
        """No target has settings that only serve a load, however the load ended."""
        # Also once the run is to stop: a target must not stay as the load left it.
        restored = take_step(
            "restoring settings", self.session.routes, self._restore_route, observer=self.run.observer.stepped
        )
        add_errors(self.failures, restored)

    def _restore_route(self, route: Route) -> None:
        with self.session.open_target(route) as target:
            if isinstance(target, Tunable):
                target.restore()


class _Rooms:
    """The room that the routes of a run take of places with a limit, measured for one route after another."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._taken: Counter[str] = Counter()
        self._measuring = threading.Lock()

    def measure(self, opened: OpenRoute) -> None:
        """The room that the route takes is added; raises PlanError if there is none beside the others'."""
        with self._measuring:
            self._taken.update(
                measure_room(*(opened.route, opened.source, opened.target, opened.design, self._taken), stop=self._stop)
            )


class _NewPartitions:
    """The partitions that come of splitting those under way, for workers that have nothing to do."""

    def __init__(self, run: Run, session: Session, jobs: Sequence[CopyJob]) -> None:
        self._run = run
        self._session = session
        self._handed_out = {(job.route, job.number) for job in jobs}
        self._models = {job.route: job for job in jobs if may_split(run.plan, run.plan.routes[job.route])}

    def find(self, idle: int) -> Sequence[CopyJob]:
        """Return a job for each new partition, and ask for others while so many workers are idle."""
        try:
            return () if self._run.stop.is_set() else self._find(idle)
        except OfframpError as error:
            # What was not handed out is not done, and its route says so.
            _log.warning("%s", error)
            return ()

    def _find(self, idle: int) -> Sequence[CopyJob]:
        state = self._session.state
        found: list[CopyJob] = []
        for model in list(self._models.values()):
            parts = state.partitions.unfinished(model.route)
            if not parts:
                del self._models[model.route]  # Nothing is left of it that could be split.
            new = [number for number in sorted(parts) if (model.route, number) not in self._handed_out]
            found.extend(replace(model, number=number) for number in new)
            self._handed_out.update((model.route, number) for number in new)
            if new:
                self._run.observer.planned(model.route, "copy", len(new), 0)
            if len(parts) > len(new):
                state.work_requests.request(model.lease, max(0, idle - len(found)))
        return found
