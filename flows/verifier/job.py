"""The pieces of a verification that may go elsewhere: plain values in, clients of their own inside."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from uuid import uuid4

from flows.connect.expires_from_index import resolve_expires
from flows.connect.gc_tuning import collect_seldom
from flows.connect.progress import SILENT, Observer, Progress, ProgressCounter, watched
from flows.connect.stores import OpenRoute, open_route, open_state
from flows.plan.model import Plan
from flows.verifier.compare import Comparison, Expecting, Save, compare_partition, save_nothing
from flows.verifier.counts import Counts, count_route
from flows.verifier.field_differences import Differences
from flows.verifier.full_pass import STAGES, Closed, FullPass, PartStage, audited, stopped, stored
from flows.verifier.ledger import Entries, Mismatch, balance
from flows.verifier.pending_changes import PendingChanges, pending_changes
from flows.verifier.recheck import Recheck
from flows.verifier.sample import DOCUMENTS, Sampled, draw
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.source import Partition, Readable
from stores.contract.stop import NEVER, Stop
from stores.state.claims import Work
from stores.state.leases import Lease
from stores.state.rejects import RefusedDocuments
from stores.state.verification import MOST_FINDINGS, PassPart
from stores.throttling.rate_limiter import divide, pace

Stage = Literal["whole", "close"] | PartStage

_WHOLE = -1
"""The number of a job in the place of that of a part."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How a verification is done."""

    level: Level = "full"
    sample: int = DOCUMENTS
    """Documents that `sample` draws."""
    confidence: float = 0.95
    """Confidence of the bound that a sample proves."""
    restart: bool = False
    """Whether a full pass begins anew where one could go on."""
    canary: bool = False
    """Whether known damage must be found first."""
    show_values: bool = False
    """Whether samples of differences hold the values, which may be personal data."""

    @classmethod
    def of(cls, wanted: Level | VerifyOptions) -> VerifyOptions:
        """Return these options, or the default ones of this level."""
        return wanted if isinstance(wanted, VerifyOptions) else cls(wanted)


@dataclass(frozen=True, slots=True)
class Verified:
    """What verifying a route, or a part of it, came to."""

    comparison: Comparison | None = None
    seconds: float = 0.0
    faults: Sequence[str] = ()
    """Why the target does not serve what it holds as the plan says."""
    counts: Counts | None = None
    """What a pass that only counts came to."""
    sampled: Sampled | None = None
    """What was drawn, for a pass over a sample."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """The pass: its id, when it began, how often it was gone on with, in how many parts."""
    lost: str = ""
    """Why the changes still to be synced are unknown; "" if they are known, or nobody asked."""
    progress: Sequence[Progress] = ()
    """When how many documents were compared, of each part of the pass that this run looked at."""
    ended: bool = True
    """Whether the pass, or the part of it, has ended; False for a pass that has further parts now."""
    note: str = ""
    """Why it has further parts, for a person who waits."""


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """One route to verify, or one part of its full pass."""

    kind: ClassVar[str] = "verify"
    route: str
    options: VerifyOptions
    lease: Lease
    id_kind: str = ""
    """The kind of `_id` proven for plain keys."""
    expires: IndexExpires | None = None
    """What `expires: from_index` came to."""
    stage: Stage = "whole"
    """What is to be done: all of it, or of a full pass of many parts one of a stage, or to close it."""
    number: int = 0
    """The part of the pass."""

    @property
    def part(self) -> str:
        """Which part of the verification it is, for a person; "" for all of it."""
        return "" if self.stage == "whole" else f" {self.stage} {self.number}"

    @property
    def claim(self) -> tuple[Work, int]:
        """Its part of the pass."""
        return "verify", self.number if self.stage in STAGES else _WHOLE

    def run(self, plan: Plan, observer: Observer = SILENT, stop: Stop = NEVER) -> Verified:
        """Return what the target holds against what the source's documents map to now, with clients of its own.

        Of a part of a full pass all that counts is in the state.
        """
        route = resolve_expires(plan.routes[self.route], self.expires)
        began = time.monotonic()
        divide(plan.run.processes)
        with (
            open_state(plan) as state,
            collect_seldom(),
            state.claims.claimed(self.lease, *self.claim) as lease,
            open_route(plan, route, state, lease, self.id_kind) as opened,
            watched(observer, self.route, "verify", self._ahead(opened)),
        ):
            pending = pending_changes(state, route, opened.database, opened.projection, stop)
            work = _Work(plan, replace(self, lease=lease), opened, observer, stop, pulse := ProgressCounter(), pending)
            match self.stage, self.options.level:
                case "whole", "full":
                    found = work.closed(work.full_pass().whole())
                case "whole", "counts":
                    found = work.count()
                case "whole", _:
                    found = work.sample()
                case "close", _:
                    found = work.closed(work.full_pass().close())
                case _:
                    work.full_pass().do(self.number)
                    found = Verified()
        lost = pending.lost if pending is not None else ""
        return replace(found, seconds=time.monotonic() - began, lost=lost, progress=[pulse.progress()])

    def _ahead(self, opened: OpenRoute) -> int:
        """Return about how many documents are to be compared."""
        estimate = opened.source.estimate()
        return min(self.options.sample, estimate) if self.options.level == "sample" else estimate


@dataclass(frozen=True, slots=True)
class _Work:
    """One job with its stores opened."""

    plan: Plan
    job: VerifyJob
    opened: OpenRoute
    observer: Observer
    stop: Stop
    pulse: ProgressCounter
    pending: PendingChanges | None
    """What sync owes the target; None where no sync by a stream keeps it up."""

    def count(self) -> Verified:
        parts = self.opened.state.partitions.of_route(self.job.route)
        counts = count_route(self.opened.source, self.opened.target, parts, self.stop)
        return Verified(counts=counts, faults=audited(self.opened.target))

    def sample(self) -> Verified:
        parts = [
            part
            for each in self.opened.state.partitions.of_route(self.job.route)
            for part in (each.partition.lower, each.position)
        ]
        drawn = draw(self.opened.source, self.job.options.sample, [at for at in parts if at is not None])
        entries = Entries()
        tally = self._compared(entries, drawn, Partition(0))
        if tally is None:
            raise stopped()
        found: list[Mismatch] = []
        differences = Differences(show_values=self.job.options.show_values)
        sums = balance(entries.seen, self._recheck(differences), found.append)
        faults = audited(self.opened.target)
        kept = stored(found[:MOST_FINDINGS])
        self.opened.state.verification.end(self.job.lease, uuid4().hex, kept, whole=False)
        sampled = drawn.sampled(
            [mismatch.position for mismatch in found],
            self.job.options.confidence,
            self._refused() if sums.refused else (),
        )
        return Verified(Comparison(tally, sums, differences.samples()), faults=faults, sampled=sampled)

    def full_pass(self) -> FullPass:
        def compare(ledger: Expecting, part: PassPart, save: Save) -> Tally | None:
            return self._compared(ledger, self.opened.source, part.partition, part, save)

        return FullPass(
            *(self.opened.state.verification, self.job.lease, self.opened.target, self.opened.projection),
            compare=compare,
            recheck=self._recheck,
            show_values=self.job.options.show_values,
            stop=self.stop,
        )

    def closed(self, closed: Closed) -> Verified:
        ended = closed.comparison is not None
        return Verified(closed.comparison, faults=closed.faults, about=closed.about, ended=ended, note=closed.note)

    def _compared(
        self,
        ledger: Expecting,
        source: Readable,
        partition: Partition,
        part: PassPart | None = None,
        save: Save = save_nothing,
    ) -> Tally | None:
        return compare_partition(
            *(source, self.opened.projection, self.opened.target, ledger, partition),
            after=part.position if part else None,
            seen=part.tally if part else None,
            refused=self._refused(),
            accepted=lambda reject: self.opened.state.rejects.is_accepted(self.job.route, reject),
            window=self.plan.run.window,
            rate=pace("the verification", self.plan.verification.ceilings(), self.plan.name),
            stop=self.stop,
            compared=self._advanced,
            save=save,
        )

    def _advanced(self, documents: int) -> None:
        self.pulse.add(documents)
        self.observer.advanced(self.job.route, "verify", documents)

    def _recheck(self, differences: Differences) -> Recheck:
        return Recheck(
            *(self.opened.source, self.opened.projection, self.opened.target),
            refused=self._refused(),
            progress=self.pending,
            differences=differences,
            stop=self.stop,
        )

    def _refused(self) -> RefusedDocuments:
        return self.opened.state.rejects.refused(self.job.route)


Level = Literal["none", "counts", "sample", "full"]
