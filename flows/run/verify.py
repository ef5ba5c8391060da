"""A verification from its beginning to its end: passes begun or gone on with, handed out in parts, closed."""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.connect.progress import Progress
from flows.connect.stores import open_source, with_design
from flows.plan.model import Plan, Route, digest
from flows.reporting.evidence import Failures
from flows.run.workers import Workers
from flows.verifier.job import Verified, VerifyJob
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.contract.stop import Stop
from stores.contract.target import Divided
from stores.errors import OfframpError, PermanentError
from stores.state.leases import Lease
from stores.state.state import State
from stores.state.verification import Pass, log_folder

_log = logging.getLogger(__name__)

_FEWEST_DOCUMENTS = 50_000
_PARTS_PER_WORKER = 4
_MOST_PARTS = 256
_IN_ONE = 2
"""A pass of no more parts, one to list and one to compare, is a single job."""


@dataclass(frozen=True)
class Passes:
    """The verification of some routes of a plan by one run."""

    plan: Plan
    state: State
    leases: Mapping[str, Lease]
    workers: Workers
    stop: Stop

    def verify(self, jobs: Sequence[VerifyJob], routes: Mapping[str, Route], failures: Failures) -> dict[str, Verified]:
        """Return what verifying each route came to; the failures are added by route.

        A route that a signal stopped, at a checkpoint, is in neither. The jobs are for one level. A full pass lists
        what the target holds before it reads the source: a record that sync adds meanwhile is then expected.
        """
        if not jobs or jobs[0].asked.level != "full":
            return self._done(jobs, failures)
        passes: dict[str, Pass] = {}
        for job in jobs:
            try:
                passes[job.route] = self._begun(job, routes[job.route])
            except OfframpError as error:
                failures[job.route].append(error)
        begun = [job for job in jobs if job.route in passes]
        parts = {job.route: self.state.verification.parts(job.route) for job in begun}
        spent: defaultdict[str, float] = defaultdict(float)
        progress: defaultdict[str, list[Progress]] = defaultdict(list)
        for stage in ("list", "compare"):
            waiting = [
                replace(job, stage=stage, number=part.number)
                for job in begun
                if job.route not in failures and len(parts[job.route]) > _IN_ONE
                for part in parts[job.route]
                if part.stage == stage and not part.done
            ]
            for ended, outcome in self.workers.run(waiting):
                if isinstance(outcome, OfframpError):
                    failures[ended.route].append(outcome)
                else:
                    spent[ended.route] += outcome.seconds
                    progress[ended.route] += outcome.progress
            if self.stop.is_set():
                return {}
        closing = [
            replace(job, stage="close") if len(parts[job.route]) > _IN_ONE else job
            for job in begun
            if job.route not in failures
        ]
        verified: dict[str, Verified] = {}
        for name, closed in self._done(closing, failures).items():
            every = [*progress[name], *closed.progress]
            verified[name] = replace(closed, seconds=closed.seconds + spent[name], progress=every)
            shutil.rmtree(log_folder(self.plan.state, self.plan.name, name), ignore_errors=True)
        return verified

    def _done(self, jobs: Sequence[VerifyJob], failures: Failures) -> dict[str, Verified]:
        verified: dict[str, Verified] = {}
        for job, outcome in self.workers.run(jobs):
            if isinstance(outcome, OfframpError):
                failures[job.route].append(outcome)
            else:
                verified[job.route] = outcome
        return verified

    def _begun(self, job: VerifyJob, route: Route) -> Pass:
        """Return the route's pass: the one an earlier run began, if it is about the same, else a new one."""
        room = self.state.verification
        lease = self.leases[route.name]
        with open_source(self.plan) as database:
            source = route.source(database)
            scope = self._scope(job, route, source.identity())
            if not job.asked.restart and (resumed := room.resume(lease, scope)) is not None:
                _log.info("%s: the verification goes on where it stopped", route.name)
                return resumed
            documents = source.estimate()
            partitions = source.split(self._parts(documents))
        refuse_gaps(partitions)
        target = with_design(route.target(), self.state.designs.get(route.name))
        shares = self._parts(documents) if isinstance(target, Divided) else 1
        target.close()
        shutil.rmtree(log_folder(self.plan.state, self.plan.name, route.name), ignore_errors=True)
        return room.begin(lease, scope, min(shares, self.plan.run.workers), partitions)

    def _scope(self, job: VerifyJob, route: Route, identity: str) -> Mapping[str, Any]:
        """Return what a pass is about: another plan, collection or copy makes what was seen void (R137, R156)."""
        known = self.state.partitions.route(route.name)
        copied = Tally()
        for part in self.state.partitions.of_route(route.name):
            copied.add(part.tally)
        sync_state = self.state.sync_positions.get(route.name)
        return {
            "plan": digest([route.fingerprint()]),
            "source": identity,
            "target": known.target_identity if known else None,
            "run": known.started if known else None,
            "copied": copied.to_json(),
            "synced": [sync_state.applied, sync_state.deleted] if sync_state else None,
            "id_kind": job.id_kind,
        }

    def _parts(self, documents: int) -> int:
        """Return how many parts the workers verify side by side; threads share one interpreter, so one for those."""
        if self.plan.run.runner == "threads":
            return 1
        most = min(_PARTS_PER_WORKER * self.plan.run.workers, _MOST_PARTS)
        return max(1, min(most, documents // _FEWEST_DOCUMENTS))


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
