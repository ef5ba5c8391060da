"""From the outcomes of a run to its report: one row a route, its verdict on record, its records published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from flows.connect.preflight import is_copied, total_tally
from flows.connect.session import Session
from flows.connect.stores import open_source
from flows.plan.model import Route, digest
from flows.replication.positions import first_sync_within, sync_status
from flows.reporting.evidence import Evidence, Failures
from flows.reporting.model import Pace, Report, RouteReport, Swept
from flows.reporting.verdict import judge
from flows.run.history import RunRecord
from flows.run.places import place_of, servers_of
from flows.run.workers import Run
from flows.verifier.job import Level, Verified
from flows.verifier.pending_changes import (
    changed_by_type,
    pending_changes,
    unsynced_changes,
)
from mappers.contract import option_declarations
from stores.contract.stop import STOPPED, Stop
from stores.contract.target import Publishable
from stores.errors import LeaseLost, OfframpError, TransientError
from stores.mongodb.database import MongoDB
from stores.state.state import State


@dataclass(frozen=True)
class Verification:
    """What verifying the routes of a run to one level came to; each mapping is by route."""

    level: Level
    verified: Mapping[str, Verified] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the canaries showed."""
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What targets find wrong with themselves, where nothing was compared."""


def conclude(
    run: Run,
    session: Session,
    record: RunRecord,
    started: dt.datetime,
    verification: Verification,
    failures: Failures,
    paces: Mapping[str, Pace] | None = None,
    *,
    swept: Mapping[str, Swept] | None = None,
    warnings: Mapping[str, Sequence[str]] | None = None,
    publishing: bool = False,
) -> Report:
    """Return the report of the run, which is on record with it.

    With `publishing` readers of a target see the records of each route that is proven clean.
    """
    record.add_verified(verification.verified)
    with open_source(run.plan) as database:
        keeps_s: Mapping[str, float] = {}
        if publishing and not run.stop.is_set():
            keeps_s = first_sync_within(session.state, database, session.routes)

        def gather(route: Route, asked: MongoDB | None = database) -> Evidence:
            return _evidence(route, session.state, asked, verification, failures, run.stop)

        gathered = session.steps.take("counting", session.routes, gather, abandons=True)
    judged: dict[str, RouteReport] = {}
    for route in session.routes:
        evidence = gathered[route.name]
        if isinstance(evidence, OfframpError):
            if not run.stop.is_set():
                raise evidence
            evidence = gather(route, None)
        judged[route.name] = replace(
            judge(evidence),
            pace=(paces or {}).get(route.name),
            source_keeps_s=keeps_s.get(route.name),
            swept=(swept or {}).get(route.name),
            warnings=(warnings or {}).get(route.name, ()),
            location=place_of(route),
            notes=[
                *session.checked[route.name].notes,
                *(session.state.designs.get(route.name) or {}).get("cut", ()),
                *verification.notes.get(route.name, ()),
            ],
            canary=" ".join(verification.notes.get(route.name, ())),
        )
    if publishing:
        proven = [
            route
            for route in session.routes
            if judged[route.name].verdict == "clean" and judged[route.name].verified == "full"
        ]
        published = session.steps.take("publishing", proven, lambda route: _publish(session, route))
        judged |= {name: _shown(judged[name], place) for name, place in published.items()}
    for done, route in enumerate(session.routes):
        session.steps.show("recording verdicts", done, len(session.routes), [route.name])
        if session.state.partitions.route(route.name) is not None:
            row = judged[route.name]
            outcome = {"verdict": row.verdict, "verified": row.verified}
            try:
                session.state.partitions.record_outcome(session.leases[route.name], 0.0, outcome)
            except LeaseLost as error:
                # The outcome on record is for the run that has the route now to say.
                judged[route.name] = replace(row, verdict="failed", reasons=[*row.reasons, str(error)])
    session.steps.show("recording verdicts", len(session.routes), len(session.routes), [])
    report = Report(
        plan=run.plan.name,
        fingerprint=digest(route.fingerprint() for route in session.routes),
        started=started,
        finished=dt.datetime.now(dt.UTC),
        routes=list(judged.values()),
        servers=servers_of(session, failures, ask=not run.stop.is_set()),
    )
    return record.end(report, session.routes)


def _publish(session: Session, route: Route) -> str:
    """Readers see the records of a clean route; returns where, "" for a target that publishes nothing."""
    with session.open_target(route) as target:
        return target.publish() if isinstance(target, Publishable) else ""


def _shown(row: RouteReport, published: str | OfframpError) -> RouteReport:
    """Return the row of a route that is published at this place, or could not be published."""
    if isinstance(published, OfframpError):
        return replace(row, verdict="failed", reasons=[*row.reasons, f"not published: {published}"])
    return replace(row, place=published or row.place)


def _first_sync(state: State, route: Route) -> Literal["", "stream", "rescan"]:
    """Return how the route's first sync will find what changed since its copy began; "" where it may miss some.

    A watermark tells of no delete.
    """
    sync_state = state.sync_positions.get(route.name)
    if sync_state is None or sync_state.synced or sync_state.halted or route.keys.sync == "watermark":
        return ""
    return route.keys.sync


def _evidence(
    route: Route, state: State, database: MongoDB | None, verification: Verification, failures: Failures, stop: Stop
) -> Evidence:
    """Return what is known of the route now that its copying and its verification have ended.

    Without a database, or once the work is to end, the source is not asked.
    """
    errors = [*failures.get(route.name, ())]
    if not errors and stop.is_set():
        errors.append(TransientError(STOPPED, "stopped by a signal; the same command resumes"))
    counts: Mapping[str, int] | None = None
    if database is not None and not stop.is_set():
        try:
            counts = route.source(database).count_by_type()
        except OfframpError as error:
            errors.append(error)
    known, complete = state.partitions.route(route.name), is_copied(state, route)
    verified = verification.verified.get(route.name)
    compared = verified.comparison if verified else None
    copied = total_tally(state, route) if known else None
    first_sync = _first_sync(state, route) if verification.level == "none" else ""
    following, recopied = sync_status(state, route.name), state.repairs.recopied(route.name)
    rewritten = recopied or following is not None
    came_or_went: Mapping[str, int] = {}
    changed = False
    if database is not None and counts is not None and not errors:
        try:
            if compared is not None and compared.tally.id_types != counts:
                came_or_went = changed_by_type(pending_changes(state, route, database, stop=stop))
            elif compared is None and complete and first_sync == "stream" and copied and copied.id_types != counts:
                came_or_went = changed_by_type(unsynced_changes(state, route, database, stop))
            elif compared is None and complete and (verification.level == "none" or rewritten):
                changes = unsynced_changes(state, route, database, stop)
                changed = changes is not None and changes.is_any()
        except OfframpError as error:
            errors.append(error)
    return Evidence(
        route=route.name,
        collection=route.collection,
        target=route.target_name,
        level=verification.level,
        copied=copied,
        complete=complete is not False,
        source_counts=counts,
        came_or_went=came_or_went,
        first_sync=first_sync,
        changed=changed,
        one_record=route.one_record,
        comparison=compared,
        sampled=verified.sampled if verified else None,
        counts=verified.counts if verified else None,
        full_pass=verified.about if verified else {},
        pending_unknown=verified.lost if verified else "",
        target_faults=verified.faults if verified else verification.faults.get(route.name, ()),
        failures=errors,
        halted=state.rejects.halt_reason(route.name) if complete is False else "",
        rejects=state.rejects.count(route.name),
        accepted=state.rejects.acceptances(route.name),
        following=following,
        recopied=recopied,
        repairs=state.repairs.counts(route.name),
        allow_empty=route.keys.allow_empty,
        accept_loss=route.keys.accept_loss,
        expires=option_declarations(route.options).expires is not None,
        backfill_s=known.backfill_s if known else None,
        verify_s=verified.seconds if verified else None,
    )
