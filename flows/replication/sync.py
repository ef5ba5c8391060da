"""Sync: what was touched in the source since a route's position is copied again, or deleted, in its target (R101-R136).

The stream of changes says which documents; what they are now is for the source to say, in one read of many. So nothing
is ever applied out of order, replays and ties do no harm, and a position saved too early is the only way to lose a
change: it is saved last.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from flows.connect.identities import confirm_target, refuse_other_source
from flows.connect.lease_renewal import LEASE_HELD
from flows.connect.preflight import is_copied
from flows.connect.progress import SILENT, RunObserver
from flows.connect.recopy import recopy_late_writes
from flows.connect.session import Session, open_session
from flows.connect.staging import awaits_load, refuse_unloaded
from flows.connect.stores import open_source
from flows.copying.reject_budget import BudgetTracker, budget_of
from flows.plan.model import Plan, Route, digest
from flows.replication.applier import Applier
from flows.replication.positions import sync_status
from flows.replication.refusals import Unrecorded, as_halted, halt_message, raise_common, refuse_unsyncable
from flows.replication.rescan import RESCAN_TOKEN, rescan, rescanned_at
from flows.replication.sweep import sweep
from flows.reporting.evidence import Evidence, Failures
from flows.reporting.model import Report, Swept
from flows.reporting.others import other_routes
from flows.reporting.verdict import judge
from stores.contract.changes import ChangeBatch, Changes, StreamPosition, Touched
from stores.contract.journal import Tally
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.database import MongoDB
from stores.state.state import State

_log = logging.getLogger(__name__)

_BEHIND = (
    "the collection {} {} before this route was copied, and another route synced beside it is behind that; sync it by"
    " itself: sync --route {}"
)
_PASSING = (LEASE_HELD, "E-SYNC-BACKFILL", "E-NOT-LOADED")
"""What keeps a route from being synced only until another run, such as its backfill, has ended."""
_TAKE_IN_EVERY_S = 5.0
"""How often a sync that goes on looks whether that run has ended."""
_POLL_EVERY_S = 60.0
"""How often a source that is synced is asked for how long it keeps its changes."""


class SyncObserver(Protocol):
    """Receives how far a sync has come."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """Each batch has been applied, or there was none."""


@dataclass(frozen=True, slots=True)
class RouteProgress:
    """How far one route has come in this sync."""

    route: str
    events: int
    applied: int
    deleted: int
    lag_s: float
    rate: float
    """Documents copied again a second, so far."""
    window_s: float | None
    ended: str = ""
    """Why it goes no further, "" while it does."""


def sync(
    plan: Plan,
    routes: Sequence[Route],
    *,
    follow: bool = False,
    stop: Stop = NEVER,
    watching: SyncObserver = lambda _: None,
    observer: RunObserver = SILENT,
) -> Report:
    """Every chosen route's target is what its source was when this began, or later; returns the report.

    With `follow` it goes on until `stop`. A route that was not backfilled, cannot be synced, or has another run at work
    on it is a failure in the report; the others go on. With `follow` it is taken in once it is copied and free. If no
    route can be synced at all, raises PlanError or TransientError, having written nothing.
    """
    started = dt.datetime.now(dt.UTC)
    with (
        open_session(plan, routes, each_alone=True, observer=observer, stop=stop) as session,
        open_source(plan) as database,
    ):
        synced = _Sync(session, database, stop, watching, follow)
        with synced.closing:
            synced.open()
            synced.run()
            return synced.report(started)


@dataclass
class _Sync:
    session: Session
    database: MongoDB
    stop: Stop
    watching: SyncObserver
    follow: bool
    """Whether it goes on until `stop`."""
    appliers: dict[str, Applier] = field(default_factory=dict)
    """The routes that go on."""
    all_appliers: dict[str, Applier] = field(default_factory=dict)
    """Those and the ones that went no further."""
    failures: Failures = field(default_factory=lambda: defaultdict(list))
    swept: dict[str, Swept] = field(default_factory=dict)
    """What was deleted as nothing maps to it any more, by route."""
    awaited: list[str] = field(default_factory=list)
    """The routes that are taken in once they are copied and no other run has them."""
    closing: ExitStack = field(default_factory=ExitStack)
    """Closes what the appliers use."""
    by_name: dict[str, Route] = field(init=False)
    window_s: float | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _behind_s: float = 0.0
    """How far the source's clock is behind ours."""
    _measured_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.by_name = {route.name: route for route in self.session.routes}

    @property
    def state(self) -> State:
        return self.session.state

    def open(self) -> None:
        """Each route that can be synced has its applier, and the others their failures; their leases are given back.

        Raises the error of all routes if none can be synced for what is wrong with the plan, or for other runs.
        """
        refused = {name: as_halted(self.by_name[name], error) for name, error in self.session.refused.items()}
        leased = [route for route in self.session.routes if route.name in self.session.leases]
        for name, opened in self.session.steps.take("opening", leased, self._open_route).items():
            if isinstance(opened, OfframpError):
                refused[name] = opened
                self.session.give_back(name)
            else:
                self.appliers[name] = self.all_appliers[name] = opened
        if not self.appliers:
            raise_common(refused)
        for route in self.session.routes:
            if route.name in refused:
                self.failures[route.name].append(refused[route.name])
                if self.follow:  # Its report may be days away.
                    _log.warning("%s is not followed: %s", route.name, refused[route.name])
                    if refused[route.name].code in _PASSING:
                        self.awaited.append(route.name)

    def _open_route(self, route: Route, *, copies_late: bool = False) -> Applier:
        """Return the applier of a leased route; what it uses is closed at the end of the sync, or now if this fails."""
        with ExitStack() as opening:
            applier = self._open_applier(route, opening)
            if copies_late:
                applier.copy_late()
            with self._guard:
                self.closing.push(opening.pop_all())
        return applier

    def _open_applier(self, route: Route, closing: ExitStack) -> Applier:
        lease = self.session.leases[route.name]
        known, sync_state = self.state.partitions.route(route.name), self.state.sync_positions.get(route.name)
        if known is None or not is_copied(self.state, route):
            raise PlanError("E-SYNC-BACKFILL", "it is not copied completely; run backfill first, which resumes")
        refuse_unloaded(self.state, route)
        if self.state.sync_positions.sweep_due(route.name) and route.keys.sync != "rescan":
            raise PlanError(
                "E-SYNC-BACKFILL", "records of an earlier run are still to be deleted; run backfill, which resumes"
            )
        if sync_state is None and route.keys.sync == "rescan":
            self.state.sync_positions.begin(lease, rescanned_at(known.started))
            sync_state = self.state.sync_positions.get(route.name)
        if sync_state is None or (sync_state.position.token == RESCAN_TOKEN) != (route.keys.sync == "rescan"):
            raise PlanError(
                "E-SYNC-POSITION",
                f"its backfill noted no position to go on from with sync: {route.keys.sync}; start over with backfill"
                " --restart (which for sync: stream needs a replica set, and a collection that is no view)",
            )
        if sync_state.halted:
            raise PermanentError("E-SYNC-HALTED", halt_message(route, sync_state.halted))
        opened = closing.enter_context(self.session.open(route, self.database))
        refuse_other_source(known, opened.source.identity())
        needs_former = not opened.projection.told_by_id
        try:
            refuse_unsyncable(route, self.database, needs_former=needs_former)
        except Unrecorded as error:  # It stays lost when the streams are on again.
            self.state.sync_positions.halt(lease, error.why)
            raise
        confirm_target(opened.target, known)
        self.state.rejects.lift_halt(lease)
        return Applier(
            *(
                opened.source,
                opened.projection,
                opened.target,
                opened.journal,
                partial(self.state.sync_positions.save, lease),
            ),
            position=sync_state.position,
            advancing=route.keys.sync == "stream",
            needs_former=needs_former,
            window=self.session.plan.run.window,
            stop=self.stop,
            check_budget=lambda: BudgetTracker(self.state, lease, budget_of(self.session.plan, route)).judge(),
            before_write=lambda: self.state.verification.abandon(lease),
            copy_late=partial(recopy_late_writes, opened),
        )

    def run(self) -> None:
        """Every applier is at the source's time of now or later, or has failed; with `follow` until it is to stop."""
        for name, applier in list(self.appliers.items()):
            try:
                applier.copy_late()
            except OfframpError as error:
                self._fail(name, error)
        groups: dict[str, list[str]] = {}
        for name in self.appliers:
            keys = self.by_name[name].keys
            # One stream tells the changes of all its routes; what goes another way goes alone.
            groups.setdefault("" if keys.sync == "stream" else name, []).append(name)
        if not groups:
            return
        with ThreadPoolExecutor(len(groups) + len(self.awaited), thread_name_prefix="sync") as threads:
            under_way = [threads.submit(self._group, names) for names in groups.values()]
            while self.awaited and not self.stop.is_set() and not all(group.done() for group in under_way):
                self.stop.wait(_TAKE_IN_EVERY_S)
                under_way += [threads.submit(self._group, [name]) for name in self._take_in_freed()]
            for group in under_way:
                group.result()
        for name, applier in list(self.appliers.items()):
            if self.stop.is_set() and not self.follow:
                text = "stopped by a signal before it had caught up; the same command resumes"
                self.failures[name].append(TransientError(STOPPED, text))
            try:
                applier.save(self._lag_s(applier.position))
            except OfframpError as error:
                self._fail(name, error)

    def _take_in_freed(self) -> list[str]:
        """Return the awaited routes that have an applier from now on."""
        taken: list[str] = []
        for name in list(self.awaited):
            try:
                if not self._is_free(name):
                    continue
                self._take_in(name)
            except OfframpError as error:
                self.failures[name] = [error]
                if error.code not in _PASSING and not isinstance(error, TransientError):
                    _log.error("%s: %s", name, error)
                    self.awaited.remove(name)
            else:
                self.awaited.remove(name)
                taken.append(name)
        return taken

    def _is_free(self, name: str) -> bool:
        """Return whether the route is copied, and no run has it: a lease tried too early would keep a backfill out."""
        route = self.by_name[name]
        if not is_copied(self.state, route) or awaits_load(self.state, route):
            return False
        swept = route.keys.sync == "rescan" or not self.state.sync_positions.sweep_due(name)
        return swept and not self.state.leases.holder(name)

    def _take_in(self, name: str) -> None:
        """The route has an applier, which has copied what a run wrote too late; raises why it has none."""
        route = self.session.take_in(self.by_name[name])
        try:
            applier = self._open_route(route, copies_late=True)
        except OfframpError:
            self.session.give_back(name)
            raise
        self.by_name[name] = route
        self.failures.pop(name, None)
        self.appliers[name] = self.all_appliers[name] = applier
        _log.info("%s: taken in", name)

    def _group(self, names: Sequence[str]) -> None:
        """The appliers of these routes, which share one way of finding changes, have come as far as they can."""
        route = self.by_name[names[0]]
        try:
            match route.keys.sync:
                case "stream":
                    changes = self.database.changes()
                    self._measure_window(changes)
                    self._stream(names, changes)
                case "watermark":
                    self._stream(names, self.database.watermark(route.collection, route.keys.watermark or ""))
                case "rescan":
                    self._rescan(names[0])
        except OfframpError as error:
            for name in names:  # What ends the stream ends all that go by it.
                if name in self.appliers:
                    self._end(name, error)

    def _stream(self, names: Sequence[str], changes: Changes) -> None:
        until = None if self.follow else changes.now()
        wanted: dict[str, bool] = {}
        for name in names:
            collection = self.by_name[name].collection
            wanted[collection] = wanted.get(collection, False) or self.appliers[name].needs_former
        since = oldest([self.appliers[name].position for name in names])
        with ThreadPoolExecutor(len(names), thread_name_prefix="applier") as threads:
            for batch in changes.follow(wanted, since, until=until, stop=self.stop):
                self._apply([name for name in names if name in self.appliers], batch, threads)
                if not any(name in self.appliers for name in names):
                    break
                if (
                    self.follow
                    and isinstance(changes, DatabaseChanges)
                    and time.monotonic() - self._measured_at > _POLL_EVERY_S
                ):
                    self._measure_window(changes)

    def _rescan(self, name: str) -> None:
        applier, route = self.appliers[name], self.by_name[name]
        while not self.stop.is_set():
            readable = route.source(self.database)
            if not self.state.document_hashes.last_pass(name):  # Nothing tells what was deleted since the copy.
                self.state.sync_positions.request_sweep(self.session.leases[name])
            rescan(self.state, self.session.leases[name], readable, applier, self.stop)
            if self.state.sync_positions.sweep_due(name):
                try:
                    sweep(self.session, route, self.stop, partial(self._note_swept, name))
                finally:
                    applier.save_counts(0.0)
            self._report_progress()
            if not self.follow:
                break
            self.stop.wait(_POLL_EVERY_S)

    def _note_swept(self, name: str, swept: Swept) -> None:
        """Take what a sweep has deleted so far, which begins with nothing, and add it to what the sync deleted."""
        before = self.swept.get(name)
        self.swept[name] = swept
        self.all_appliers[name].count_deleted(max(0, swept.deleted - (before.deleted if before is not None else 0)))

    def _measure_window(self, changes: DatabaseChanges) -> None:
        self.window_s = changes.window_s()
        self._behind_s = time.time() - (changes.now() >> 32)
        self._measured_at = time.monotonic()
        for name, applier in list(self.appliers.items()):
            if self.by_name[name].keys.sync != "stream":
                continue  # It needs no changes that the source keeps.
            lag_s = self._lag_s(applier.position)
            if self.window_s is not None and lag_s > max(_POLL_EVERY_S, self.window_s / 2):
                _log.warning(
                    "%s: %.0f s behind; the source can now tell changes of the last %.0f s, and a route that is further"
                    " behind must be copied anew",
                    *(name, lag_s, self.window_s),
                )

    def _lag_s(self, position: StreamPosition) -> float:
        return max(0.0, time.time() - self._behind_s - (position.time >> 32))

    def _apply(self, names: Sequence[str], batch: ChangeBatch, threads: ThreadPoolExecutor) -> None:
        """The batch is in the target of each of these appliers, or the applier has failed."""
        touched: dict[str, list[Touched]] = {}
        for touch in batch.touched:
            touched.setdefault(touch.collection, []).append(touch)
        for name in names:
            why = batch.halts.get(self.by_name[name].collection)
            if why is not None and batch.position.time < self.appliers[name].position.time:
                # It was copied since, and may follow well; but this stream, from further back, tells no more of it.
                text = _BEHIND.format(self.by_name[name].collection, why, name)
                self._fail(name, PermanentError("E-SYNC-HALTED", text))
            elif why is not None:
                self._halt(name, why)
        lag_s = self._lag_s(batch.position)
        began = {
            name: threads.submit(applier.apply, touched.get(self.by_name[name].collection, ()), batch.position, lag_s)
            for name, applier in [(name, self.appliers[name]) for name in names if name in self.appliers]
        }
        for name, applied in began.items():
            try:
                applied.result()
            except OfframpError as error:
                self._end(name, error)
        self._report_progress()

    def _report_progress(self) -> None:
        self.watching([self._progress(name, applier) for name, applier in list(self.all_appliers.items())])

    def _halt(self, name: str, why: str) -> None:
        try:
            self.state.sync_positions.halt(self.session.leases[name], why)
        except OfframpError as error:
            self._fail(name, error)
        else:
            self._fail(name, PermanentError("E-SYNC-HALTED", halt_message(self.by_name[name], why)))

    def _end(self, name: str, error: OfframpError) -> None:
        """The route goes no further; one that a signal ended where it was to go on until then has not failed."""
        if self.follow and error.code == STOPPED:
            self.appliers.pop(name, None)  # What it left undone of its batch comes again: its position is before it.
        else:
            self._fail(name, error)

    def _fail(self, name: str, error: OfframpError) -> None:
        _log.error("%s: %s", name, error)
        self.failures[name].append(error)
        if self.appliers.pop(name, None) is not None:
            self.session.give_back(name)

    def _progress(self, name: str, applier: Applier) -> RouteProgress:
        return RouteProgress(
            *(name, applier.events, applier.tally.copied, applier.deleted, self._lag_s(applier.position)),
            *(applier.rate, self.window_s, "; ".join(map(str, self.failures.get(name, ())))),
        )

    def report(self, started: dt.datetime) -> Report:
        """Return what this sync did; nothing was compared."""
        return Report(
            plan=self.session.plan.name,
            fingerprint=digest(route.fingerprint() for route in self.session.routes),
            started=started,
            finished=dt.datetime.now(dt.UTC),
            routes=[
                replace(judge(self._evidence(route)), swept=self.swept.get(route.name)) for route in self.session.routes
            ],
            command="sync",
            others=other_routes(self.session.plan, self.state, self.by_name),
        )

    def _evidence(self, route: Route) -> Evidence:
        applier = self.all_appliers.get(route.name)
        return Evidence(
            route=route.name,
            collection=route.collection,
            target=route.target_name,
            synced=applier.tally if applier is not None else Tally(),
            failures=self.failures.get(route.name, ()),
            rejects=self.state.rejects.count(route.name),
            accepted=self.state.rejects.acceptances(route.name),
            following=sync_status(self.state, route.name, self.window_s),
            repairs=self.state.repairs.counts(route.name),
            accept_loss=route.keys.accept_loss,
        )


def oldest(positions: Sequence[StreamPosition]) -> StreamPosition:
    """Return a position from which all that follows any of these comes."""
    first = min(position.time for position in positions)
    tokens = {position.token for position in positions if position.time == first}
    # Which of two tokens of one time is the earlier nothing tells; from the time itself on all of it comes (R119).
    return StreamPosition(first, tokens.pop() if len(tokens) == 1 else b"")
