"""What a report needs beside its rows to be signed: circumstances, earlier runs, what was not checked."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata

from flows.connect.progress import Throughput, sum_progress
from flows.connect.registered_plan import register_plan
from flows.connect.session import Session
from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.reporting.model import Report, RouteReport, SourceSeen
from flows.reporting.not_checked import not_checked
from flows.reporting.others import other_routes, read_report
from flows.run.jobs import Span
from flows.run.kept_runs import past_run
from flows.verifier.job import Verified
from stores.contract.stop import NEVER, Stop
from stores.errors import OfframpError
from stores.mongodb.metadata import Facts
from stores.state.runs import StoredRun
from stores.state.state import State

_log = logging.getLogger(__name__)

HISTORY = 20
"""Earlier runs named in a report."""
_DISTRIBUTIONS = {
    "offramp": "mongo-offramp",
    "pymongo": "pymongo",
    "boto3": "boto3",
    "redis-py": "redis",
    "elastic-transport": "elastic-transport",
    "prefect": "prefect",
    "SQLAlchemy": "SQLAlchemy",
}


@dataclass(frozen=True)
class RunRecord:
    """The record of one run of a plan, written when it begins and when it ends."""

    state: State
    plan: Plan
    command: str
    began: str
    """When it did, by the clock of the state, which names it."""
    source: Facts
    """The source's version and cluster time when the run began."""
    stop: Stop = NEVER
    throughput: dict[str, list[Throughput]] = field(default_factory=dict)

    @classmethod
    def begin(cls, session: Session, command: str, stop: Stop = NEVER) -> RunRecord:
        """The run is on record as one that has begun, and its plan; returns it.

        The source is asked nothing once `stop` is set.
        """
        state, plan = session.state, session.plan
        began = state.runs.begin(command, next((lease.owner for lease in session.leases.values()), ""))
        register_plan(plan, state)
        return cls(state, plan, command, began, _facts(plan, (), stop), stop)

    def add_copied(self, spans: Mapping[str, Sequence[Span]]) -> None:
        """Remember how fast the routes were copied."""
        for name, ran in spans.items():
            if series := sum_progress("copy", [span.progress for span in ran]):
                self.throughput.setdefault(name, []).append(series)

    def add_verified(self, verified: Mapping[str, Verified]) -> None:
        """Remember how fast the routes were verified."""
        for name, seen in verified.items():
            if series := sum_progress("verify", seen.progress):
                self.throughput.setdefault(name, []).append(series)

    def end(self, report: Report, routes: Sequence[Route]) -> Report:
        """The run is on record with this report, which is returned with its circumstances and history."""
        runs = self.state.runs
        now = _facts(self.plan, [route.collection for route in routes], self.stop)
        earlier = [run for run in runs.latest_first() if run.began != self.began]
        if self.command != "backfill":
            self._remember_copying(earlier)
        whole = replace(
            report,
            command=self.command,
            elapsed_s=round((report.finished - report.started).total_seconds(), 1),
            routes=[self._complete_row(row, route, now) for row, route in zip(report.routes, routes, strict=True)],
            source=SourceSeen(
                database=routes[0].database if routes else "",
                version=now.version or self.source.version,
                server=", ".join(now.servers or self.source.servers),
                cluster_time_began=self.source.cluster_time,
                cluster_time_ended=now.cluster_time,
            ),
            versions=_versions(),
            history=[past_run(run) for run in earlier[:HISTORY]],
            others=other_routes(
                self.plan,
                self.state,
                {route.name for route in routes},
                [run for run in earlier if run.began < self.began],
            ),
        )
        try:
            runs.end(self.began, whole.as_bytes())
        except OfframpError as error:  # The report itself, which is made, must not be lost for the history's sake.
            _log.warning("the run stays on record as one that did not end: %s", error)
        return whole

    def _remember_copying(self, earlier: Sequence[StoredRun]) -> None:
        """Take over how fast each route was copied when it last was: the report to sign is often a verification's."""
        copied: dict[str, list[Throughput]] = {}
        for run in earlier:
            if run.command == "backfill" and (report := read_report(run)) is not None:
                for row in report.routes:
                    if series := [throughput for throughput in row.throughput if throughput.stage == "copy"]:
                        copied.setdefault(row.route, series)
        for name, series in copied.items():
            self.throughput[name] = [*series, *self.throughput.get(name, [])]

    def _complete_row(self, row: RouteReport, route: Route, source: Facts) -> RouteReport:
        return replace(
            row,
            throughput=self.throughput.get(row.route, ()),
            rejects=self.state.rejects.count_by_code(row.route),
            not_checked=not_checked(route, row, source.unique_indexes.get(route.collection, ())),
        )


def _facts(plan: Plan, collections: Sequence[str], stop: Stop) -> Facts:
    """Return what the source says of itself; nothing where it does not answer, which the books tell already."""
    if stop.is_set():
        return Facts()
    try:
        with open_source(plan) as database:
            return database.facts(collections)
    except OfframpError:
        return Facts()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found
