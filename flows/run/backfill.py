"""A run of a plan: check, lease, prepare, copy, verify, report; for the command line and the Prefect flows alike."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flows.connect.design import designed, needed
from flows.connect.preflight import Checked, joined, refuse_other_identity, total
from flows.connect.session import Session, open_session
from flows.connect.staging import refuse_unloaded, staged, taken
from flows.connect.stores import open_source, open_target, with_design
from flows.plan.keys import RunKeys
from flows.plan.model import Plan, Route, digest
from flows.replication.positions import FirstPosition, first_sync_within, followed
from flows.replication.sweep import sweep
from flows.reporting.evidence import Evidence, Failures
from flows.reporting.model import Pace, Report, RouteReport
from flows.reporting.verdict import judge
from flows.run.history import Recording
from flows.run.jobs import CopyJob, LoadJob, Span
from flows.run.rebalancing import may_split
from flows.run.spreading import held_back, spread_out
from flows.run.verify import Passes
from flows.run.workers import More, Workers
from flows.verifier.canary import canary
from flows.verifier.job import Asked, Level, Verified, VerifyJob
from flows.verifier.pending_changes import changed_by_type, pending_changes
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Auditable, Publishable, Tunable, staging_of
from stores.errors import OfframpError, PlanError, TransientError
from stores.mongodb.database import MongoDB
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)

_DOCUMENTS_PER_PARTITION = 250_000
_FEWEST_DOCUMENTS = 50_000
_PARTITIONS_PER_WORKER = 4
_MOST_PARTITIONS = 256


@dataclass(frozen=True)
class Run:
    """One command over chosen routes of a plan."""

    plan: Plan
    routes: Sequence[Route]
    workers: Workers
    stop: Stop = NEVER
    _started: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def backfill(self, level: Level | Asked, *, restart: bool = False) -> Report:
        """Every chosen route is copied, from its last checkpoint on, and verified to this level; returns the report.

        Raises PlanError before anything is written if a route cannot be served, TransientError if another run is at
        work on one of them. A store that fails later is a route's failure in the report.
        """
        with open_session(self.plan, self.routes, restart=restart) as session:
            return replace(self, routes=session.routes)._backfill(session, Asked.of(level), restart)

    def _backfill(self, session: Session, asked: Asked, restart: bool) -> Report:
        state, leases, found = session.state, session.leases, session.checked
        if faults := taken([route for route in self.routes if restart or state.partitions.route(route.name) is None]):
            raise joined(faults)
        if restart:
            for lease in leases.values():
                state.partitions.forget(lease)
        recording = Recording.begun(state, self.plan, "backfill")
        failures: Failures = defaultdict(list)
        for lease in leases.values():
            state.rejects.lift_halt(lease)
        try:
            self._begin(state, leases, failures)
            jobs = [
                CopyJob(
                    *(route.name, part.partition.number, leases[route.name]),
                    *(found[route.name].id_kind, found[route.name].expires),
                )
                for route in self.routes
                for part in state.partitions.of_route(route.name)
                if not part.done and route.name not in failures
            ]
            jobs = spread_out(jobs, self.plan.run.workers)
            spans: dict[str, list[Span]] = {}
            for job, outcome in self.workers.run(jobs, self._more(state, jobs)):
                if isinstance(outcome, OfframpError):
                    failures[job.route].append(outcome)
                else:
                    spans.setdefault(job.route, []).append(outcome)
            self._load(state, leases, spans, failures)
            self._sweep(session, failures)
            for name, ran in spans.items():
                state.partitions.record_outcome(
                    leases[name], max(span.ended for span in ran) - min(span.began for span in ran), None
                )
        finally:
            self._restore(state, failures)
        recording.copied(spans)
        paces = {name: held_back(ran) for name, ran in spans.items()}
        return self._conclude(state, leases, asked, failures, found, recording, paces, publishing=True)

    def verification(self, level: Level | Asked) -> Report:
        """Every chosen route is verified to this level against what the source says now; no target is written.

        Raises PlanError if a route cannot be served, TransientError if a run is at work on one of them.
        """
        with open_session(self.plan, self.routes) as session:
            return replace(self, routes=session.routes)._verification(session, Asked.of(level))

    def _verification(self, session: Session, asked: Asked) -> Report:
        state, leases, found = session.state, session.leases, session.checked
        recording = Recording.begun(state, self.plan, "verify")
        failures: Failures = defaultdict(list)
        with open_source(self.plan) as database:
            for route in self.routes:
                known = state.partitions.route(route.name)
                try:
                    if known is not None:
                        refuse_other_identity(known, source=route.source(database).identity())
                        refuse_unloaded(state, route)
                except OfframpError as error:
                    failures[route.name].append(error)
        return self._conclude(state, leases, asked, failures, found, recording)

    def _design(self, state: State, leases: Mapping[str, Lease], failures: Failures) -> None:
        """Each route that begins has its place designed and the design on record; the failures are added by route.

        Raises PlanError with the faults of every route that cannot be served. No target is written.
        """
        faults: list[PlanError] = []
        for route in self.routes:
            # A run that never began may have left the design of another plan.
            if state.partitions.route(route.name) or state.designs.get(route.name, route.fingerprint()):
                continue
            target = route.target()
            try:
                with open_source(self.plan) as database:
                    design = designed(route, route.source(database), target, stop=self.stop)
                if design is not None:
                    with_design(target, design).check()
                state.designs.save(leases[route.name], route.fingerprint(), design)
            except PlanError as error:
                faults.append(PlanError(error.code, f"route {route.name}: {error.message}"))
            except OfframpError as error:
                failures[route.name].append(error)
            finally:
                target.close()
        if faults:
            raise joined(faults)

    def _begin(self, state: State, leases: Mapping[str, Lease], failures: Failures) -> None:
        """Each route has its target prepared and its partitions on record; the failures are added by route."""
        self._design(state, leases, failures)
        beside: Counter[str] = Counter()
        first = FirstPosition(state)
        for route in self.routes:
            if route.name in failures:
                continue
            try:
                with open_source(self.plan) as database:
                    source = route.source(database)
                    known = state.partitions.route(route.name)
                    with open_target(route, state) as target:
                        identity = target.prepare()
                        if known is None:
                            design = state.designs.get(route.name)
                            beside.update(needed(route, source, target, design, beside, stop=self.stop))
                            if (staging := staging_of(target)) is not None:
                                staging.clear()
                    if known is None:
                        first.take(route, leases[route.name], database)
                        partitions = source.split(
                            route.keys.partitions or _partitions(source.estimate(), self.plan.run)
                        )
                        state.partitions.begin(
                            leases[route.name], route.fingerprint(), source.identity(), identity, partitions
                        )
                        _log.info("%s: %d partitions", route.name, len(partitions))
                    else:
                        refuse_other_identity(known, source=source.identity(), target=identity)
            except OfframpError as error:
                failures[route.name].append(error)

    def _more(self, state: State, jobs: Sequence[CopyJob]) -> More[Span]:
        """Return what asks the partitions under way to be split for idle workers and tells of those that came of it."""
        handed = {(job.route, job.number) for job in jobs}
        models = {job.route: job for job in jobs if may_split(self.plan, self.plan.routes[job.route])}

        def look(idle: int) -> Sequence[CopyJob]:
            found: list[CopyJob] = []
            for model in models.values():
                parts = {part.partition.number for part in state.partitions.of_route(model.route) if not part.done}
                new = [number for number in sorted(parts) if (model.route, number) not in handed]
                found.extend(replace(model, number=number) for number in new)
                handed.update((model.route, number) for number in new)
                if len(parts) > len(new):
                    state.work_requests.request(model.lease, max(0, idle - len(found)))
            return found

        def more(idle: int) -> Sequence[CopyJob]:
            try:
                return () if self.stop.is_set() else look(idle)
            except OfframpError as error:
                # What was not handed out is not done, and its route says so.
                _log.warning("%s", error)
                return ()

        return more

    def _load(
        self, state: State, leases: Mapping[str, Lease], spans: dict[str, list[Span]], failures: Failures
    ) -> None:
        """Each route whose records are all staged has them loaded; the failures are added by route."""
        jobs = []
        for route in self.routes:
            with staged(route) as staging:
                if staging is not None and route.name not in failures and _complete(state, route):
                    jobs.append(LoadJob(route.name, leases[route.name]))
        for job, outcome in self.workers.run(jobs):
            if isinstance(outcome, OfframpError):
                failures[job.route].append(outcome)
            elif job.route in spans:  # Else an earlier run has loaded it.
                spans[job.route].append(outcome)

    def _sweep(self, session: Session, failures: Failures) -> None:
        """No route that was begun anew has anything left of its earlier runs; the failures are added by route."""
        state = session.state
        for route in self.routes:
            if route.name not in failures and _complete(state, route) and state.sync_positions.sweep_due(route.name):
                try:
                    sweep(session, route, self.stop)
                except OfframpError as error:
                    failures[route.name].append(error)

    def _conclude(
        self,
        state: State,
        leases: Mapping[str, Lease],
        asked: Asked,
        failures: Failures,
        found: Mapping[str, Checked],
        recording: Recording,
        paces: Mapping[str, Pace] | None = None,
        *,
        publishing: bool = False,
    ) -> Report:
        complete = {route.name: _complete(state, route) for route in self.routes}
        # A route that is not wholly copied has its verdict already; comparing it would only list what is still to come.
        level = asked.level
        planted = self._canary(failures) if asked.canary else {}
        jobs = [
            VerifyJob(route.name, asked, leases[route.name], found[route.name].id_kind, found[route.name].expires)
            for route in self.routes
            if level != "none" and route.name not in failures and complete[route.name] is not False
        ]
        passes = Passes(self.plan, state, leases, self.workers, self.stop)
        verified = passes.verify(jobs, {route.name: route for route in self.routes}, failures)
        recording.verified(verified)
        faults = self._audit(state, failures) if level == "none" else {}
        rows = []
        with open_source(self.plan) as database:
            keeps_s = first_sync_within(state, database, self.routes) if publishing else {}
            for route in self.routes:
                row = judge(self._evidence(route, state, database, level, failures, verified.get(route.name), faults))
                row = replace(
                    row,
                    pace=(paces or {}).get(route.name),
                    source_keeps_s=keeps_s.get(route.name),
                    notes=[*found[route.name].notes, *planted.get(route.name, ())],
                )
                if publishing and row.verdict == "clean" and row.verified == "full":
                    row = self._published(route, state, row)
                rows.append(row)
                if state.partitions.route(route.name) is not None:
                    state.partitions.record_outcome(
                        leases[route.name], 0.0, {"verdict": row.verdict, "verified": row.verified}
                    )
        report = Report(
            plan=self.plan.name,
            fingerprint=digest(route.fingerprint() for route in self.routes),
            started=self._started,
            finished=dt.datetime.now(dt.UTC),
            routes=rows,
        )
        return recording.concluded(report, self.routes)

    def _canary(self, failures: Failures) -> dict[str, list[str]]:
        """Known damage was found in each target; returns what to say of it, and adds the failures, by route."""
        told: dict[str, list[str]] = {}
        by_target: dict[str, str | OfframpError] = {}
        for route in self.routes:
            if route.target_name not in by_target:
                try:
                    by_target[route.target_name] = canary(route)
                except OfframpError as error:
                    by_target[route.target_name] = error
            outcome = by_target[route.target_name]
            if isinstance(outcome, OfframpError):
                failures[route.name].append(outcome)
            else:
                told[route.name] = [outcome]
        return told

    def _audit(self, state: State, failures: Failures) -> Mapping[str, Sequence[str]]:
        """Return what each target finds wrong with itself, by route: it counts also where nothing is compared."""
        faults: dict[str, Sequence[str]] = {}
        for route in self.routes:
            try:
                with open_target(route, state) as target:
                    if isinstance(target, Auditable):
                        faults[route.name] = target.audit()
            except OfframpError as error:
                failures[route.name].append(error)
        return faults

    def _restore(self, state: State, failures: Failures) -> None:
        """No target has settings that only serve a load, however the load ended."""
        for route in self.routes:
            try:
                with open_target(route, state) as target:
                    if isinstance(target, Tunable):
                        target.restore()
            except OfframpError as error:
                failures[route.name].append(error)

    def _published(self, route: Route, state: State, row: RouteReport) -> RouteReport:
        """Return the row of a clean route whose records readers now see, or of one where that failed."""
        try:
            with open_target(route, state) as target:
                return replace(row, place=target.publish()) if isinstance(target, Publishable) else row
        except OfframpError as error:
            return replace(row, verdict="failed", reasons=[*row.reasons, f"not published: {error}"])

    def _evidence(
        self,
        route: Route,
        state: State,
        database: MongoDB,
        level: Level,
        failures: Mapping[str, Sequence[OfframpError]],
        verified: Verified | None,
        faults: Mapping[str, Sequence[str]],
    ) -> Evidence:
        """Return what is known of the route now that its copying and its verification have ended."""
        errors = [*failures.get(route.name, ())]
        if not errors and self.stop.is_set():
            errors.append(TransientError("E-STOPPED", "stopped by a signal; the same command resumes"))
        counts: Mapping[str, int] | None = None
        try:
            counts = route.source(database).count_by_type()
        except OfframpError as error:
            errors.append(error)
        known, complete = state.partitions.route(route.name), _complete(state, route)
        compared = verified.comparison if verified else None
        came_or_went: Mapping[str, int] = {}
        if counts is not None and compared is not None and compared.tally.id_types != counts and not errors:
            try:
                came_or_went = changed_by_type(pending_changes(state, route, database, stop=self.stop))
            except OfframpError as error:
                errors.append(error)
        return Evidence(
            route=route.name,
            collection=route.collection,
            target=route.target_name,
            level=level,
            copied=total(state, route) if known else None,
            complete=complete is not False,
            source_counts=counts,
            came_or_went=came_or_went,
            comparison=compared,
            sampled=verified.sampled if verified else None,
            counts=verified.counts if verified else None,
            full_pass=verified.about if verified else {},
            pending_unknown=verified.lost if verified else "",
            target_faults=verified.faults if verified else faults.get(route.name, ()),
            failures=errors,
            halted=state.rejects.halt_reason(route.name) if complete is False else "",
            rejects=state.rejects.count(route.name),
            accepted=state.rejects.acceptances(route.name),
            following=followed(state, route.name),
            recopied=state.repairs.recopied(route.name),
            repairs=state.repairs.counts(route.name),
            allow_empty=route.keys.allow_empty,
            accept_loss=route.keys.accept_loss,
            expires=getattr(route.options, "expires", None) is not None,
            backfill_s=known.backfill_s if known else None,
            verify_s=verified.seconds if verified else None,
        )


def _partitions(documents: int, run: RunKeys) -> int:
    """Return enough partitions to keep the workers busy to the end, each large enough to be worth opening.

    Threads share one interpreter, which one partition keeps busy; more of them would only hold more batches.
    """
    if run.runner == "threads":
        return 1
    by_size = 1 + documents // _DOCUMENTS_PER_PARTITION
    by_workers = min(_PARTITIONS_PER_WORKER * run.workers, documents // _FEWEST_DOCUMENTS)
    return min(_MOST_PARTITIONS, max(by_size, by_workers))


def _complete(state: State, route: Route) -> bool | None:
    """Tell whether every partition was copied to its end; None for a route that was never copied."""
    if state.partitions.route(route.name) is None:
        return None
    return all(part.done for part in state.partitions.of_route(route.name))
