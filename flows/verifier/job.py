"""The pieces of a verification that may go elsewhere: plain values in, clients of their own inside."""

from __future__ import annotations

import datetime as dt
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import uuid4

from flows.connect.expires_from_index import resolve_expires
from flows.connect.gc_tuning import collect_seldom
from flows.connect.progress import SILENT, Observer, Progress, ProgressCounter, watched
from flows.connect.stores import OpenRoute, open_route, open_state
from flows.copying.projection import identify
from flows.plan.model import Plan
from flows.verifier.compare import Comparison, Save, compare_partition, list_share, save_nothing
from flows.verifier.counts import Counts, count_route
from flows.verifier.field_differences import Differences
from flows.verifier.ledger import AddressLog, Mismatch, balance
from flows.verifier.pending_changes import PendingChanges, pending_changes
from flows.verifier.recheck import Recheck
from flows.verifier.sample import DOCUMENTS, Sampled, draw
from mappers.contract import Record
from mappers.expiry import IndexExpires
from stores.contract.journal import Tally
from stores.contract.source import Partition, Readable
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.contract.target import Auditable, Listable, Target
from stores.errors import PermanentError, TransientError
from stores.private_paths import UnsafePathError, make_private_folder
from stores.state.leases import Lease
from stores.state.rejects import RefusedDocuments
from stores.state.verification import MOST_FINDINGS, PassPart, StoredFinding, log_folder
from stores.throttling.rate_limiter import divide, pace

_log = logging.getLogger(__name__)

Stage = Literal["whole", "list", "compare", "close"]

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
    """What is to be done: all of it, or of a full pass of many parts to list, to compare, to close."""
    number: int = 0
    """The part of the pass."""

    @property
    def part(self) -> str:
        """Which part of the verification it is, for a person; "" for all of it."""
        return "" if self.stage == "whole" else f" {self.stage} {self.number}"

    def run(self, plan: Plan, observer: Observer = SILENT, stop: Stop = NEVER) -> Verified:
        """Return what the target holds against what the source's documents map to now, with clients of its own.

        Of a part of a full pass all that counts is in the state and in its log.
        """
        route = resolve_expires(plan.routes[self.route], self.expires)
        began = time.monotonic()
        divide(plan.run.processes)
        with (
            open_state(plan) as state,
            collect_seldom(),
            state.claims.claimed(
                self.lease, "verify", self.number if self.stage in ("list", "compare") else _WHOLE
            ) as lease,
            open_route(plan, route, state, lease, self.id_kind) as opened,
            watched(observer, self.route, "verify", self._ahead(opened)),
        ):
            pending = pending_changes(state, route, opened.database, opened.projection, stop)
            work = _Work(plan, replace(self, lease=lease), opened, observer, stop, pulse := ProgressCounter(), pending)
            match self.stage, self.options.level:
                case "list", _:
                    found = work.list_share(self.number)
                case "compare", _:
                    found = work.compare(self.number)
                case "close", _:
                    found = work.close()
                case _, "full":
                    found = work.whole()
                case _, "counts":
                    found = work.count()
                case _:
                    found = work.sample()
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
        with tempfile.TemporaryDirectory(prefix="offramp-verify-") as folder:
            parts = self.opened.state.partitions.of_route(self.job.route)
            counts = count_route(self.opened.source, self.opened.target, parts, Path(folder), self.stop)
        return Verified(counts=counts, faults=_audited(self.opened.target))

    def sample(self) -> Verified:
        parts = [
            part
            for each in self.opened.state.partitions.of_route(self.job.route)
            for part in (each.partition.lower, each.position)
        ]
        found: list[Mismatch] = []
        with tempfile.TemporaryDirectory(prefix="offramp-verify-") as folder:
            log = AddressLog(Path(folder) / "log")
            drawn = draw(self.opened.source, self.job.options.sample, [at for at in parts if at is not None])
            tally = self._compared(log, drawn, Partition(0))
            if tally is None:
                raise _stopped()
            differences = Differences(show_values=self.job.options.show_values)
            sums = balance([log.path], listed=False, recheck=self._recheck(differences), on_wrong=found.append)
        faults = _audited(self.opened.target)
        self._keep(uuid4().hex, found, whole=False)
        sampled = drawn.sampled(
            [mismatch.position for mismatch in found],
            self.job.options.confidence,
            self._refused() if sums.refused else (),
        )
        return Verified(Comparison(tally, sums, differences.samples()), faults=faults, sampled=sampled)

    def whole(self) -> Verified:
        for part in self.opened.state.verification.parts(self.job.route):
            if not part.done:
                (self.list_share if part.stage == "list" else self.compare)(part.number)
        return self.close()

    def list_share(self, number: int) -> Verified:
        part, log = self._part(number)
        shares = sum(each.stage == "list" for each in self.opened.state.verification.parts(self.job.route))
        list_share(self.opened.target, log, part.number, shares, stop=self.stop, save=self._save(number))
        return Verified()

    def compare(self, number: int) -> Verified:
        part, log = self._part(number)
        if self._compared(log, self.opened.source, part.partition, part) is None:
            raise _stopped()
        return Verified()

    def close(self) -> Verified:
        verification = self.opened.state.verification
        under_way, parts = verification.under_way(self.job.route), verification.parts(self.job.route)
        if under_way is None:
            raise PermanentError("E-STATE-GONE", f"route {self.job.route}: the state lost its verification")
        if not all(part.done for part in parts):
            raise _stopped()
        tally = Tally()
        for part in parts:
            tally.add(part.tally)
        found: list[Mismatch] = []

        def keep(mismatch: Mismatch) -> None:
            if len(found) < MOST_FINDINGS:
                found.append(mismatch)

        logs = [self._log(part).path for part in parts]
        differences = Differences(show_values=self.job.options.show_values)
        sums = balance(
            logs, listed=isinstance(self.opened.target, Listable), recheck=self._recheck(differences), on_wrong=keep
        )
        faults = _audited(self.opened.target)
        self._keep(under_way.id, found, whole=True)
        about = {
            "pass": under_way.id,
            "began": dt.datetime.fromtimestamp(under_way.began, dt.UTC).isoformat(timespec="seconds"),
            "resumed": under_way.resumed,
            "partitions": sum(part.stage == "compare" for part in parts),
        }
        return Verified(Comparison(tally, sums, differences.samples()), faults=faults, about=about)

    def _compared(
        self, log: AddressLog, source: Readable, partition: Partition, part: PassPart | None = None
    ) -> Tally | None:
        return compare_partition(
            *(source, self.opened.projection, self.opened.target, log, partition),
            after=part.position if part else None,
            seen=part.tally if part else None,
            refused=self._refused(),
            accepted=lambda reject: self.opened.state.rejects.is_accepted(self.job.route, reject),
            window=self.plan.run.window,
            rate=pace("the verification", self.plan.verification.ceilings(), self.plan.name),
            stop=self.stop,
            compared=self._advanced,
            save=self._save(part.number) if part else save_nothing,
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

    def _part(self, number: int) -> tuple[PassPart, AddressLog]:
        """Return the part as it stands and its log; one whose log was lost begins anew."""
        parts = self.opened.state.verification.parts(self.job.route)
        part = next((part for part in parts if part.number == number), None)
        if part is None:
            raise PermanentError("E-STATE-GONE", f"route {self.job.route}: the state lost its verification")
        try:
            return part, self._log(part)
        except ValueError as error:
            _log.warning("%s: a part of the verification begins anew: %s", self.job.route, error)
            anew = replace(part, position=None, tally=Tally(), size=0)
            return anew, self._log(anew)

    def _log(self, part: PassPart) -> AddressLog:
        place = log_folder(self.plan.state, self.plan.name, self.job.route)
        try:
            make_private_folder(place)  # Addresses may be personal data (R145).
        except UnsafePathError as error:
            raise PermanentError("E-STATE-UNSAFE", f"{str(error.filename)!r}: {error.strerror}") from error
        return AddressLog(place / f"part-{part.number:04d}", part.size)

    def _save(self, number: int) -> Save:
        def save(position: bytes | None, tally: Tally, size: int, *, done: bool) -> None:
            self.opened.state.verification.checkpoint(self.job.lease, number, position, tally, size, done=done)

        return save

    def _keep(self, pass_id: str, found: Sequence[Mismatch], *, whole: bool) -> None:
        kept = [
            StoredFinding(
                wrong.kind, wrong.address, wrong.position or None, identify(wrong.position) if wrong.position else ""
            )
            for wrong in found[:MOST_FINDINGS]
        ]
        self.opened.state.verification.end(self.job.lease, pass_id, kept, whole=whole)


def _audited(target: Target[Record]) -> Sequence[str]:
    return target.audit() if isinstance(target, Auditable) else ()


def _stopped() -> TransientError:
    return TransientError(STOPPED, "stopped during the verification; the same command resumes with it")


Level = Literal["none", "counts", "sample", "full"]
