"""A verification: its passes are begun or gone on with, handed out in parts, closed, and then reported."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from flows.connect.identities import refuse_absent, refuse_other_source
from flows.connect.preflight import is_copied, total_tally
from flows.connect.progress import Progress
from flows.connect.session import Session, open_session
from flows.connect.staging import refuse_unloaded
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route, digest
from flows.reporting.evidence import Failures, add_errors
from flows.reporting.model import Report
from flows.run.conclude import Verification, conclude
from flows.run.division import parts_to_verify
from flows.run.history import RunRecord
from flows.run.workers import Run
from flows.verifier.canary import canary
from flows.verifier.full_pass import STAGES
from flows.verifier.job import Level, Verified, VerifyJob, VerifyOptions
from flows.verifier.part_ledger import Shape
from stores.contract.source import Partition
from stores.contract.target import Auditable, Divided, Listable
from stores.errors import OfframpError, PermanentError
from stores.mongodb.database import MongoDB
from stores.state.state import State
from stores.state.verification import Pass, PassPart, former_log_folder

_log = logging.getLogger(__name__)


def verify(run: Run, level: Level | VerifyOptions) -> Report:
    """Every route of the run is verified to this level against what the source says now; no target is written.

    Raises PlanError if a route cannot be served, TransientError if a run is at work on one of them.
    """
    started = dt.datetime.now(dt.UTC)
    with open_session(run.plan, run.routes, observer=run.observer, stop=run.stop) as session:
        record = RunRecord.begin(session, "verify", run.stop)
        failures: Failures = defaultdict(list)
        with open_source(run.plan) as database:

            def look(route: Route) -> None:
                known = session.state.partitions.route(route.name)
                if known is not None:
                    refuse_other_source(known, route.source(database).identity())
                    refuse_unloaded(session.state, route)
                with session.open_target(route) as target:
                    refuse_absent(target, known)

            add_errors(failures, session.steps.take("looking at the copy", session.routes, look, abandons=True))
        verification = verify_copied(run, session, VerifyOptions.of(level), failures)
        return conclude(run, session, record, started, verification, failures)


def verify_copied(run: Run, session: Session, options: VerifyOptions, failures: Failures) -> Verification:
    """Return what verifying each route came to; the failures are added by route.

    A route that is not wholly copied has its verdict already: comparing it would only list what is still to come. A
    route that a signal stopped, at a checkpoint, has neither a result nor a failure.
    """
    if run.stop.is_set():
        return Verification(options.level)
    complete = {route.name: is_copied(session.state, route) is not False for route in session.routes}
    notes = _find_canaries(run, session, failures) if options.canary else {}
    if options.level == "none":
        return Verification(options.level, notes=notes, faults=_audit_targets(session, failures))
    jobs = [
        VerifyJob(
            *(route.name, options, session.leases[route.name]),
            *(session.checked[route.name].id_kind, session.checked[route.name].expires),
        )
        for route in session.routes
        if route.name not in failures and complete[route.name]
    ]
    if options.level == "full":
        return Verification(options.level, _verify_fully(run, session, jobs, failures), notes)
    for job in jobs:
        documents = _expected(session, job.route)
        ahead = min(options.sample, documents) if options.level == "sample" else documents
        run.observer.planned(job.route, "verify", 1, ahead)
    verified = _do(run, jobs, failures)
    return Verification(options.level, verified, notes)


def _find_canaries(run: Run, session: Session, failures: Failures) -> dict[str, list[str]]:
    """Known damage was found in each target; returns what to say of it, and adds the failures, by route."""
    notes: dict[str, list[str]] = {}

    def plant(route: Route) -> str:
        return canary(route, session.state.leases.fence(session.leases[route.name]))

    first = list({route.target_name: route for route in reversed(session.routes)}.values())
    found = session.steps.take("planting damage", first, plant)
    by_target = {route.target_name: found[route.name] for route in first}
    for outcome in by_target.values():
        run.observer.said(str(outcome))
    for route in session.routes:
        outcome = by_target[route.target_name]
        if isinstance(outcome, OfframpError):
            failures[route.name].append(outcome)
        else:
            notes[route.name] = [outcome]
    return notes


def _audit_targets(session: Session, failures: Failures) -> Mapping[str, Sequence[str]]:
    """Return what each target finds wrong with itself, by route: it counts also where nothing is compared."""

    def audit(route: Route) -> Sequence[str]:
        with session.open_target(route) as target:
            return target.audit() if isinstance(target, Auditable) else ()

    faults = session.steps.take("auditing the targets", session.routes, audit, abandons=True)
    add_errors(failures, faults)
    return {name: found for name, found in faults.items() if not isinstance(found, OfframpError)}


def _do(run: Run, jobs: Sequence[VerifyJob], failures: Failures) -> dict[str, Verified]:
    verified: dict[str, Verified] = {}
    for job, outcome in run.workers.run(jobs):
        if isinstance(outcome, OfframpError):
            failures[job.route].append(outcome)
        else:
            verified[job.route] = outcome
    return verified


@dataclass
class _Spent:
    """What the jobs of a route's pass took."""

    seconds: float = 0.0
    progress: list[Progress] = field(default_factory=list)

    def add(self, outcome: Verified) -> None:
        """Count what another job took."""
        self.seconds += outcome.seconds
        self.progress += outcome.progress


def _verify_fully(run: Run, session: Session, jobs: Sequence[VerifyJob], failures: Failures) -> dict[str, Verified]:
    """Return what a full pass over each route came to; the failures are added by route.

    It lists what the target holds before it reads the source: a record that sync adds meanwhile is then expected.
    """
    routes = {route.name: route for route in session.routes}
    by_route = {job.route: job for job in jobs}
    with open_source(run.plan) as database:
        begun = session.steps.take(
            "dividing the comparison",
            [routes[job.route] for job in jobs],
            lambda route: _begin_pass(run, session, by_route[route.name], route, database),
        )
    add_errors(failures, begun)
    open_jobs = [job for job in jobs if job.route not in failures]
    spent: defaultdict[str, _Spent] = defaultdict(_Spent)
    verified: dict[str, Verified] = {}
    while open_jobs and not run.stop.is_set():
        parts = {job.route: session.state.verification.parts(job.route) for job in open_jobs}
        for job in open_jobs:
            _plan_comparison(run, session, job, parts[job.route])
        for stage in STAGES:
            pending = [
                replace(job, stage=stage, number=part.number)
                for job in open_jobs
                if job.route not in failures and not _is_single(parts[job.route])
                for part in parts[job.route]
                if part.stage == stage and not part.done
            ]
            for done, outcome in run.workers.run(pending):
                if isinstance(outcome, OfframpError):
                    failures[done.route].append(outcome)
                else:
                    spent[done.route].add(outcome)
            if run.stop.is_set():
                return verified
        closing = [_closing(job, parts[job.route]) for job in open_jobs if job.route not in failures]
        closed = _do(run, closing, failures)
        for name, outcome in closed.items():
            spent[name].add(outcome)
            if outcome.note:
                run.observer.said(f"{name}: {outcome.note}")
            if outcome.ended:
                verified[name] = replace(outcome, seconds=spent[name].seconds, progress=spent[name].progress)
        open_jobs = [job for job in open_jobs if job.route in closed and job.route not in verified]
    return verified


def _expected(session: Session, route: str) -> int:
    """Return about how many documents the source gives: as many as it gave the copy, which a filter may lessen."""
    if session.state.partitions.route(route) is None:
        return session.checked[route].expected
    return total_tally(session.state, session.plan.routes[route]).read


def _plan_comparison(run: Run, session: Session, job: VerifyJob, parts: Sequence[PassPart]) -> None:
    """The observer knows how many jobs the route's pass still has, and about how many documents it compares."""
    jobs = 1 if _is_single(parts) else 1 + sum(not part.done for part in parts)
    last = "reread" if any(part.stage == "reread" for part in parts) else "compare"
    reading = [part for part in parts if part.stage == last]
    ahead = 0
    if not all(part.done for part in reading):
        ahead = max(0, _expected(session, job.route) - sum(part.tally.read for part in reading))
    run.observer.planned(job.route, "verify", jobs, ahead)


def _closing(job: VerifyJob, parts: Sequence[PassPart]) -> VerifyJob:
    return job if _is_single(parts) else replace(job, stage="close")


def _is_single(parts: Sequence[PassPart]) -> bool:
    """Return whether a single job does the whole pass: it has one part to list and one to compare."""
    return len({part.stage for part in parts}) == len(parts)


def _begin_pass(run: Run, session: Session, job: VerifyJob, route: Route, database: MongoDB) -> Pass:
    """Return the route's pass: the one an earlier run began, if it is about the same, else a new one."""
    passes = session.state.verification
    with session.open(route, database) as opened:
        scope = pass_scope(opened.state, route, opened.source.identity(), job.id_kind)
        if not job.options.restart and (resumed := passes.resume(opened.lease, scope)) is not None:
            _log.info("%s: the verification goes on where it stopped", route.name)
            return resumed
        documents = opened.source.estimate()
        parts = parts_to_verify(documents, run.plan.run)
        partitions = opened.source.split(parts)
        refuse_gaps(partitions)
        shares = min(parts, run.plan.run.workers) if isinstance(opened.target, Divided) else 1
        _delete_former_logs(run.plan, route.name)
        shape = Shape.first(documents, listed=isinstance(opened.target, Listable))
        return passes.begin(opened.lease, scope, shares, partitions, shape.to_json())


def _delete_former_logs(plan: Plan, route: str) -> None:
    """Nothing is left of what an earlier release kept beside the state of a pass over the route."""
    folder = former_log_folder(plan.state, plan.name, route)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # Logs of other routes may be in it.
            folder.parent.rmdir()


def pass_scope(state: State, route: Route, source_identity: str, id_kind: str) -> Mapping[str, Any]:
    """Return what a pass is about: another plan, collection or copy makes what was seen void (R137, R156)."""
    known = state.partitions.route(route.name)
    synced = state.sync_positions.get(route.name)
    return {
        "plan": digest([route.fingerprint()]),
        "source": source_identity,
        "target": known.target_identity if known else None,
        "run": known.started if known else None,
        "copied": total_tally(state, route).to_json(),
        "synced": [synced.applied, synced.deleted] if synced else None,
        "id_kind": id_kind,
    }


def refuse_gaps(partitions: Sequence[Partition]) -> None:
    """Raise PermanentError unless each partition begins where the one before ends, and the outer ends are open.

    So they are disjoint and cover every `_id`; that the server keeps to their bounds is proven by its own counts per
    type (R157), and by the addresses of documents that two of them gave.
    """
    lowers = [part.lower for part in partitions]
    uppers = [part.upper for part in partitions]
    if not partitions or lowers[0] is not None or uppers[-1] is not None or lowers[1:] != uppers[:-1]:
        raise PermanentError("E-INTERNAL-PARTITIONS", "the partitions of a pass do not cover the collection just once")
    if None in lowers[1:]:
        raise PermanentError("E-INTERNAL-PARTITIONS", "a partition of a pass has no lower bound")
